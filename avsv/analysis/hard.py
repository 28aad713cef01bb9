"""The utterances that voice and face systems most often get wrong, and whether fusion brings them home.

Source: Sun et al. 2022 and 2023, "about 20 hard samples" and their outliers; how they are chosen is not said there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.scoring.metrics import eer_threshold


class Outliers(NamedTuple):
    """How hard utterances lie in one system's space.

    Attributes:
        outlier: (H,) whether the nearest identity is another one.
        vectors: (H + S, D) the hard utterances, then the centroids of their identities.
        identities: (S,) names of these identities.
    """

    outlier: NDArray[np.bool_]
    vectors: NDArray[np.float64]
    identities: NDArray[np.str_]


def error_shares(
    scores: ArrayLike, is_target: ArrayLike, enroll: NDArray[np.intp], test: NDArray[np.intp], utterances: int
) -> NDArray[np.float64]:
    """The share (U,) of each utterance's trials that are wrong at the equal error rate's threshold, NaN without any.

    Args:
        scores: (N,).
        is_target: (N,) booleans.
        enroll, test: (N,) rows of the utterances on both sides.
        utterances: U.

    Example (the target trial of utterances 0 and 1 scores lowest):
        >>> error_shares([0.0, 1.0, 2.0], [True, False, True], np.array([0, 1, 2]), np.array([1, 2, 2]), 3).tolist()
        [1.0, 1.0, 0.5]
    """
    scores, is_target = np.asarray(scores), np.asarray(is_target)
    threshold = eer_threshold(scores, is_target)
    wrong = np.where(is_target, scores <= threshold, scores > threshold)
    both = enroll != test
    rows, weights = np.r_[enroll, test[both]], np.r_[wrong, wrong[both]]
    trials = np.bincount(rows, minlength=utterances)
    with np.errstate(invalid="ignore"):
        return np.bincount(rows, weights, minlength=utterances) / trials


def hardest(shares: Sequence[NDArray[np.float64]], count: int = 20) -> NDArray[np.intp]:
    """The rows with the largest mean share of errors over systems, largest first; those without trials never."""
    mean = np.nan_to_num(np.mean(shares, axis=0), nan=-1)
    order = np.lexsort((np.arange(len(mean)), -mean))[:count]
    return order[mean[order] >= 0]


def find_outliers(vectors: ArrayLike, identities: ArrayLike, rows: ArrayLike) -> Outliers:
    """Which utterances are nearer to the centroid of another identity than to that of their own.

    Centroids are means of vectors of length 1; an utterance does not count in that of its own identity.

    Args:
        vectors: (N, D).
        identities: (N,) names.
        rows: (H,) the utterances.
    """
    vectors, rows = np.asarray(vectors, dtype=np.float64), np.asarray(rows)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    names, numbers = np.unique(identities, return_inverse=True)
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, numbers, unit)
    outlier = np.zeros(len(rows), dtype=bool)
    for place, row in enumerate(rows):
        others = sums.copy()
        others[numbers[row]] -= unit[row]
        norms = np.linalg.norm(others, axis=1)
        cosines = np.where(norms > 1e-9, others @ unit[row] / np.maximum(norms, 1e-9), -np.inf)
        outlier[place] = cosines.argmax() != numbers[row]
    shown = np.unique(numbers[rows])
    centroids = sums[shown] / np.linalg.norm(sums[shown], axis=1, keepdims=True)
    return Outliers(outlier, np.concatenate([unit[rows], centroids]), names[shown])
