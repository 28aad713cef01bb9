"""Uncertainty of error rates, and of their differences, of systems that were trained several times.

A system is trained with K seeds, and all trainings are tested on one list of trials. Its figure is the mean of their
equal error rates. It varies for two reasons: other speakers could have been tested, and other seeds drawn.

- w, the variance of the K rates divided by K, is the variance due to seeds. It includes the effects of other speakers
  that differ between trainings. It has K - 1 degrees of freedom.
- v is the variance due to the effects of other speakers that all trainings share. All are evaluated on the same draws
  of speakers (:func:`avsv.scoring.bootstrap.resampled_eers`). The variance of their mean over the draws is v plus the
  part of w due to speakers; that part is estimated from the spread of the single trainings' draws around the mean, and
  subtracted. v has S - 1 degrees of freedom for S speakers.

The half width of an interval is the root of t^2(S - 1) v + t^2(K - 1) w, with Student's t (Howe 1974). A single t with
the degrees of freedom of Satterthwaite and Welch gives intervals that are too narrow: with three seeds w is often near
0 by chance, and this value is trusted. ``benchmarks/interval_coverage.py`` measures how often intervals contain the
true value.

The interval of one system is Wilson's, as in :mod:`avsv.scoring.bootstrap`. For a difference of two systems, equal
seeds form pairs, so that the variance of what they share, such as a network that both start from, cancels out.

Sources: Owen 2007, "The pigeonhole bootstrap" (two factors); Howe 1974, "Approximate confidence limits on the mean of
X + Y where X and Y are two tabled independent random variables"; Holm 1979, "A simple sequentially rejective multiple
test procedure".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.scoring.bootstrap import FEW_ERRORS, Difference, Interval, independent_trials, wilson_interval
from avsv.scoring.metrics import eer

Array = NDArray[np.float64]


class TwoWay(NamedTuple):
    """Variance of a mean over K trainings on a list of S speakers.

    Attributes:
        of_speakers: v of the module's text.
        of_seeds: w.
        speakers: S.
        seeds: K.
    """

    of_speakers: float
    of_seeds: float
    speakers: int
    seeds: int

    def squared_reach(self, confidence: float) -> float:
        """The square of the half width of an interval with this coverage probability."""
        from scipy.special import stdtrit

        t_speakers, t_seeds = (stdtrit(n - 1, (1 + confidence) / 2) for n in (self.speakers, self.seeds))
        return float(t_speakers**2 * self.of_speakers + t_seeds**2 * self.of_seeds)

    def p_value(self, difference: float) -> float:
        """One minus the largest confidence at which the interval around a difference excludes 0; 0 below 1e-15."""
        from scipy.optimize import brentq

        if difference == 0:
            return 1.0
        if self.of_speakers + self.of_seeds == 0:
            return 0.0
        # The logarithm, because the root can be near 1e-12 as well as near 0.5.
        low, high = np.log(1e-15), -1e-12

        def excess(log_p: float) -> float:
            return self.squared_reach(-np.expm1(log_p)) - difference**2

        if excess(low) < 0:
            return 0.0
        return 1.0 if excess(high) >= 0 else float(np.exp(brentq(excess, low, high)))

    def times_needed(self, difference: float, power: float = 0.8) -> float | None:
        """How many times as many speakers and seeds would show a difference of this size; None above 1000 times.

        With both numbers multiplied by this factor, the 95 % interval excludes 0 with a probability of ``power``.

        Example (many speakers: the square of 1.96 + 0.84; three seeds: less, because t falls with their number):
            >>> [round(variance.times_needed(1.0), 2) for variance in (TwoWay(1.0, 0, 4000, 3), TwoWay(0, 1.0, 40, 3))]
            [7.85, 8.43]
        """
        from scipy.optimize import brentq
        from scipy.special import ndtri, stdtrit

        def lacking(log_times: float) -> float:
            times = float(np.exp(log_times))
            variances = np.array([self.of_speakers, self.of_seeds]) / times
            quantiles = stdtrit(times * np.array([self.speakers, self.seeds]) - 1, 0.975)
            reach = (quantiles**2 @ variances) ** 0.5
            return float(reach + ndtri(power) * variances.sum() ** 0.5 - abs(difference))

        # At least two seeds.
        low, high = np.log(2 / self.seeds), np.log(1000)
        if lacking(high) > 0:
            return None
        return float(np.exp(low if lacking(low) <= 0 else brentq(lacking, low, high)))


def two_way(rates: ArrayLike, draws: ArrayLike, speakers: int) -> TwoWay:
    """The variance of the mean of K figures, each of one training; see the module's text.

    Args:
        rates: (K,) equal error rates, or differences of two systems' rates for each seed.
        draws: (K, R) the same over drawn speakers, each draw of the same speakers in all rows.
        speakers: number of speakers S.

    Raises:
        ValueError: fewer than two trainings, or shapes that do not fit.

    Example (all trainings do equally well, and react equally to other speakers):
        >>> variance = two_way([0.1, 0.1, 0.1], [[0.08, 0.12]] * 3, 5)
        >>> round(variance.of_speakers, 6), round(variance.of_seeds, 6)
        (0.0005, 0.0)
    """
    rates, draws = np.asarray(rates, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    seeds = len(rates)
    if seeds < 2 or draws.ndim != 2 or len(draws) != seeds:
        raise ValueError(f"rates {rates.shape} and draws {draws.shape}: at least two trainings with draws of each")
    correction = speakers / (speakers - 1)
    apart = draws - draws.mean(axis=0)
    interaction = correction * float(apart.var(axis=1).sum()) / (seeds - 1) / seeds
    of_mean = correction * float(draws.mean(axis=0).var())
    return TwoWay(max(of_mean - interaction, 0.0), float(rates.var(ddof=1)) / seeds, speakers, seeds)


def seeds_interval(
    scores: Sequence[ArrayLike],
    is_target: ArrayLike,
    enroll_speaker: ArrayLike,
    test_speaker: ArrayLike,
    draws: ArrayLike,
    confidence: float = 0.95,
) -> Interval:
    """The interval of the mean equal error rate of a system's trainings.

    Args:
        scores: K times (N,) scores, one per training, of the same trials.
        is_target, enroll_speaker, test_speaker: (N,) as for :func:`avsv.scoring.bootstrap.speaker_bootstrap`.
        draws: (K, R) of :func:`avsv.scoring.bootstrap.resampled_eers` for each training, from equal seeds of draws.
        confidence: wanted probability that the interval contains the true value.

    Raises:
        ValueError: as :func:`two_way`, and as :func:`avsv.scoring.metrics.eer`.
    """
    draws = np.asarray(draws, dtype=np.float64)
    rates = np.array([eer(values, is_target) for values in scores])
    variance = two_way(rates, draws, len(np.union1d(enroll_speaker, test_speaker)))
    rate = float(rates.mean())
    spread = rate * (1 - rate)
    count = spread / variance.of_speakers if variance.of_speakers > 0 else np.inf
    if not FEW_ERRORS <= rate * count < np.inf:
        trials = is_target, enroll_speaker, test_speaker
        alone = [
            independent_trials(values, *trials, draws.shape[1], draws=own)
            for values, own in zip(scores, draws, strict=True)
        ]
        count = min(count, *alone)
    # The number of independent trials with the same variance from both.
    of_seeds = variance.of_seeds / spread if spread > 0 else 0.0
    return wilson_interval(rate, variance._replace(of_speakers=1 / count, of_seeds=of_seeds).squared_reach(confidence))


def seeds_difference(
    rates_a: ArrayLike,
    rates_b: ArrayLike,
    draws_a: ArrayLike,
    draws_b: ArrayLike,
    speakers: int,
    confidence: float = 0.95,
) -> Difference:
    """How much the mean figure of system A exceeds that of system B, over the same seeds and trials.

    Args:
        rates_a, rates_b: (K,) figures of both systems, seed by seed.
        draws_a, draws_b: (K, R) the same over drawn speakers.
        speakers: number of speakers S.
        confidence: wanted probability that the interval contains the true value.

    Raises:
        ValueError: as :func:`two_way`.

    Example:
        >>> draws = np.array([[0.10, 0.14, 0.12], [0.11, 0.13, 0.12], [0.12, 0.14, 0.10]])
        >>> found = seeds_difference([0.12, 0.12, 0.12], [0.10, 0.11, 0.09], draws, draws - 0.02, 40)
        >>> [round(value, 4) for value in found]
        [0.02, -0.0048, 0.0448, 0.0742]
    """
    rates = np.asarray(rates_a, dtype=np.float64) - np.asarray(rates_b, dtype=np.float64)
    draws = np.asarray(draws_a, dtype=np.float64) - np.asarray(draws_b, dtype=np.float64)
    variance = two_way(rates, draws, speakers)
    difference, reach = float(rates.mean()), variance.squared_reach(confidence) ** 0.5
    return Difference(difference, difference - reach, difference + reach, variance.p_value(difference))


def holm(p_values: ArrayLike) -> Array:
    """Correct p-values (M,) for a family of M: in at most 5 % of families, any without an effect is below 0.05.

    Source: Holm 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
