"""How often intervals of systems trained with several seeds hold the truth, and equal systems are told apart.

Draws worlds whose true equal error rates are known in closed form: speakers who are easy or hard to recognize and to
confuse, for all systems or for one, seeds that make a training better or worse, seeds that make it fail with other
speakers, and noise of every trial. In each, two systems are compared with their intervals from few seeds and few
speakers, and five equal systems with the first of them. Prints for every kind of world and number of seeds:

- the share of runs in which the interval of system a, and that of the difference of a and b, holds the truth. It is
  to be 92 to 98 %, the interval being of 95 % (300 runs show 95 % as 92.5 to 97.5 %);
- the share of runs in which a 95 % interval from resampled speakers and seeds alone holds the difference (percentile
  bootstrap): with few seeds it is too narrow;
- the share of families of five equal systems in which at least one is called better or worse than the first, after
  Holm's correction at 5 %.

Usage: python benchmarks/interval_coverage.py [--runs 300] [--seeds 3 5] [--resamples 200] [--num-threads 2]
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from avsv.scoring.bootstrap import resampled_eers
from avsv.scoring.metrics import eer
from avsv.scoring.seeds import holm, seeds_difference, seeds_interval
from avsv.seeding import generator_for

SPEAKERS, UTTERANCES, NONTARGETS = 40, 4, 2400
SEPARATION = 2.6  # of target and non-target scores, in units of about their spread


class World(NamedTuple):
    """Standard deviations of what scores are made of.

    Attributes:
        name: of the kind of world.
        speaker: of a speaker's ease, the same for all systems and seeds.
        of_system: of a speaker's ease for one system.
        of_training: of a speaker's ease for one training.
        seed: of the separation that a seed gives to a training.
        noise: of a trial, half of its variance the same for all trainings.
    """

    name: str
    speaker: float
    of_system: float
    of_training: float
    seed: float
    noise: float


WORLDS = (
    World("speakers", 0.6, 0.3, 0.1, 0.05, 0.7),
    World("seeds", 0.3, 0.1, 0.1, 0.5, 0.9),
    World("both", 0.5, 0.25, 0.2, 0.2, 0.8),
    World("seeds fail with other speakers", 0.4, 0.1, 0.5, 0.1, 0.7),
)
SHIFT = 0.4  # by which b separates better


def true_eer(world: World, separation: float) -> float:
    """The mean equal error rate over all speakers and seeds.

    Target scores are N(separation + seed, s^2), non-target scores N(0, s'^2): the rate of one training is
    Phi(-(separation + seed) / (s + s')), whose mean over the seeds is again a value of Phi.
    """
    of_speaker = world.speaker**2 + world.of_system**2 + world.of_training**2
    widths = np.sqrt(of_speaker + world.noise**2) + np.sqrt(2 * of_speaker + world.noise**2)
    return float(norm.cdf(-separation / np.hypot(widths, world.seed)))


class Trials(NamedTuple):
    """Trials of a test: labels and speakers (N,)."""

    is_target: NDArray
    enroll: NDArray
    test: NDArray


def draw_trials(rng: np.random.Generator) -> Trials:
    """All pairs of each speaker's utterances, and pairs of different speakers."""
    targets = np.repeat(np.arange(SPEAKERS), UTTERANCES * (UTTERANCES - 1) // 2)
    one = rng.integers(SPEAKERS, size=NONTARGETS)
    other = (one + rng.integers(1, SPEAKERS, size=NONTARGETS)) % SPEAKERS
    is_target = np.r_[np.ones(len(targets), bool), np.zeros(NONTARGETS, bool)]
    return Trials(is_target, np.r_[targets, one], np.r_[targets, other])


def draw_scores(world: World, separations: list[float], seeds: int, trials: Trials, rng) -> NDArray:
    """Scores (systems, seeds, N) of all trainings."""
    systems, size = len(separations), len(trials.is_target)
    shared = rng.normal(0, world.speaker, (1, 1, 2, SPEAKERS))
    own = rng.normal(0, world.of_system, (systems, 1, 2, SPEAKERS))
    ease = shared + own + rng.normal(0, world.of_training, (systems, seeds, 2, SPEAKERS))
    noise = rng.normal(0, world.noise * np.sqrt(0.5), (1, 1, size))
    noise = noise + rng.normal(0, world.noise * np.sqrt(0.5), (systems, seeds, size))
    separation = np.array(separations)[:, None, None] + rng.normal(0, world.seed, (systems, seeds, 1))
    of_target = separation + ease[:, :, 0, trials.enroll]
    of_nontarget = ease[:, :, 1, trials.enroll] + ease[:, :, 1, trials.test]
    return np.where(trials.is_target, of_target, of_nontarget) + noise


class Outcome(NamedTuple):
    """What came out of one run: whether intervals hold, and whether equals were told apart."""

    one: bool
    difference: bool
    plain: bool
    false_better: bool


def run_once(world: World, seeds: int, resamples: int, number: int) -> Outcome:
    """Draw a world, test its systems, and see which intervals hold."""
    rng = generator_for(number, world.name, seeds)
    trials = draw_trials(rng)
    separations = [SEPARATION] * 5 + [SEPARATION + SHIFT]
    scores = draw_scores(world, separations, seeds, trials, rng)
    rates = np.array([[eer(one, trials.is_target) for one in system] for system in scores])
    draws = np.array([[resampled_eers(one, *trials, resamples, number) for one in system] for system in scores])
    truths = [true_eer(world, separation) for separation in (SEPARATION, SEPARATION + SHIFT)]

    interval = seeds_interval(scores[0], *trials, draws[0])
    found = seeds_difference(rates[0], rates[5], draws[0], draws[5], SPEAKERS)
    truth = truths[0] - truths[1]
    chosen = rng.integers(seeds, size=(resamples, seeds))
    resampled = (draws[0] - draws[5])[chosen, np.arange(resamples)[:, None]].mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    p_values = [seeds_difference(rates[0], rates[n], draws[0], draws[n], SPEAKERS).p for n in range(1, 5)]
    return Outcome(
        bool(interval.low <= truths[0] <= interval.high),
        bool(found.low <= truth <= found.high),
        bool(low <= truth <= high),
        bool((holm(p_values) < 0.05).any()),
    )


def main() -> None:
    """Simulate; print one line per kind of world and number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--num-threads", type=int, default=2)
    args = parser.parse_args()

    print(f"{'world':<32} seeds  one system  difference  plain bootstrap  false better  (% of {args.runs} runs)")
    with ProcessPoolExecutor(args.num_threads) as pool:
        for seeds in args.seeds:
            for world in WORLDS:
                outcomes = list(
                    pool.map(partial(run_once, world, seeds, args.resamples), range(args.runs), chunksize=4)
                )
                one, difference, plain, false = 100 * np.mean(outcomes, axis=0)
                print(
                    f"{world.name:<32} {seeds:>5} {one:>11.1f} {difference:>11.1f} {plain:>16.1f} {false:>13.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
