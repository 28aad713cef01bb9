"""Linear projections learned from embeddings with known speakers: LDA and within-class covariance normalization.

Both make the within-speaker covariance W the unit matrix, so that a cosine after them counts a direction by how much
it differs between speakers, not by how much it varies for one. LDA also leaves out the directions in which speakers
differ least.

Sources: Fisher 1936, "The use of multiple measurements in taxonomic problems"; Hatch, Kajarekar and Stolcke 2006,
"Within-class covariance normalization for SVM-based speaker recognition".
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.errors import DataError

Array = NDArray[np.float64]
Blocks = Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]
"""Embeddings in parts, as :func:`avsv.scoring.trials.read_embedding_blocks` gives them."""

_SMALLEST_EIGENVALUE = 1e-9  # of a covariance, as a share of the largest: below it a direction does not vary


class SpeakerStatistics(NamedTuple):
    """Statistics of embeddings with known speakers, from which back-ends learn.

    Attributes:
        counts: (S,) numbers of embeddings per speaker.
        means: (S, D) their means.
        scatter: (D, D) sum of the outer products of all embeddings' differences from their speaker's mean.
    """

    counts: Array
    means: Array
    scatter: Array

    @property
    def size(self) -> int:
        """Number of embeddings N."""
        return int(self.counts.sum())

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.means.shape[1]

    @property
    def mean(self) -> Array:
        """(D,) mean of all embeddings."""
        return self.counts @ self.means / self.size

    def check_within(self, where: str) -> None:
        """Refuse embeddings whose within-speaker covariance has no inverse.

        Raises:
            DataError: too few embeddings per speaker, or embeddings that do not vary in some direction.
        """
        freedom = self.size - len(self.counts)
        if freedom < self.dim:
            raise DataError(
                f"{where}: {self.size} embeddings of {len(self.counts)} speakers are too few for the within-speaker"
                f" covariance of {self.dim} dimensions: it needs at least {self.dim + len(self.counts)}"
            )
        eigenvalues = np.linalg.eigvalsh(self.scatter)
        flat = int((eigenvalues < _SMALLEST_EIGENVALUE * eigenvalues[-1]).sum())
        if flat:
            raise DataError(
                f"{where}: within speakers, the embeddings do not vary in {flat} of {self.dim} directions: the"
                " within-speaker covariance has no inverse; check the training"
            )


def speaker_statistics(parts: Iterable[tuple[list[str], Blocks]], utt2spk: Mapping[str, str]) -> SpeakerStatistics:
    """Counts, means and scatter of the speakers, from one pass over the embeddings.

    Args:
        parts: for each set of embeddings its U utterances and their embeddings in blocks: (n,) rows, (n, D) values.
            A speaker of several sets is one speaker.
        utt2spk: speaker of every utterance.

    Raises:
        DataError: an utterance without a speaker.

    Example:
        >>> blocks = [(np.arange(3), np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]))]
        >>> statistics = speaker_statistics([(["a1", "a2", "b1"], blocks)], {"a1": "a", "a2": "a", "b1": "b"})
        >>> statistics.counts.tolist(), statistics.means.tolist(), statistics.scatter.tolist()
        ([2.0, 1.0], [[2.0, 0.0], [0.0, 5.0]], [[2.0, 0.0], [0.0, 0.0]])
    """
    parts = list(parts)
    missing = [key for keys, _ in parts for key in keys if key not in utt2spk]
    if missing:
        raise DataError(f"utterance '{missing[0]}' is not in utt2spk ({len(missing)} such): extract embeddings again")
    speakers = sorted({utt2spk[key] for keys, _ in parts for key in keys})
    number = {speaker: n for n, speaker in enumerate(speakers)}
    counts, sums, total = np.zeros(len(speakers)), np.zeros(0), np.zeros(0)
    for keys, blocks in parts:
        speaker_of = np.array([number[utt2spk[key]] for key in keys])
        for rows, embeddings in blocks:
            values = np.asarray(embeddings, dtype=np.float64)
            if not sums.size:
                sums, total = np.zeros((len(speakers), values.shape[1])), np.zeros([values.shape[1]] * 2)
            order = np.argsort(speaker_of[rows], kind="stable")
            present, starts, found = np.unique(speaker_of[rows[order]], return_index=True, return_counts=True)
            counts[present] += found
            sums[present] += np.add.reduceat(values[order], starts, axis=0)
            total += values.T @ values
    means = sums / counts[:, np.newaxis]
    return SpeakerStatistics(counts, means, total - (means * counts[:, np.newaxis]).T @ means)


def length_normalize(matrix: ArrayLike) -> Array:
    """Rows (N, D) scaled to the length sqrt(D), at which their values have variance 1; a row of zeros stays.

    Source: Garcia-Romero and Espy-Wilson 2011, "Analysis of i-vector length normalization in speaker recognition
    systems".

    Example:
        >>> length_normalize([[3.0, 4.0], [0.0, 0.0]]).round(4).tolist()
        [[0.8485, 1.1314], [0.0, 0.0]]
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix * np.sqrt(matrix.shape[1]) / np.where(norms > 0, norms, 1)


