"""Detection metrics for verification scores: EER, detection costs, Cllr, DET curves and their uncertainty.

A trial is accepted if its score is larger than the threshold. At a threshold, P_miss is the share of target trials that
are rejected, and P_fa is the share of non-target trials that are accepted. Trials with equal scores are on the same
side of any threshold, so they form a single operating point, and the order of the trials does not matter.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class DetCurve(NamedTuple):
    """The operating points of a score list, from accepting every trial (first) to rejecting every trial (last).

    Attributes:
        thresholds: (K+1,) -inf, then the K distinct scores in increasing order.
        p_miss: (K+1,) share of the target trials at or below each threshold, from 0 to 1.
        p_fa: (K+1,) share of the non-target trials above each threshold, from 1 to 0.
    """

    thresholds: Array
    p_miss: Array
    p_fa: Array


class _Trials(NamedTuple):
    """Trials merged at equal scores: (K,) distinct increasing scores with the weights of both classes at each."""

    scores: Array
    target: Array
    nontarget: Array


def det_curve(scores: ArrayLike, is_target: ArrayLike, weights: ArrayLike | None = None) -> DetCurve:
    """All operating points of a score list, with ties merged, including accept-all and reject-all.

    Args:
        scores: (N,) scores, larger for a more likely target.
        is_target: (N,) booleans.
        weights: (N,) weights >= 0 of the trials; None for equal weights.

    Raises:
        ValueError: a score is not finite, a class has no trials (or no weight), or the lengths differ.

    Example:
        >>> curve = det_curve([3, 1, 2, 0, 1], [True, True, False, False, False])
        >>> curve.thresholds.tolist()
        [-inf, 0.0, 1.0, 2.0, 3.0]
        >>> curve.p_miss.tolist()
        [0.0, 0.0, 0.5, 0.5, 1.0]
    """
    return _curve(_merge_ties(scores, is_target, weights))


def eer(scores: ArrayLike, is_target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Equal error rate in [0, 1], by linear interpolation between the operating points around P_miss = P_fa.

    Arguments and errors as for :func:`det_curve`.

    Example:
        >>> round(eer([0.9, 0.6, 0.3, 0.8, 0.5, 0.4, 0.2, 0.1], [True] * 3 + [False] * 5), 6)
        0.333333
    """
    _, p_miss, p_fa = det_curve(scores, is_target, weights)
    return _crossing(p_miss, p_fa)


def eer_threshold(scores: ArrayLike, is_target: ArrayLike) -> float:
    """The lowest score at which P_miss and P_fa differ least, except the threshold that accepts every trial.

    Arguments and errors as for :func:`det_curve`.

    Example:
        >>> eer_threshold([3.0, 1.0, 2.0, 0.0, -1.0], [True, True, False, False, False])
        1.0
    """
    thresholds, p_miss, p_fa = det_curve(scores, is_target)
    return float(thresholds[1 + np.abs(p_miss - p_fa)[1:].argmin()])


