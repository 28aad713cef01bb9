"""Uncertainty of an equal error rate by resampling speakers.

The trials of a list share speakers and utterances, so they are far from independent: drawing trials anew gives
intervals that are much too narrow. Here the speakers are drawn, with replacement, and a speaker drawn k times counts
as k speakers with the same recordings:

- a trial of two different speakers appears once for each pair of their copies, k_enroll * k_test times;
- a trial within one speaker appears once for each copy, k times. Between two copies of the speaker there is no trial:
  it would be a non-target trial that compares a person with themselves.

The interval is that of Student's t on the probit scale. For normal scores the probit of the equal error rate is
proportional to the distance of the two classes, so draws spread there more evenly than the rates do: percentiles of the
rates themselves are too low when few speakers make the errors, which is what happens at low rates.

Source: Davezies, D'Haultfœuille and Guyonvarch 2021, "Empirical process results for exchangeable arrays",
arXiv:1906.11293, which shows that intervals from these product weights are valid for data indexed by pairs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.scoring.metrics import check_trials, eer
from avsv.seeding import generator_for

_DRAWS = 50  # at a time: sums for all of them come from one product of matrices
_ROUNDING = 1e-9  # of running sums; where the curves cross at an operating point, that point must be found


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def speaker_bootstrap(
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of the equal error rate from speakers drawn with replacement; see the module's text.

    With S speakers and draws whose probits have the standard deviation s, the probit of the rate is given
    t_{S-1} s sqrt(S / (S - 1)) to both sides. Rates below half an error of the smaller class count as half an error.

    Args:
        scores: (N,) scores, larger for a more likely target.
        is_target: (N,) booleans.
        enroll_speaker, test_speaker: (N,) speaker of each side of the trials, strings or integers.
        resamples: how often speakers are drawn, at least twice.
        seed: equal seeds draw equal speakers, so that systems on the same trials can be compared draw by draw.
        confidence: probability that the interval is meant to hold.

    Raises:
        ValueError: as :func:`avsv.scoring.metrics.eer`, or the speakers' lengths differ from the scores'.

    Example (two speakers who are never confused: no errors, at most half of one in two):
        >>> trials = [3, 4, 1, 2], [True, True, False, False], list("abab"), list("abba")
        >>> [round(rate, 6) for rate in speaker_bootstrap(*trials, resamples=20)]
        [0.0, 0.25]
    """
    from scipy.special import ndtr, ndtri, stdtrit

    if resamples < 2:
        raise ValueError(f"{resamples} resamples have no spread: take at least 2, better 1000")
    rates = resampled_eers(scores, is_target, enroll_speaker, test_speaker, resamples, seed)
    rate = eer(scores, is_target)
    targets = np.count_nonzero(is_target)
    least = 0.5 / min(targets, np.size(is_target) - targets)
    size = len(np.union1d(enroll_speaker, test_speaker))
    spread = ndtri(np.clip(rates, least, 1 - least)).std() * np.sqrt(size / (size - 1))
    reach = stdtrit(size - 1, (1 + confidence) / 2) * spread
    centre = ndtri(np.clip(rate, least, 1 - least))
    return Interval(min(float(ndtr(centre - reach)), rate), max(float(ndtr(centre + reach)), rate))


