"""Back-ends learn from training embeddings with known speakers how to score trials.

All take embeddings of length 1, from which the mean of their modality has been subtracted. ``lda`` and ``wccn`` are
cosines after a projection; ``plda`` is a log-likelihood ratio of length-normalized embeddings, after LDA if a number of
dimensions is given.

A mode whose sides have different modalities has its own back-end, learned from the embeddings of both, as if the voice
and the face of an utterance were two recordings of its speaker.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.scoring.cosine import cosine_scores
from avsv.scoring.plda import PLDAScorer, adapt_plda, fit_plda
from avsv.scoring.projection import (
    Blocks,
    Projection,
    SpeakerStatistics,
    fit_lda,
    fit_wccn,
    length_normalize,
    speaker_statistics,
)
from avsv.scoring.scorer import Scorer
from avsv.scoring.trials import Embeddings

BACKENDS = ("lda", "wccn", "plda")

Source = Callable[[str], tuple[list[str], Blocks]]
"""The embeddings of a modality: utterances and blocks, as :func:`avsv.scoring.trials.read_embedding_blocks`."""


class Adaptation(NamedTuple):
    """What PLDA adapts to.

    Attributes:
        source: embeddings of speakers that need not be known.
        within_share, between_share: see :func:`avsv.scoring.plda.adapt_plda`.
    """

    source: Source
    within_share: float
    between_share: float


class Backend(Protocol):
    """Scores pairs of embeddings."""

    def prepare(self, embeddings: NDArray) -> NDArray[np.float64]:
        """(N, D) embeddings to (N, K) vectors, computed once for all trials."""

    def score(
        self, enroll: NDArray[np.float64], test: NDArray[np.float64], enroll_rows: NDArray, test_rows: NDArray
    ) -> NDArray[np.float64]:
        """Scores (N,) of pairs of rows of two prepared matrices."""


class ProjectedCosine:
    """Cosines after a projection."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection

    def prepare(self, embeddings: NDArray) -> NDArray[np.float64]:
        """(N, D) embeddings to (N, d) vectors of length 1."""
        projected = length_normalize(self._projection(embeddings))
        return projected / np.sqrt(projected.shape[1])

    def score(self, enroll: NDArray, test: NDArray, enroll_rows: NDArray, test_rows: NDArray) -> NDArray[np.float64]:
        """Cosines (N,) of pairs of rows."""
        return cosine_scores(enroll, test, enroll_rows, test_rows)


class LengthNormalizedPLDA:
    """PLDA of length-normalized embeddings, with or without LDA before it."""

    def __init__(self, scorer: PLDAScorer, projection: Projection | None) -> None:
        self._scorer, self._projection = scorer, projection

    def prepare(self, embeddings: NDArray) -> NDArray[np.float64]:
        """(N, D) embeddings to what :class:`avsv.scoring.plda.PLDAScorer` takes."""
        return self._scorer.prepare(_normalized(embeddings, self._projection))

    def score(self, enroll: NDArray, test: NDArray, enroll_rows: NDArray, test_rows: NDArray) -> NDArray[np.float64]:
        """Log-likelihood ratios (N,) of pairs of rows."""
        return self._scorer.score(enroll, test, enroll_rows, test_rows)


def check_options(name: str, lda_dim: int | None, adapts: bool) -> None:
    """Refuse options that a back-end does not have.

    Raises:
        DataError: no such back-end, or an option that it lacks or needs.
    """
    if name not in BACKENDS:
        raise DataError(f"--backend {name}: choose one of {', '.join(BACKENDS)}")
    if name == "lda" and lda_dim is None:
        raise DataError("--backend lda: give the number of dimensions with --lda-dim")
    if name == "wccn" and lda_dim is not None:
        raise DataError("--backend wccn keeps all dimensions: omit --lda-dim, or use --backend lda")
    if adapts and name != "plda":
        raise DataError(f"--backend {name} does not adapt: omit --adapt, or use --backend plda")


