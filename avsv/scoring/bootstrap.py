"""Uncertainty of error rates, and of their differences between systems, by resampling speakers.

The trials of a list share speakers and utterances and are far from independent, so resampling trials gives intervals
that are much too narrow. Instead, speakers are drawn with replacement, and a speaker drawn k times counts as k speakers
with the same recordings:

- a trial of two different speakers occurs once for each pair of their copies, k_enroll * k_test times;
- a trial within one speaker occurs once for each copy, k times. There are no trials between two copies of a speaker:
  they would be non-target trials that compare a person with themselves.

**Intervals.** The variance v of the resampled rates gives the number of independent trials that would be as informative
as the list, n = p (1 - p) / v for the rate p. The interval is Wilson's for n trials, with Student's t of S - 1 degrees
of freedom for S speakers: all rates q with |q - p| <= t sqrt(q (1 - q) / n). Unlike p plus or minus a multiple of the
standard deviation of the draws, it remains valid for few errors: a list without errors has no deviation at all, and a
list whose errors all come from two speakers does not show what the third would add. With fewer than eight independent
errors (n p < 8), v is unreliable. Then n is computed, if that is smaller, from the same list made harder: all target
scores are lowered by the smallest of a series of amounts that gives eight errors.

**Differences.** Two systems are compared on the same trials and draws, so that what is hard for both cancels out. The
interval is the difference plus or minus t times the standard deviation of the resampled differences.

The products of weights count the noise of single trials between two speakers up to three times. The intervals are
therefore slightly too wide if this noise dominates the deviation, but never too narrow because of it.

Sources: Davezies, D'Haultfœuille and Guyonvarch 2021, "Empirical process results for exchangeable arrays",
arXiv:1906.11293 (these weights are valid for data indexed by pairs); Owen 2007, "The pigeonhole bootstrap" (by how
much the intervals are too wide); Wilson 1927, "Probable inference, the law of succession, and statistical inference";
Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts estimated
from survey data" (effective numbers of trials).
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.scoring.metrics import check_trials, eer, min_dcf
from avsv.seeding import generator_for

_DRAWS = 50  # draws at a time: the sums of all come from one matrix product
_ROUNDING = 1e-9  # of running sums; if the curves cross at an operating point, that point must be found
FEW_ERRORS = 8  # independent errors below which the variance of the draws is unreliable
_DRAWS_OF_HARDER_LISTS = 200  # enough for a variance within 10 %
_HARDEST = 0.25  # equal error rate at which harder lists end


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A figure of system A minus that of system B, its confidence interval, and the p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float


def speaker_bootstrap(
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    draws: NDArray[np.float64] | None = None,
) -> Interval:
    """Confidence interval of the equal error rate from speakers drawn with replacement; see the module docstring.

    Args:
        scores: (N,) scores, larger for a more likely target.
        is_target: (N,) booleans.
        enroll_speaker, test_speaker: (N,) speaker of each side of the trials, strings or integers.
        resamples: number of draws of speakers, at least 2.
        seed: equal seeds draw the same speakers.
        confidence: nominal confidence level.
        draws: the result of :func:`resampled_eers` for the same arguments, if already computed.

    Raises:
        ValueError: as :func:`avsv.scoring.metrics.eer`, or the numbers of speakers and scores differ.

    Example (three speakers that are never confused, which is little evidence about others):
        >>> trials = [3, 4, 3, 1, 2, 1], [True] * 3 + [False] * 3, list("abcabc"), list("abcbca")
        >>> [round(rate, 6) for rate in speaker_bootstrap(*trials, resamples=20)]
        [0.0, 0.860548]
    """
    from scipy.special import stdtrit

    count = independent_trials(scores, is_target, enroll_speaker, test_speaker, resamples, seed, draws)
    size = len(np.union1d(enroll_speaker, test_speaker))
    return wilson_interval(eer(scores, is_target), stdtrit(size - 1, (1 + confidence) / 2) ** 2 / count)


def wilson_interval(rate: float, reach: float) -> Interval:
    """All rates q with (q - rate)^2 <= reach q (1 - q): Wilson's interval, where reach is t^2 / n.

    Example:
        >>> [round(limit, 4) for limit in wilson_interval(0.1, 1.96**2 / 100)]
        [0.0552, 0.1744]
    """
    center = (rate + reach / 2) / (1 + reach)
    half = np.sqrt(reach * (rate * (1 - rate) + reach / 4)) / (1 + reach)
    # For rates of 0 and 1, a limit equals the rate except for rounding.
    return Interval(min(float(center - half), rate), max(float(center + half), rate))


def independent_trials(
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    draws: NDArray[np.float64] | None = None,
) -> float:
    """How many independent trials say as much about the equal error rate as the list does; see the module's text.

    Arguments and errors as for :func:`speaker_bootstrap`.
    """
    if resamples < 2:
        raise ValueError(f"{resamples} resamples have no spread: take at least 2, better 1000")
    trials = is_target, enroll_speaker, test_speaker
    rate, size = eer(scores, is_target), len(np.union1d(enroll_speaker, test_speaker))

    def as_informative(rates: NDArray[np.float64], rate: float) -> float:
        variance = rates.var() * size / (size - 1)
        return rate * (1 - rate) / variance if variance > 0 else np.inf

    count = as_informative(resampled_eers(scores, *trials, resamples, seed) if draws is None else draws, rate)
    if not FEW_ERRORS <= rate * count < np.inf:
        fallback = min(np.count_nonzero(is_target), np.size(is_target) - np.count_nonzero(is_target))
        for harder, harder_rate in _harder_lists(scores, is_target, rate):
            rates = resampled_eers(harder, *trials, min(resamples, _DRAWS_OF_HARDER_LISTS), seed)
            fallback = as_informative(rates, harder_rate)
            if fallback * harder_rate >= FEW_ERRORS:
                break
        count = min(count, fallback)
    return float(count)


def _harder_lists(scores: ArrayLike, is_target: ArrayLike, rate: float) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Scores with lowered target scores, and their equal error rates, each about twice the previous one."""
    scores, is_target = check_trials(scores, is_target)
    targets, nontargets = scores[is_target], scores[~is_target]
    level = max(2 * rate, FEW_ERRORS / min(len(targets), len(nontargets)))
    while level <= _HARDEST:
        shift = np.quantile(targets, level) - np.quantile(nontargets, 1 - level)
        harder = scores - np.where(is_target, shift, 0)
        yield harder, eer(harder, is_target)
        level *= 2


