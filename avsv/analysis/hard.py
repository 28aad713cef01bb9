"""The utterances for which voice and face systems make the most errors, and whether fusion corrects them.

Source: Sun et al. 2022 and 2023, "about 20 hard samples" and their outliers, which do not say how these were chosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from avsv.scoring.metrics import eer_threshold
from avsv.scoring.trials import Embeddings

COUNT = 20
MAX_FUSED = 4  # fused systems shown with those of the voice and the face


class Scored(NamedTuple):
    """A system on a list of trials.

    Attributes:
        system: name.
        mode: its widest one, such as AVxAV.
        rate: equal error rate.
        shares: (U,) errors of each utterance, see :func:`error_shares`.
    """

    system: str
    mode: str
    rate: float
    shares: NDArray[np.float64]


class Chosen(NamedTuple):
    """The voice and the face system whose errors make utterances hard, and the fused systems shown with them."""

    singles: list[Scored]
    fused: list[Scored]


class Outliers(NamedTuple):
    """Hard utterances in the space of one system.

    Attributes:
        outlier: (H,) whether the nearest identity is another one.
        vectors: (H + S, D) the hard utterances, followed by the centroids of their identities.
        identities: (S,) names of these identities.
    """

    outlier: NDArray[np.bool_]
    vectors: NDArray[np.float64]
    identities: NDArray[np.str_]


class HardSamples(NamedTuple):
    """The hard utterances in the spaces of some systems.

    Attributes:
        rows: (H,) the utterances, hardest first.
        outliers: which of them are outliers in the space of each system.
    """

    rows: NDArray[np.intp]
    outliers: dict[str, Outliers]


def choose(scored: Iterable[Scored]) -> Chosen | None:
    """The systems of lowest error rate; None where there is none of the voice, or none of the face.

    Example:
        >>> found = [Scored(name, mode, rate, np.zeros(1)) for name, mode, rate in
        ...     [("a", "AxA", 0.3), ("b", "AxA", 0.2), ("v", "VxV", 0.1), ("f", "AVxAV", 0.4), ("g", "AVxAV", 0.3)]]
        >>> [[x.system for x in group] for group in choose(found)]
        [['b', 'v'], ['g', 'f']]
        >>> choose(found[:2])
    """
    ordered = sorted(scored, key=lambda x: x.rate)
    of = {mode: [x for x in ordered if x.mode == mode] for mode in ("AxA", "VxV", "AVxAV")}
    if not (of["AxA"] and of["VxV"]):
        return None
    return Chosen([of["AxA"][0], of["VxV"][0]], of["AVxAV"][:MAX_FUSED])


def error_shares(
    scores: ArrayLike, is_target: ArrayLike, enroll: NDArray[np.intp], test: NDArray[np.intp], utterances: int
) -> NDArray[np.float64]:
    """The share (U,) of errors in the trials of each utterance at the EER threshold; NaN without trials.

    Args:
        scores: (N,) scores.
        is_target: (N,) booleans.
        enroll, test: (N,) rows of the utterances on both sides.
        utterances: number U of utterances.

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
    """The rows with the largest mean share of errors over systems, in decreasing order; never rows without trials."""
    mean = np.nan_to_num(np.mean(shares, axis=0), nan=-1)
    order = np.lexsort((np.arange(len(mean)), -mean))[:count]
    return order[mean[order] >= 0]


def find_outliers(vectors: ArrayLike, identities: ArrayLike, rows: ArrayLike) -> Outliers:
    """Which utterances are nearer to the centroid of another identity than to that of their own.

    Centroids are means of length-normalized vectors; an utterance is left out of the centroid of its own identity.

    Args:
        vectors: (N, D).
        identities: (N,) names.
        rows: (H,) rows of the utterances.
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


def hard_samples(
    singles: Sequence[Scored], spaces: Mapping[str, Embeddings], identities: NDArray[np.str_], count: int = COUNT
) -> HardSamples:
    """Find the hardest of the utterances that all systems embed, and the outliers among them in each space.

    Args:
        singles: systems whose errors count.
        spaces: embeddings of the U utterances by each system.
        identities: (U,) names.
        count: of the utterances, at most.
    """
    complete = np.logical_and.reduce([space.present for space in spaces.values()])
    rows = hardest([np.where(complete, scored.shares, np.nan) for scored in singles], count)
    outliers = {}
    for system, space in spaces.items():
        there = np.flatnonzero(space.present)
        outliers[system] = find_outliers(space.matrix[there], identities[there], np.searchsorted(there, rows))
    return HardSamples(rows, outliers)


def hard_table(
    found: HardSamples, utterances: Sequence[str], identities: NDArray[np.str_], singles: Sequence[Scored]
) -> pd.DataFrame:
    """The table hard.csv: the share of errors by each single system, and 1 for an outlier in a system's space."""
    columns = {"utterance": [utterances[row] for row in found.rows], "identity": identities[found.rows]}
    columns |= {f"{scored.system} errors": scored.shares[found.rows] for scored in singles}
    columns |= {f"{system} outlier": of.outlier.astype(int) for system, of in found.outliers.items()}
    return pd.DataFrame(columns)