def fit_backend(
    name: str,
    modalities: Sequence[str],
    training: Source,
    utt2spk: Mapping[str, str],
    where: str,
    lda_dim: int | None = None,
    adaptation: Adaptation | None = None,
) -> tuple[Backend, SpeakerStatistics]:
    """Learn a back-end from training embeddings.

    Args:
        name: one of :data:`BACKENDS`.
        modalities: whose embeddings to learn from.
        training: gives them with their mean subtracted and length 1; it is read twice where PLDA follows LDA.
        utt2spk: speaker of every training utterance.
        where: the training data, for messages.
        lda_dim: dimensions that LDA keeps; None for no LDA.
        adaptation: of PLDA to other embeddings.

    Returns:
        The back-end, and the statistics of the embeddings it has learned from.

    Raises:
        DataError: as :func:`check_options`, or too few speakers or embeddings for so many dimensions.
    """
    check_options(name, lda_dim, adaptation is not None)
    where = f"{where} ({' and '.join(modalities)})"
    statistics = speaker_statistics([training(modality) for modality in modalities], utt2spk)
    if name == "wccn":
        return ProjectedCosine(fit_wccn(statistics, where)), statistics
    projection = None if lda_dim is None else fit_lda(statistics, lda_dim, where)
    if name == "lda":
        return ProjectedCosine(projection), statistics

    def normalized(source: Source, modality: str) -> tuple[list[str], Blocks]:
        keys, blocks = source(modality)
        return keys, ((rows, _normalized(embeddings, projection)) for rows, embeddings in blocks)

    of_plda = speaker_statistics([normalized(training, modality) for modality in modalities], utt2spk)
    model = fit_plda(of_plda, where)
    if adaptation is not None:
        parts = [normalized(adaptation.source, modality) for modality in modalities]
        # One "speaker" for all: its scatter is that around the mean of all.
        others = speaker_statistics(parts, {key: "all" for keys, _ in parts for key in keys})
        mean, covariance = others.mean, others.scatter / others.size
        model = adapt_plda(model, mean, covariance, adaptation.within_share, adaptation.between_share)
    return LengthNormalizedPLDA(PLDAScorer(model), projection), of_plda


class BackendLearner:
    """Learns the back-end of two modalities when it is first asked for, and prints what from.

    Args:
        name, training, utt2spk, where, lda_dim, adaptation: see :func:`fit_backend`.
    """

    def __init__(
        self,
        name: str,
        training: Source,
        utt2spk: Mapping[str, str],
        where: str,
        lda_dim: int | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        self.name, self.training, self.utt2spk, self.where = name, training, utt2spk, where
        self.lda_dim, self.adaptation = lda_dim, adaptation
        self._learned: dict[tuple[str, ...], Backend] = {}

    def __call__(self, enroll: str, test: str) -> Backend:
        """The back-end for the modalities of the two sides, in either order.

        Raises:
            DataError: as :func:`fit_backend`.
        """
        modalities = tuple(sorted({enroll, test}))
        if modalities not in self._learned:
            self._learned[modalities], statistics = fit_backend(
                self.name, modalities, self.training, self.utt2spk, self.where, self.lda_dim, self.adaptation
            )
            print(
                f"{self.name} of {' and '.join(modalities)}: {len(statistics.counts)} speakers, {statistics.size}"
                f" embeddings of {self.where}, {self.lda_dim or statistics.dim} dimensions"
            )
        return self._learned[modalities]


def backend_scorer(backend_of: Callable[[str, str], Backend], embeddings: Mapping[str, Embeddings]) -> Scorer:
    """The scorer of trials whose sides may have different modalities.

    Args:
        backend_of: the back-end for the modalities of the enrollment and the test side, in either order.
        embeddings: of the trials' utterances, per modality.
    """
    prepared: dict[tuple[str, frozenset[str]], NDArray[np.float64]] = {}

    def side(backend: Backend, modality: str, pair: frozenset[str]) -> NDArray[np.float64]:
        if (modality, pair) not in prepared:
            prepared[modality, pair] = backend.prepare(embeddings[modality].matrix)
        return prepared[modality, pair]

    def score(enroll: str, test: str, enroll_rows: NDArray, test_rows: NDArray) -> NDArray[np.float64]:
        backend, pair = backend_of(enroll, test), frozenset((enroll, test))
        return backend.score(side(backend, enroll, pair), side(backend, test, pair), enroll_rows, test_rows)

    return score


def _normalized(embeddings: NDArray, projection: Projection | None) -> NDArray[np.float64]:
    return length_normalize(embeddings if projection is None else projection(embeddings))