def resampled_eers(
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Equal error rates (resamples,) of trial lists over speakers drawn anew; arguments as :func:`speaker_bootstrap`.

    A draw in which one class of trials does not occur is drawn again. The trials are sorted once. The first draws show
    where about the curves cross; from then on only the trials there are visited, and those outside, on whose order
    nothing depends, count by their sums per pair of speakers. Memory is a few numbers per trial.
    """
    scores, is_target = check_trials(scores, is_target)
    speakers, sides = np.unique(np.stack([enroll_speaker, test_speaker]), return_inverse=True)
    if sides.size != 2 * len(scores):
        raise ValueError(f"{sides.size // 2} pairs of speakers do not go with {len(scores)} scores")
    order = np.argsort(scores, kind="stable")
    enroll, test = (side[order].astype(np.int32) for side in sides.reshape(2, -1))
    size = len(speakers)
    test[enroll == test] = size
    ordered = scores[order]
    ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    trials = _Trials(enroll, test, is_target[order].astype(np.float64), ends)

    generator = generator_for(seed, "speakers")
    rates: list[float] = []
    first, last = 0, len(ends)
    window, weight_of_all, weight_before = trials, _PairSums(trials, size), _PairSums(trials.part(0, 0), size)
    while len(rates) < resamples:
        drawn = np.ones((_DRAWS, size + 1))
        drawn[:, :size] = generator.multinomial(size, np.full(size, 1 / size), _DRAWS)
        of_all, before = weight_of_all(drawn), weight_before(drawn)
        crossings = []
        for row in np.flatnonzero((of_all > 0).all(axis=0))[: resamples - len(rates)]:
            rate, crossing = _weighted_eer(window, drawn[row], of_all[:, row], before[:, row])
            if rate is None:
                rate, crossing = _weighted_eer(trials, drawn[row], of_all[:, row], np.zeros(2))
            rates.append(rate)
            crossings.append(crossing)
        if crossings and window is trials:
            low, high = min(crossings), max(crossings) + 1
            first, last = max(0, 2 * low - high), min(len(ends), 2 * high - low)
            window, weight_before = trials.part(first, last), _PairSums(trials.part(0, first), size)
    return np.array(rates)


class _Trials(NamedTuple):
    """Trials in rising order of their scores.

    Attributes:
        enroll, test: (N,) speakers of both sides. The test side of a trial within one speaker is the number after the
            last speaker, which counts as drawn once: the trial's weight is then a product like all others.
        target: (N,) 1.0 for target trials, 0.0 for others.
        ends: (K,) the last trial of each distinct score.
    """

    enroll: NDArray[np.int32]
    test: NDArray[np.int32]
    target: NDArray[np.float64]
    ends: NDArray[np.int64]

    def part(self, first: int, last: int) -> "_Trials":
        """The trials of the distinct scores number ``first`` to ``last``, the last excluded."""
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


def _weighted_eer(trials: _Trials, drawn: NDArray, totals: NDArray, before: NDArray) -> tuple[float | None, int]:
    """Equal error rate of weighted trials, interpolated as :func:`avsv.scoring.metrics.eer` does.

    Args:
        trials: where the crossing is expected; others have lower or higher scores.
        drawn: (S + 1,) how often each speaker was drawn, and 1.
        totals: weight of all target and of all non-target trials.
        before: weight of those with lower scores than ``trials``.

    Returns:
        The rate and at which of the scores P_miss reaches P_fa; no rate where it does so outside ``trials``.
    """
    weight = drawn[trials.enroll]
    weight *= drawn[trials.test]
    of_target, of_nontarget = 1 / totals
    excess = trials.target * (of_target - of_nontarget)
    excess += of_nontarget
    excess *= weight
    # P_miss - P_fa + 1 at every operating point; the two have met where it reaches 1.
    start = before[0] * of_target + before[1] * of_nontarget
    excess[:1] += start
    np.cumsum(excess, out=excess)
    if len(trials.ends) != len(excess):
        excess = excess[trials.ends]
    after = int(np.searchsorted(excess, 1 - _ROUNDING))
    if start >= 1 - _ROUNDING or after == len(excess):
        return None, 0
    begin, below = (0, start) if after == 0 else (trials.ends[after - 1] + 1, excess[after - 1])
    end = trials.ends[after] + 1
    missed_before = before[0] + weight[:begin] @ trials.target[:begin]
    missed_more = weight[begin:end] @ trials.target[begin:end]
    return (missed_before + (1 - below) / (excess[after] - below) * missed_more) * of_target, after
