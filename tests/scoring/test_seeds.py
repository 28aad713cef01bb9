"""Intervals over speakers and seeds against closed forms, brute force and the bootstrap of one training."""

import sys
from itertools import combinations

import interval_coverage as simulation
import numpy as np
import pytest
from commands import run
from scipy import stats

from avsv.scoring.bootstrap import difference_of_draws, resampled_eers, speaker_bootstrap
from avsv.scoring.metrics import eer
from avsv.scoring.seeds import TwoWay, holm, seeds_difference, seeds_interval, two_way

SPEAKERS = 12


def a_list(separations=(2.0, 2.0, 2.0), seed=0):
    """Scores of trainings on one list of trials, and its labels and speakers."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(SPEAKERS) for b in range(a, SPEAKERS) for _ in range(4)]
    enroll, test = np.array(pairs).T
    is_target, ease = enroll == test, rng.normal(0, 0.5, SPEAKERS)
    scores = [x * is_target + ease[enroll] + rng.normal(size=len(pairs)) for x in separations]
    return scores, (is_target, enroll, test)


def drawn(scores, trials):
    return np.array([resampled_eers(values, *trials, 60, 1) for values in scores])


def test_variances_equal_their_definitions():
    rng = np.random.default_rng(1)
    rates, draws = rng.uniform(0.1, 0.2, 4), rng.uniform(0.1, 0.2, (4, 9))
    found = two_way(rates, draws, 7)
    of_draws = [np.mean([draws[k][r] for k in range(4)]) for r in range(9)]
    interaction = 0.0
    for k in range(4):
        interaction += 7 / 6 * np.var([draws[k][r] - of_draws[r] for r in range(9)]) / 3
    assert found.of_seeds == pytest.approx(np.var(rates, ddof=1) / 4)
    assert found.of_speakers == pytest.approx(7 / 6 * np.var(of_draws) - interaction / 4)
    # What is bad for one training and as good for the other does nothing to both.
    assert two_way([0.1, 0.2], [[0.1, 0.3], [0.3, 0.1]], 7).of_speakers == 0
    alike = draws + np.linspace(0, 1, 9)
    of_alike = np.mean(alike, axis=0)
    assert two_way(rates, alike, 7).of_speakers == pytest.approx(7 / 6 * np.var(of_alike) - interaction / 4)


def test_the_parts_are_found_again():
    """Of many worlds with known variances of speakers, seeds and both, the estimates are right on average."""
    rng = np.random.default_rng(2)
    estimates = []
    for _ in range(400):
        means = rng.normal(0, 2.0, 3)
        cells = means[:, None] + rng.normal(0, 3.0, (3, 40)) + rng.normal(0, 4.0, 40)
        # Means over 40 speakers, drawn anew.
        chosen = rng.integers(40, size=(50, 40))
        estimates.append(two_way(cells.mean(axis=1), cells[:, chosen].mean(axis=2), 40)[:2])
    of_speakers, of_seeds = np.mean(estimates, axis=0)
    assert of_speakers == pytest.approx(4.0**2 / 40, rel=0.1)
    assert of_seeds == pytest.approx((2.0**2 + 3.0**2 / 40) / 3, rel=0.15)


def test_reach_and_p_value():
    variance = two_way([0.1, 0.3, 0.2], np.random.default_rng(0).uniform(0.1, 0.3, (3, 30)), 12)
    quantiles = stats.t.ppf(0.975, 11), stats.t.ppf(0.975, 2)
    expected = quantiles[0] ** 2 * variance.of_speakers + quantiles[1] ** 2 * variance.of_seeds
    assert variance.squared_reach(0.95) == pytest.approx(expected)
    for p in (0.9, 0.05, 0.001, 1e-6):
        at_the_limit = variance.squared_reach(1 - p) ** 0.5
        assert variance.p_value(at_the_limit) == variance.p_value(-at_the_limit) == pytest.approx(p, rel=1e-5)
    assert variance.p_value(0.0) == 1.0
    assert variance._replace(of_speakers=0.0, of_seeds=0.0).p_value(0.1) == 0.0


def test_trainings_that_are_all_the_same_vary_as_one():
    scores, trials = a_list((2.0,))
    other, _ = a_list((1.5,), seed=3)
    three, others = [scores[0]] * 3, [other[0]] * 3
    draws, draws_of_others = drawn(three, trials), drawn(others, trials)
    assert seeds_interval(three, *trials, draws) == pytest.approx(
        speaker_bootstrap(scores[0], *trials, 60, 1, draws=draws[0])
    )
    rates = [[eer(values, trials[0]) for values in system] for system in (three, others)]
    found = seeds_difference(*rates, draws, draws_of_others, SPEAKERS)
    expected = difference_of_draws(rates[0][0] - rates[1][0], draws[0] - draws_of_others[0], SPEAKERS)
    assert found == pytest.approx(expected, rel=1e-4)


def test_seeds_that_differ_more_widen_the_interval():
    widths = []
    for separations in ((2.0, 2.0, 2.0), (1.8, 2.0, 2.2), (1.0, 2.0, 3.0)):
        scores, trials = a_list(separations)
        low, high = seeds_interval(scores, *trials, drawn(scores, trials))
        rate = np.mean([eer(values, trials[0]) for values in scores])
        assert low < rate < high
        widths.append(high - low)
    assert widths[0] < widths[1] < widths[2]


def test_trainings_without_an_error_are_not_certain():
    scores, trials = a_list((40.0, 40.0, 40.0))
    low, high = seeds_interval(scores, *trials, drawn(scores, trials))
    assert low == 0
    assert 0.005 < high < 0.5


def test_one_training_has_no_spread():
    with pytest.raises(ValueError, match="at least two trainings"):
        two_way([0.1], [[0.1, 0.2]], 5)


def test_holm_equals_the_closed_test():
    """The adjusted p-value of a hypothesis is the largest Bonferroni p-value of all families that contain it."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        p_values = rng.uniform(size=5) ** 3
        expected = [
            max(
                min(1.0, size * min(p_values[list(family)]))
                for size in range(1, 6)
                for family in combinations(range(5), size)
                if n in family
            )
            for n in range(5)
        ]
        assert holm(p_values) == pytest.approx(expected)
    assert holm([]).tolist() == []


