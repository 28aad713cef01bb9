"""Score normalization against a cohort of speakers.

The raw score of a trial (e, t) is compared with the scores of e and of t against other speakers, the cohort:

    s' = 1/2 [ (s - mean(S_e)) / std(S_e) + (s - mean(S_t)) / std(S_t) ]

S_e are the scores of e against the cohort: all of them (s-norm), the N highest (adaptive s-norm 1), or those of the N
cohort speakers that score highest with t (adaptive s-norm 2). S_t is defined likewise. Standard deviations are those of
the population (divided by N). Each side is compared with the cohort in its own modality.

Source: Matějka et al. 2017, "Analysis of score normalization in multilingual speaker recognition".
"""

import importlib
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from avsv.errors import DataError
from avsv.scoring.cosine import cosine_scores
from avsv.scoring.trials import Embeddings

_BLOCK = 256  # utterances at a time: their scores against thousands of cohort speakers take a few MB
_SMALLEST_STD = 1e-6  # differences of single-precision cosines below this are rounding errors


class Cohort(NamedTuple):
    """The speakers of a cohort.

    Attributes:
        speakers: C names.
        means: (C, D) float32 vectors of length 1.
    """

    speakers: list[str]
    means: NDArray[np.float32]


class CohortStatistics(NamedTuple):
    """Mean and standard deviation (U,) of the scores of each utterance against its part of the cohort."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def speaker_cohort(
    keys: list[str], blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]], utt2spk: Mapping[str, str]
) -> Cohort:
    """Make one vector per speaker: the mean of its length-normalized embeddings, scaled to length 1.

    Args:
        keys: U utterances.
        blocks: their embeddings in parts, as returned by :func:`avsv.scoring.trials.read_embedding_blocks`: (n,) rows
            and the (n, D) embeddings of these utterances.
        utt2spk: speaker of every utterance.

    Raises:
        DataError: an utterance has no speaker, or there is only one speaker.

    Example:
        >>> x = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
        >>> cohort = speaker_cohort(["a1", "a2", "b1"], [(np.arange(3), x)], {"a1": "a", "a2": "a", "b1": "b"})
        >>> cohort.speakers, cohort.means.astype(float).round(4).tolist()
        (['a', 'b'], [[0.7071, 0.7071], [-1.0, 0.0]])
    """
    missing = [key for key in keys if key not in utt2spk]
    if missing:
        raise DataError(
            f"cohort utterance '{missing[0]}' is not in utt2spk ({len(missing)} in total): extract them again"
        )
    speakers, speaker_of = np.unique([utt2spk[key] for key in keys], return_inverse=True)
    if len(speakers) < 2:
        raise DataError(f"a cohort of {len(speakers)} speaker: normalization needs at least 2, preferably hundreds")
    sums: NDArray[np.float64] | None = None
    for rows, embeddings in blocks:
        order = np.argsort(speaker_of[rows], kind="stable")
        present, starts = np.unique(speaker_of[rows[order]], return_index=True)
        if sums is None:
            sums = np.zeros((len(speakers), embeddings.shape[1]))
        sums[present] += np.add.reduceat(embeddings[order], starts, axis=0, dtype=np.float64)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    if (norms == 0).any():
        raise DataError(f"cohort speaker '{speakers[int(norms.argmin())]}': the embeddings cancel out to zero")
    return Cohort(speakers.tolist(), (sums / norms).astype(np.float32))


def cohort_statistics(
    matrix: NDArray[np.float32], cohort: NDArray[np.float32], top_n: int | None, num_threads: int = 1
) -> CohortStatistics:
    """Statistics of the ``top_n`` highest scores of every row against the cohort; None for all scores.

    Blocks of rows are multiplied with the cohort and partitioned, so memory does not grow with the number of rows. The
    number of threads does not affect the result.

    Args:
        matrix: (U, D) vectors of length 1.
        cohort: (C, D) vectors of length 1.
        top_n: number of scores, at most C.
        num_threads: number of blocks processed at a time.

    Example:
        >>> cohort = np.array([[1, 0], [0, 1], [0.8, 0.6], [-1, 0], [0.6, -0.8]], dtype=np.float32)
        >>> mean, std = cohort_statistics(np.array([[1, 0]], dtype=np.float32), cohort, 2)
        >>> round(float(mean[0]), 6), round(float(std[0]), 6)
        (0.9, 0.1)
    """
    size = len(cohort)
    top_n = size if top_n is None else min(top_n, size)
    transposed = np.ascontiguousarray(cohort.T)
    mean, std = np.empty(len(matrix)), np.empty(len(matrix))

    def work(start: int) -> None:
        part = slice(start, start + _BLOCK)
        scores = matrix[part] @ transposed
        if top_n < size:
            scores.partition(size - top_n, axis=1)
        mean[part], std[part] = _moments(scores[:, size - top_n :])

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(work, range(0, len(matrix), _BLOCK)))
    return CohortStatistics(mean, std)


def s_norm(
    raw: NDArray, enroll: CohortStatistics, test: CohortStatistics, enroll_rows: NDArray, test_rows: NDArray
) -> NDArray[np.float64]:
    """Normalize scores (N,) with the statistics of each side: adaptive s-norm 1, or s-norm if they are of all scores.

    Warns if a side has equal scores against its whole cohort.
    """
    return _normalize(raw, *(s[enroll_rows] for s in enroll), *(s[test_rows] for s in test))


def as_norm2(
    raw: NDArray,
    enroll: Embeddings,
    test: Embeddings,
    enroll_cohort: Cohort,
    test_cohort: Cohort,
    enroll_rows: NDArray,
    test_rows: NDArray,
    top_n: int,
) -> NDArray[np.float64]:
    """Normalize scores (N,) with adaptive s-norm 2: each side against the cohort speakers nearest to the other side.

    Args:
        raw: (N,) cosine scores.
        enroll, test: embeddings of the two sides.
        enroll_cohort, test_cohort: the same speakers in the modalities of the two sides.
        enroll_rows, test_rows: (N,) rows of the pairs.
        top_n: number of cohort speakers, at most all of them.

    Raises:
        DataError: the cohorts have different speakers.
    """
    if enroll_cohort.speakers != test_cohort.speakers:
        raise DataError(
            f"the cohorts of the two modalities have different speakers ({len(enroll_cohort.speakers)} and"
            f" {len(test_cohort.speakers)}): as-norm2 needs the same speakers, use as-norm1"
        )
    top_n = min(top_n, len(enroll_cohort.speakers))
    of_enroll = _top_speakers(enroll.matrix, enroll_cohort.means, top_n)
    of_test = of_enroll if test is enroll else _top_speakers(test.matrix, test_cohort.means, top_n)
    return _normalize(
        raw,
        *_chosen_statistics(enroll.matrix, enroll_cohort.means, enroll_rows, of_test, test_rows),
        *_chosen_statistics(test.matrix, test_cohort.means, test_rows, of_enroll, enroll_rows),
    )


class Normalize(Protocol):
    """A function that computes normalized scores."""

    def __call__(
        self,
        normalizer: "Normalizer",
        raw: NDArray[np.float64],
        enroll: str,
        test: str,
        enroll_rows: NDArray,
        test_rows: NDArray,
    ) -> NDArray[np.float64]:
        """Normalized scores (N,) of pairs of utterances.

        Args:
            normalizer: has ``embeddings`` and ``cohorts`` per modality, ``top_n``, and ``statistics(modality)``.
            raw: (N,) cosine scores.
            enroll, test: modalities of both sides.
            enroll_rows, test_rows: (N,) rows of the pairs.
        """


class Variant(NamedTuple):
    """A score normalization.

    Attributes:
        normalize: computes the scores.
        adaptive: whether the statistics of an utterance are those of its nearest cohort speakers instead of all.
    """

    normalize: Normalize
    adaptive: bool = True


def _own_cohort(normalizer, raw, enroll, test, enroll_rows, test_rows) -> NDArray[np.float64]:
    return s_norm(raw, normalizer.statistics(enroll), normalizer.statistics(test), enroll_rows, test_rows)


def _cohort_of_the_other_side(normalizer, raw, enroll, test, enroll_rows, test_rows) -> NDArray[np.float64]:
    embeddings = normalizer.embeddings[enroll], normalizer.embeddings[test]
    cohorts = normalizer.cohorts[enroll], normalizer.cohorts[test]
    return as_norm2(raw, *embeddings, *cohorts, enroll_rows, test_rows, normalizer.top_n)


VARIANTS = {
    "as-norm1": Variant(_own_cohort),
    "as-norm2": Variant(_cohort_of_the_other_side),
    "s-norm": Variant(_own_cohort, adaptive=False),
}


def find_variant(name: str) -> Variant:
    """Find a score normalization: one of :data:`VARIANTS`, or MODULE:NAME of another :class:`Variant`.

    Raises:
        DataError: there is no such normalization.

    Example:
        >>> find_variant("s-norm").adaptive
        False
    """
    if name in VARIANTS:
        return VARIANTS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise DataError(f"normalization {name}: choose one of {', '.join(VARIANTS)}, or MODULE:NAME of another one")
    try:
        variant = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(f"normalization {name}: {error}: put its folder on PYTHONPATH, and check the name") from error
    if not isinstance(variant, Variant):
        raise DataError(f"normalization {name}: expected an avsv.scoring.norm.Variant")
    return variant


class Normalizer:
    """Computes normalized scores in any modality, and the statistics of each utterance once per modality.

    Args:
        embeddings: embeddings of the utterances of the trials, per modality.
        cohorts: cohorts per modality.
        variant: name of the variant; see :func:`find_variant`.
        top_n: number of cohort speakers for the adaptive variants.
        num_threads: as for :func:`cohort_statistics`.
    """

    def __init__(
        self,
        embeddings: Mapping[str, Embeddings],
        cohorts: Mapping[str, Cohort],
        variant: str = "as-norm1",
        top_n: int = 300,
        num_threads: int = 1,
    ) -> None:
        self.embeddings, self.cohorts = embeddings, cohorts
        self.variant, self.top_n, self.num_threads = find_variant(variant), top_n, num_threads
        self._statistics: dict[str, CohortStatistics] = {}

    def score(self, enroll: str, test: str, enroll_rows: NDArray, test_rows: NDArray) -> NDArray[np.float64]:
        """Normalized cosine scores (N,) of pairs of rows, given the modalities of both sides.

        Raises:
            DataError: as raised by the variant, for example :func:`as_norm2`.
        """
        sides = self.embeddings[enroll], self.embeddings[test]
        raw = cosine_scores(sides[0].matrix, sides[1].matrix, enroll_rows, test_rows)
        return self.variant.normalize(self, raw, enroll, test, enroll_rows, test_rows)

    def statistics(self, modality: str) -> CohortStatistics:
        """Statistics of the scores of every utterance against its nearest cohort speakers, or all of them (s-norm)."""
        if modality not in self._statistics:
            top_n = self.top_n if self.variant.adaptive else None
            self._statistics[modality] = cohort_statistics(
                self.embeddings[modality].matrix, self.cohorts[modality].means, top_n, self.num_threads
            )
        return self._statistics[modality]


def _top_speakers(matrix: NDArray, cohort: NDArray, top_n: int) -> NDArray[np.int32]:
    """Indices (U, top_n) of the cohort speakers with the highest scores, in any order."""
    top = np.empty((len(matrix), top_n), dtype=np.int32)
    for start in range(0, len(matrix), _BLOCK):
        scores = matrix[start : start + _BLOCK] @ cohort.T
        top[start : start + _BLOCK] = np.argpartition(scores, len(cohort) - top_n, axis=1)[:, len(cohort) - top_n :]
    return top


def _chosen_statistics(matrix, cohort, rows, choices, choice_rows) -> CohortStatistics:
    """Statistics for each trial n: scores of ``rows[n]`` against the cohort speakers ``choices[choice_rows[n]]``."""
    mean, std = np.empty(len(rows)), np.empty(len(rows))
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], np.arange(0, len(matrix) + _BLOCK, _BLOCK))
    for block, (first, last) in enumerate(pairwise(bounds)):
        start = block * _BLOCK
        scores = matrix[start : start + _BLOCK] @ cohort.T
        # An utterance can have any number of trials, so they are processed in parts too.
        for begin in range(first, last, _BLOCK):
            trials = order[begin : min(begin + _BLOCK, last)]
            chosen = scores[rows[trials, np.newaxis] - start, choices[choice_rows[trials]]]
            mean[trials], std[trials] = _moments(chosen)
    return CohortStatistics(mean, std)


def _moments(scores: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
    """Mean and population standard deviation of each row, in double precision."""
    mean = scores.mean(axis=1, dtype=np.float64)
    deviations = scores - mean[:, np.newaxis]
    return mean, np.sqrt(np.einsum("ij,ij->i", deviations, deviations) / scores.shape[1])


def _normalize(raw, enroll_mean, enroll_std, test_mean, test_std) -> NDArray[np.float64]:
    alike = int(((enroll_std < _SMALLEST_STD) | (test_std < _SMALLEST_STD)).sum())
    if alike:
        # A network with equal embeddings for all utterances is a valid result (50 % EER) and must not stop the others.
        warnings.warn(
            f"in {alike} of {len(raw)} trials an utterance has equal scores with all its cohort speakers: the network"
            " does not distinguish them, or the cohort is too small (--top-n); their standard deviation is set to"
            f" {_SMALLEST_STD:g}",
            stacklevel=3,
        )
        enroll_std, test_std = np.maximum(enroll_std, _SMALLEST_STD), np.maximum(test_std, _SMALLEST_STD)
    return ((raw - enroll_mean) / enroll_std + (raw - test_mean) / test_std) / 2