def paired_difference(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    metric: Literal["eer", "min_dcf"] = "eer",
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """The difference of a metric between systems A and B on the same trials, both with the same draws.

    Args:
        scores_a, scores_b: (N,) scores of both systems, trial by trial.
        metric: the equal error rate, or the minimum detection cost for P_target 0.01 and unit costs.
        other arguments: as :func:`speaker_bootstrap`.

    Raises:
        ValueError: as :func:`speaker_bootstrap`, or an unknown metric.

    Example (B makes errors that A does not make, but only for one of three speakers):
        >>> labels, speakers = [True] * 3 + [False] * 3, (list("abcabc"), list("abcbca"))
        >>> paired_difference([3, 3, 3, 1, 1, 1], [3, 3, 0, 1, 1, 1], labels, *speakers, resamples=100).p > 0.1
        True
    """
    if metric not in _METRICS:
        raise ValueError(f"metric '{metric}' is not one of {' '.join(_METRICS)}")
    if resamples < 2:
        raise ValueError(f"{resamples} resamples have no spread: take at least 2, better 1000")
    figure, resampled = _METRICS[metric]
    trials = is_target, enroll_speaker, test_speaker
    values = [figure(scores, is_target) for scores in (scores_a, scores_b)]
    draws = [resampled(scores, *trials, resamples, seed) for scores in (scores_a, scores_b)]
    size = len(np.union1d(enroll_speaker, test_speaker))
    return difference_of_draws(values[0] - values[1], draws[0] - draws[1], size, confidence)


def difference_of_draws(
    difference: float, draws: NDArray[np.float64], size: int, confidence: float = 0.95
) -> Difference:
    """The interval and the p-value of a difference, given the same difference in draws of speakers.

    Args:
        difference: difference between the metrics of two systems.
        draws: (R,) differences between the results of :func:`resampled_eers` or :func:`resampled_min_dcfs` for both.
        size: number of speakers S.
        confidence: nominal confidence level.
    """
    from scipy.special import stdtr, stdtrit

    spread = float(np.std(draws)) * np.sqrt(size / (size - 1))
    reach = float(stdtrit(size - 1, (1 + confidence) / 2) * spread)
    p = 1.0 if difference == 0 else 0.0 if spread == 0 else 2 * float(stdtr(size - 1, -abs(difference) / spread))
    return Difference(difference, difference - reach, difference + reach, p)


def resampled_eers(
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Equal error rates (resamples,) of resampled speakers; arguments as for :func:`speaker_bootstrap`.

    Equal trials and seeds give equal draws, in any order of the trials and for any scores.
    """
    return _resampled(_weighted_eer, scores, is_target, enroll_speaker, test_speaker, resamples, seed)


def resampled_min_dcfs(
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Minimum detection costs for P_target 0.01 and unit costs, with the same draws as :func:`resampled_eers`."""
    return _resampled(_weighted_min_dcf, scores, is_target, enroll_speaker, test_speaker, resamples, seed)


_METRICS = {"eer": (eer, resampled_eers), "min_dcf": (min_dcf, resampled_min_dcfs)}


def _resampled(
    statistic: Callable,
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Values (resamples,) of a statistic on the trials of resampled speakers.

    A draw in which one class of trials does not occur is repeated. The trials are sorted once. The first draws show
    which part of the trials determines the result; after that only these trials are visited, and all others, whose
    order does not matter, are represented by their sums per pair of speakers. Memory is a few numbers per trial.
    """
    scores, is_target = check_trials(scores, is_target)
    speakers, sides = np.unique(np.stack([enroll_speaker, test_speaker]), return_inverse=True)
    if sides.size != 2 * len(scores):
        raise ValueError(f"{sides.size // 2} pairs of speakers do not match {len(scores)} scores")
    order = np.argsort(scores, kind="stable")
    enroll, test = (side[order].astype(np.int32) for side in sides.reshape(2, -1))
    size = len(speakers)
    test[enroll == test] = size
    ordered = scores[order]
    ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    trials = _Trials(enroll, test, is_target[order].astype(np.float64), ends)

    generator = generator_for(seed, "speakers")
    values: list[float] = []
    window, weight_of_all, weight_before = trials, _PairSums(trials, size), _PairSums(trials.part(0, 0), size)
    while len(values) < resamples:
        drawn = np.ones((_DRAWS, size + 1))
        drawn[:, :size] = generator.multinomial(size, np.full(size, 1 / size), _DRAWS)
        of_all, before = weight_of_all(drawn), weight_before(drawn)
        places = []
        for row in np.flatnonzero((of_all > 0).all(axis=0))[: resamples - len(values)]:
            value, place = statistic(window, drawn[row], of_all[:, row], before[:, row])
            if value is None:
                value, place = statistic(trials, drawn[row], of_all[:, row], np.zeros(2))
            values.append(value)
            places.append(place)
        if places and window is trials:
            low, high = np.min(places, axis=0), np.max(places, axis=0) + 1
            first, last = max(0, 2 * low[0] - high[0]), min(len(ends), 2 * high[1] - low[1])
            window, weight_before = trials.part(first, last), _PairSums(trials.part(0, first), size)
    return np.array(values)


class _Trials(NamedTuple):
    """Trials in increasing order of their scores.

    Attributes:
        enroll, test: (N,) speakers of both sides. The test side of a trial within one speaker is the number after the
            last speaker, which counts as drawn once: the weight of the trial is then a product like all others.
        target: (N,) 1.0 for target trials, 0.0 for others.
        ends: (K,) the last trial of each distinct score.
    """

    enroll: NDArray[np.int32]
    test: NDArray[np.int32]
    target: NDArray[np.float64]
    ends: NDArray[np.int64]

    def part(self, first: int, last: int) -> "_Trials":
        """The trials of the distinct scores from number ``first`` up to, but not including, ``last``."""
        start = 0 if first == 0 else self.ends[first - 1] + 1
        trials = slice(start, start if last == first else self.ends[last - 1] + 1)
        return _Trials(self.enroll[trials], self.test[trials], self.target[trials], self.ends[first:last] - start)


class _PairSums:
    """Weights of all target and all non-target trials for many draws at once.

    Args:
        trials: the trials.
        size: number of speakers S.
    """

    def __init__(self, trials: _Trials, size: int) -> None:
        from scipy.sparse import csr_array

        chosen = [trials.target == 1, trials.target == 0]
        self._sums = [
            csr_array((np.ones(mask.sum()), (trials.test[mask], trials.enroll[mask])), shape=(size + 1, size + 1))
            for mask in chosen
        ]

    def __call__(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, R) weights for (R, S + 1) draws."""
        return np.stack([np.einsum("rs,sr->r", drawn, sums @ drawn.T) for sums in self._sums])


def _weighted_eer(
    trials: _Trials, drawn: NDArray, totals: NDArray, before: NDArray
) -> tuple[float | None, tuple[int, int]]:
    """Equal error rate of weighted trials, interpolated as :func:`avsv.scoring.metrics.eer` does.

    Args:
        trials: trials around the expected crossing; all others have lower or higher scores.
        drawn: (S + 1,) how often each speaker was drawn, and 1.
        totals: weights of all target and of all non-target trials.
        before: weights of those with lower scores than ``trials``.

    Returns:
        The rate, and the first and last of the scores that determine it; no rate if P_miss and P_fa meet outside
        ``trials``.
    """
    weight = drawn[trials.enroll]
    weight *= drawn[trials.test]
    of_target, of_nontarget = 1 / totals
    excess = trials.target * (of_target - of_nontarget)
    excess += of_nontarget
    excess *= weight
    # P_miss - P_fa + 1 at every operating point; the curves meet where it reaches 1.
    start = before[0] * of_target + before[1] * of_nontarget
    excess[:1] += start
    np.cumsum(excess, out=excess)
    if len(trials.ends) != len(excess):
        excess = excess[trials.ends]
    after = int(np.searchsorted(excess, 1 - _ROUNDING))
    if start >= 1 - _ROUNDING or after == len(excess):
        return None, (0, 0)
    begin, below = (0, start) if after == 0 else (trials.ends[after - 1] + 1, excess[after - 1])
    end = trials.ends[after] + 1
    missed_before = before[0] + weight[:begin] @ trials.target[:begin]
    missed_more = weight[begin:end] @ trials.target[begin:end]
    rate = (missed_before + (1 - below) / (excess[after] - below) * missed_more) * of_target
    return rate, (after, after)


def _weighted_min_dcf(
    trials: _Trials, drawn: NDArray, totals: NDArray, before: NDArray
) -> tuple[float | None, tuple[int, int]]:
    """Minimum detection cost P_miss + 99 P_fa of weighted trials; otherwise as :func:`_weighted_eer`."""
    weight = drawn[trials.enroll]
    weight *= drawn[trials.test]
    of_target, of_nontarget = 1 / totals
    missed = weight * trials.target
    weight -= missed
    for sums in (missed, weight):
        np.cumsum(sums, out=sums)
    if len(trials.ends) != len(missed):
        missed, weight = missed[trials.ends], weight[trials.ends]
    p_miss = np.r_[before[0], before[0] + missed] * of_target
    fa_cost = 99 * (1 - np.r_[before[1], before[1] + weight] * of_nontarget)
    least = float((p_miss + fa_cost).min())
    # Lower thresholds only have more false accepts, higher thresholds only more misses.
    if fa_cost[0] < least - _ROUNDING or p_miss[-1] < least - _ROUNDING:
        return None, (0, 0)
    first = int(np.searchsorted(-fa_cost, -least - _ROUNDING)) - 1
    last = int(np.searchsorted(p_miss, least + _ROUNDING))
    return least, (max(0, first), min(last, len(p_miss) - 1))