@pytest.mark.parametrize("world", simulation.WORLDS, ids=lambda world: world.name)
def test_the_truth_of_the_simulation_is_its_limit(world, monkeypatch):
    monkeypatch.setattr(simulation, "SPEAKERS", 1500)
    monkeypatch.setattr(simulation, "NONTARGETS", 40_000)
    rng = np.random.default_rng(5)
    trials = simulation.draw_trials(rng)
    rates = [
        eer(values, trials.is_target)
        for values in simulation.draw_scores(world, [simulation.SEPARATION], 40, trials, rng)[0]
    ]
    # The seeds of 40 trainings leave an error of the mean.
    allowed = 4 * np.std(rates) / np.sqrt(40) + 0.003
    assert np.mean(rates) == pytest.approx(simulation.true_eer(world, simulation.SEPARATION), abs=allowed)


def test_the_simulation_runs():
    words = ["--runs", 4, "--seeds", 3, "--resamples", 20, "--num-threads", 1]
    result = run(sys.executable, "benchmarks/interval_coverage.py", *words)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()[1:]
    assert len(lines) == len(simulation.WORLDS)
    for line in lines:
        assert all(0 <= float(share) <= 100 for share in line.split()[-4:])


@pytest.mark.parametrize("difference", [0.6, 1.0, 2.0])
def test_times_as_many_seeds_find_a_difference_with_the_wanted_power(difference):
    # Where all speakers are known, the interval is that of the paired t-test: its power follows a noncentral t.
    seeds, error = 3, 1.0
    n = seeds * TwoWay(0.0, error**2, 40, seeds).times_needed(difference)
    shift = difference / (error * seeds**0.5) * n**0.5
    power = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift)
    assert power == pytest.approx(0.8, abs=0.05)
