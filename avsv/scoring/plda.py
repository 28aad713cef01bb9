"""Two-covariance PLDA: the likelihood ratio of "one speaker" to "two speakers" under Gaussian speakers and recordings.

An embedding is x = y + e: a speaker's y ~ N(mean, B) is the same in all of the speaker's recordings, the recording's
e ~ N(0, W) is not. The score of a trial is the logarithm of

    N([x1; x2]; [mean; mean], [[B + W, B], [B, B + W]]) / (N(x1; mean, B + W) N(x2; mean, B + W))

In the space where W is the unit matrix and B is diagonal, it is a sum over the directions.

Sources: Ioffe 2006, "Probabilistic linear discriminant analysis"; Brümmer and de Villiers 2010, "The speaker
partitioning problem". The steps of EM, and the adaptation, are Kaldi's (ivector-compute-plda, ivector-adapt-plda).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.scoring.cosine import cosine_scores
from avsv.scoring.projection import SpeakerStatistics

Array = NDArray[np.float64]

_TOLERANCE = 1e-6  # rise of the log-likelihood per embedding below which EM ends
_MOST_STEPS = 500


class PLDA(NamedTuple):
    """A two-covariance model.

    Attributes:
        mean: (D,).
        between: (D, D) covariance B of speakers.
        within: (D, D) covariance W of one speaker's recordings.
    """

    mean: Array
    between: Array
    within: Array

    def diagonalize(self) -> tuple[Array, Array]:
        """T (D, D) with T W T' the unit matrix and T B T' diagonal, and this diagonal (D,) in decreasing order."""
        from scipy.linalg import eigh

        spread, vectors = eigh(self.between, self.within)
        return vectors[:, ::-1].T, np.maximum(spread[::-1], 0)


class PLDAScorer:
    """Log-likelihood ratios (natural logarithms) of pairs of embeddings.

    Args:
        model: of embeddings with D values.

    Example (one value; a shared mean makes equal values likelier than opposite ones):
        >>> scorer = PLDAScorer(PLDA(np.zeros(1), np.eye(1), np.eye(1)))
        >>> prepared = scorer.prepare(np.array([[1.0], [-1.0]]))
        >>> scorer.score(prepared, prepared, np.array([0, 0]), np.array([0, 1])).round(4).tolist()
        [0.3105, -0.3562]
    """

    def __init__(self, model: PLDA) -> None:
        self._transform, psi = model.diagonalize()
        self._mean = model.mean
        # Per direction, with total variance 1 + psi on either side and covariance psi:
        # log ratio = cross * x1 * x2 - square / 2 * (x1^2 + x2^2) + a constant.
        determinant = 1 + 2 * psi
        self._root = np.sqrt(psi / determinant)
        self._square = (1 + psi) / determinant - 1 / (1 + psi)
        self._constant = float(np.log1p(psi).sum() - 0.5 * np.log(determinant).sum())

    def prepare(self, embeddings: NDArray) -> Array:
        """(N, D) embeddings to (N, D + 1) vectors for :meth:`score`."""
        values = (np.asarray(embeddings, dtype=np.float64) - self._mean) @ self._transform.T
        return np.column_stack([values * self._root, -0.5 * (values**2 @ self._square)])

    def score(self, enroll: Array, test: Array, enroll_rows: NDArray, test_rows: NDArray) -> Array:
        """Log-likelihood ratios (N,) of pairs of rows of two prepared matrices."""
        cross = cosine_scores(enroll[:, :-1], test[:, :-1], enroll_rows, test_rows)
        return cross + enroll[enroll_rows, -1] + test[test_rows, -1] + self._constant


def em_step(statistics: SpeakerStatistics, model: PLDA) -> PLDA:
    """One step of EM for the covariances, from the speakers' posterior distributions under ``model``.

    Args:
        statistics: of the training embeddings.
        model: its mean is kept.
    """
    transform, psi = model.diagonalize()
    counts = statistics.counts[:, np.newaxis]
    offsets = (statistics.means - model.mean) @ transform.T
    variances = psi / (1 + counts * psi)
    expected = counts * variances * offsets
    between = expected.T @ expected + np.diag(variances.sum(axis=0))
    rest = (offsets - expected) * np.sqrt(counts)
    within = transform @ statistics.scatter @ transform.T + rest.T @ rest + np.diag((counts * variances).sum(axis=0))
    back = np.linalg.inv(transform)
    return PLDA(model.mean, back @ (between / len(counts)) @ back.T, back @ (within / statistics.size) @ back.T)


def log_likelihood(statistics: SpeakerStatistics, model: PLDA) -> float:
    """Log-likelihood of the training embeddings, per embedding; natural logarithm."""
    transform, psi = model.diagonalize()
    counts = statistics.counts[:, np.newaxis]
    offsets = (statistics.means - model.mean) @ transform.T
    freedom = statistics.size - len(counts)
    # Differences from the speaker's mean have the unit covariance, the means themselves psi + 1 / n; the volumes of
    # the transform and of the split into means and differences are added at the end.
    differences = np.einsum("ij,jk,ik->", transform, statistics.scatter, transform)
    of_means = ((offsets**2) / (psi + 1 / counts) + np.log(psi + 1 / counts)).sum()
    volume = 2 * statistics.size * np.linalg.slogdet(transform)[1] - statistics.dim * np.log(counts).sum()
    constant = statistics.dim * (freedom + len(counts)) * np.log(2 * np.pi)
    return float(-0.5 * (differences + of_means + constant - volume) / statistics.size)


def fit_plda(statistics: SpeakerStatistics, where: str, tolerance: float = _TOLERANCE) -> PLDA:
    """The model of largest likelihood, by EM from the covariances of the speakers' means and of their recordings.

    The mean is that of the speakers' means, as in Kaldi.

    Args:
        statistics: of the training embeddings.
        where: what they were made of, for messages.
        tolerance: EM ends at a smaller rise of the log-likelihood per embedding, or after 500 steps.

    Raises:
        DataError: not more speakers than dimensions, or as :meth:`SpeakerStatistics.check_within`.

    Example (eight speakers, two recordings each, one apart from the speaker's mean; means 4 apart):
        >>> means, spread = np.arange(0.0, 32, 4)[:, np.newaxis], 2.0
        >>> statistics = SpeakerStatistics(np.full(8, 2.0), means, np.array([[8 * spread]]))
        >>> model = fit_plda(statistics, "example")
        >>> round(float(model.within[0, 0]), 2), round(float(model.between[0, 0]), 2)
        (2.0, 83.0)
    """
    speakers = len(statistics.counts)
    if speakers <= statistics.dim:
        raise DataError(
            f"{where}: PLDA of {statistics.dim} dimensions needs more than {statistics.dim} speakers, not {speakers}:"
            f" reduce them with --lda-dim, to at most {speakers - 1}"
        )
    statistics.check_within(where)
    mean = statistics.means.mean(axis=0)
    offsets = statistics.means - mean
    model = PLDA(mean, offsets.T @ offsets / speakers, statistics.scatter / (statistics.size - speakers))
    reached = log_likelihood(statistics, model)
    for _ in range(_MOST_STEPS):
        model = em_step(statistics, model)
        before, reached = reached, log_likelihood(statistics, model)
        if reached - before < tolerance:
            break
    return model


def adapt_plda(model: PLDA, mean: Array, covariance: Array, within_share: float, between_share: float) -> PLDA:
    """The model for embeddings from elsewhere, of which only the mean and the covariance are known.

    In the directions in which they vary more than the model says, the excess is added to W and B in the given shares.
    Directions in which they vary less stay as they are. Source: Kaldi's ivector-adapt-plda; described by Lee, Wang and
    Koshinaka 2019, "The CORAL+ algorithm for unsupervised domain adaptation of PLDA".

    Args:
        model: of the training embeddings.
        mean: (D,) of the other embeddings; becomes the mean of the model.
        covariance: (D, D) of the other embeddings, around their mean.
        within_share, between_share: of the excess.

    Example (the other embeddings have variance 4 where the model has 2):
        >>> model = adapt_plda(PLDA(np.zeros(1), np.eye(1), np.eye(1)), np.zeros(1), 4 * np.eye(1), 0.75, 0.25)
        >>> [round(value.item(), 6) for value in model]
        [0.0, 1.5, 2.5]
    """
    from scipy.linalg import eigh

    away = mean - model.mean
    total = model.between + model.within
    spread, vectors = eigh(covariance + np.outer(away, away), total)
    # The columns of the inverse's transpose map an excess along a direction back to the space of the embeddings.
    back = total @ vectors
    excess = (back * np.maximum(spread - 1, 0)) @ back.T
    return PLDA(mean, model.between + between_share * excess, model.within + within_share * excess)