class Projection(NamedTuple):
    """A linear map of embeddings.

    Attributes:
        mean: (D,) what is subtracted first.
        matrix: (D, d).
    """

    mean: Array
    matrix: Array

    def __call__(self, embeddings: ArrayLike) -> Array:
        """(N, D) to (N, d)."""
        return (np.asarray(embeddings, dtype=np.float64) - self.mean) @ self.matrix


def fit_lda(statistics: SpeakerStatistics, dim: int, where: str) -> Projection:
    """Linear discriminant analysis: the ``dim`` directions v of largest v' B v / v' W v, scaled to v' W v = 1.

    W and B are the covariances within and between speakers, in which every embedding counts once, as in scikit-learn
    and Kaldi. After LDA, W is the unit matrix: within-class covariance normalization would change nothing.

    Args:
        statistics: of the training embeddings.
        dim: how many directions.
        where: what they were made of, for messages.

    Raises:
        DataError: fewer directions exist, or as :meth:`SpeakerStatistics.check_within`.

    Example (speakers differ in the first value only, recordings in both):
        >>> means, scatter = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[4.0, 0.0], [0.0, 9.0]])
        >>> lda = fit_lda(SpeakerStatistics(np.array([4.0, 4.0]), means, scatter), 1, "data")
        >>> np.abs(lda.matrix).round(4).tolist()
        [[1.4142], [0.0]]
    """
    from scipy.linalg import eigh  # half a second to import; most scoring does not need it

    speakers = len(statistics.counts)
    most = min(speakers - 1, statistics.dim)
    if not 1 <= dim <= most:
        why = f"{speakers} speakers" if most < statistics.dim else f"embeddings of {statistics.dim} values"
        raise DataError(f"{where}: LDA to {dim} dimensions: {why} allow 1 to {most}: change --lda-dim")
    statistics.check_within(where)
    deviations = (statistics.means - statistics.mean) * np.sqrt(statistics.counts)[:, np.newaxis]
    between = deviations.T @ deviations / statistics.size
    _, vectors = eigh(
        between, statistics.scatter / statistics.size, subset_by_index=[statistics.dim - dim, statistics.dim - 1]
    )
    return Projection(statistics.mean, vectors[:, ::-1])


def fit_wccn(statistics: SpeakerStatistics, where: str) -> Projection:
    """Within-class covariance normalization: x -> L' x with L L' the inverse of W; L' x has the unit matrix as W.

    Args:
        statistics: of the training embeddings.
        where: what they were made of, for messages.

    Raises:
        DataError: as :meth:`SpeakerStatistics.check_within`.

    Example:
        >>> x = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> wccn = fit_wccn(speaker_statistics([(list("abcd"), [(np.arange(4), x)])], dict.fromkeys("abcd", "s")), "x")
        >>> (wccn.matrix @ wccn.matrix.T).round(3).tolist()  # the inverse of W, whose diagonal is 2 and 0.5
        [[0.5, 0.0], [0.0, 2.0]]
    """
    statistics.check_within(where)
    inverse = np.linalg.inv(statistics.scatter / statistics.size)
    return Projection(statistics.mean, np.linalg.cholesky(inverse))