def eer_rocch(scores: ArrayLike, is_target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Equal error rate in [0, 0.5] on the convex hull of the operating points; never larger than :func:`eer`.

    The hull is what a system can reach by choosing randomly between two thresholds. It is computed by isotonic
    regression of the labels on the scores (pool adjacent violators), whose blocks end at the corners of the hull.

    Source: Brümmer and de Villiers 2013, "The BOSARIS Toolkit", arXiv:1304.2865. Arguments and errors as for
    :func:`det_curve`.

    Example:
        >>> eer_rocch([0.9, 0.8, 0.7, 0.35, 0.4, 0.3, 0.2, 0.1], [True] * 4 + [False] * 4)
        0.125
    """
    merged = _merge_ties(scores, is_target, weights)
    corners, _ = _pool_adjacent_violators(merged)
    _, p_miss, p_fa = _curve(merged)
    return _crossing(p_miss[corners], p_fa[corners])


def min_dcf(
    scores: ArrayLike,
    is_target: ArrayLike,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    weights: ArrayLike | None = None,
) -> float:
    """Minimum normalized detection cost over all thresholds, in [0, 1].

    The cost c_miss p_target P_miss + c_fa (1 - p_target) P_fa, divided by the cost of the better of the two systems
    that ignore the score. Source: NIST SRE evaluation plans. Other arguments and errors as for :func:`det_curve`.

    Example:
        >>> round(min_dcf([0.9, 0.6, 0.3, 0.8, 0.5, 0.4, 0.2, 0.1], [True] * 3 + [False] * 5), 6)
        0.666667
    """
    _, p_miss, p_fa = det_curve(scores, is_target, weights)
    return float(_detection_cost(p_miss, p_fa, p_target, c_miss, c_fa).min())


def min_dcf_point(
    curve: DetCurve, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> tuple[float, float]:
    """The (P_fa, P_miss) at which the detection cost of :func:`min_dcf` is smallest, for plots."""
    best = int(_detection_cost(curve.p_miss, curve.p_fa, p_target, c_miss, c_fa).argmin())
    return float(curve.p_fa[best]), float(curve.p_miss[best])


def actual_dcf(
    llr: ArrayLike, is_target: ArrayLike, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Normalized detection cost at the threshold determined by the costs; scores must be calibrated.

    A trial is accepted if its log-likelihood ratio (natural logarithm) is above
    ln(c_fa (1 - p_target)) - ln(c_miss p_target). Equals :func:`min_dcf` if the calibration is perfect.

    Example:
        >>> actual_dcf([5.0, 4.0, -5.0, -4.0], [True, True, False, False])
        0.5
    """
    llr, is_target = check_trials(llr, is_target)
    accepted = llr > np.log(c_fa * (1 - p_target)) - np.log(c_miss * p_target)
    p_miss, p_fa = 1 - accepted[is_target].mean(), accepted[~is_target].mean()
    return float(_detection_cost(p_miss, p_fa, p_target, c_miss, c_fa))


def cllr(llr: ArrayLike, is_target: ArrayLike) -> float:
    """Cost of log-likelihood ratios in bits: 0 is perfect, 1 is the cost of all-zero ratios, above 1 is harmful.

    Source: Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection". Ratios are natural
    logarithms.

    Example:
        >>> cllr([0.0, 0.0], [True, False])
        1.0
    """
    llr, is_target = check_trials(llr, is_target)
    return float((np.logaddexp(0, -llr[is_target]).mean() + np.logaddexp(0, llr[~is_target]).mean()) / (2 * np.log(2)))


def min_cllr(scores: ArrayLike, is_target: ArrayLike) -> float:
    """Smallest :func:`cllr` that any increasing map of the scores can reach on these trials.

    The best map is isotonic regression. Source: Brümmer and du Preez 2006. Raises as :func:`det_curve`.

    Example:
        >>> min_cllr([3.0, 2.0, 1.0], [True, True, False])
        0.0
    """
    merged = _merge_ties(scores, is_target, None)
    corners, share = _pool_adjacent_violators(merged)
    blocks = np.repeat(np.arange(len(share)), np.diff(corners))
    prior = merged.target.sum() / (merged.target.sum() + merged.nontarget.sum())
    with np.errstate(divide="ignore"):  # a block of one class has an infinite ratio, at no cost
        llr = (np.log(share) - np.log1p(-share) - np.log(prior) + np.log1p(-prior))[blocks]
    miss_bits = np.where(merged.target > 0, np.logaddexp(0, -llr), 0) @ merged.target / merged.target.sum()
    fa_bits = np.where(merged.nontarget > 0, np.logaddexp(0, llr), 0) @ merged.nontarget / merged.nontarget.sum()
    return float((miss_bits + fa_bits) / (2 * np.log(2)))


def check_trials(scores: ArrayLike, is_target: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Scores and labels as arrays; ValueError if they cannot be evaluated."""
    scores = np.asarray(scores, dtype=np.float64)
    is_target = np.asarray(is_target, dtype=bool)
    if scores.ndim != 1 or scores.shape != is_target.shape:
        raise ValueError(f"scores of shape {scores.shape} do not match labels of shape {is_target.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} of {len(scores)} scores are not finite numbers")
    for name, count in (("target", is_target.sum()), ("non-target", (~is_target).sum())):
        if count == 0:
            raise ValueError(f"there is no {name} trial among the {len(scores)} trials: both kinds are needed")
    return scores, is_target


def _merge_ties(scores: ArrayLike, is_target: ArrayLike, weights: ArrayLike | None) -> _Trials:
    """Sum the weights of both classes at each distinct score."""
    scores, is_target = check_trials(scores, is_target)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != scores.shape or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("the weights must be finite numbers of at least 0, one per trial")
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    target = np.add.reduceat(np.where(is_target, weights, 0)[order], starts)
    nontarget = np.add.reduceat(np.where(is_target, 0, weights)[order], starts)
    for name, total in (("target", target.sum()), ("non-target", nontarget.sum())):
        if total == 0:
            raise ValueError(f"all {name} trials have weight 0")
    return _Trials(ordered[starts], target, nontarget)


def _curve(merged: _Trials) -> DetCurve:
    """Operating points of merged trials."""
    missed = np.r_[0.0, np.cumsum(merged.target)]
    # Summed from the top, so that the last point is exactly 0, like the first miss rate.
    accepted = np.r_[np.cumsum(merged.nontarget[::-1])[::-1], 0.0]
    return DetCurve(np.r_[-np.inf, merged.scores], missed / missed[-1], accepted / accepted[0])


def _crossing(p_miss: Array, p_fa: Array) -> float:
    """P_miss at the intersection of the line through the operating points with the diagonal."""
    after = int(np.searchsorted(p_miss - p_fa, 0.0))
    before = after - 1
    below, above = p_fa[before] - p_miss[before], p_miss[after] - p_fa[after]
    return float(p_miss[before] + below / (below + above) * (p_miss[after] - p_miss[before]))


def _detection_cost(p_miss, p_fa, p_target: float, c_miss: float, c_fa: float):
    """Normalized detection cost of operating points."""
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise ValueError(f"prior {p_target} must be between 0 and 1 and costs {c_miss}, {c_fa} above 0")
    of_miss, of_fa = c_miss * p_target, c_fa * (1 - p_target)
    return (of_miss * p_miss + of_fa * p_fa) / min(of_miss, of_fa)


def _pool_adjacent_violators(merged: _Trials) -> tuple[NDArray[np.intp], Array]:
    """Corners of the hull as (M+1,) indices into the operating points, and the (M,) share of targets between them."""
    from scipy.optimize import isotonic_regression  # importing it takes half a second, and most metrics do not need it

    total = merged.target + merged.nontarget
    used = np.flatnonzero(total > 0)
    fit = isotonic_regression(merged.target[used] / total[used], weights=total[used])
    # A block of scores used[i:j] ends at operating point used[j - 1] + 1.
    corners = np.r_[0, used[fit.blocks[1:] - 1] + 1]
    return corners, fit.x[fit.blocks[:-1]]
