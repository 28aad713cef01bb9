"""Metrics compared with the table of the specification, closed forms, brute force and scikit-learn; intervals compared
with literal resampling, and their coverage."""

import itertools
import time

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve

from avsv.scoring.bootstrap import paired_difference, resampled_eers, resampled_min_dcfs, speaker_bootstrap
from avsv.scoring.metrics import (
    actual_dcf,
    cllr,
    det_curve,
    eer,
    eer_rocch,
    eer_threshold,
    min_cllr,
    min_dcf,
    min_dcf_point,
)
from avsv.seeding import generator_for

# Specification K.3: targets, non-targets, interpolated EER, ROCCH EER, minDCF at P_target 0.01.
TABLE = [
    ([0.6, 0.7, 0.8, 0.5], [0.4, 0.3, 0.2, 0.1], 0, 0, 0),
    ([0.9, 0.8, 0.7, 0.35], [0.4, 0.3, 0.2, 0.1], 0.25, 0.125, 0.25),
    ([0.9, 0.6, 0.3], [0.8, 0.5, 0.4, 0.2, 0.1], 0.333333, 0.272727, 0.666667),
    ([3, 1], [2, 0, -1], 0.333333, 0.2, 0.5),
    ([0.9, 0.5, 0.5, 0.5], [0.5, 0.5, 0.2, 0.1], 0.3, 0.3, 0.75),
    ([0.5, 0.5], [0.5, 0.5, 0.5], 0.5, 0.5, 1),
    ([0.1, 0.2], [0.8, 0.9], 1, 0.5, 1),
]


def together(targets, nontargets):
    """Scores and labels of two classes."""
    return np.r_[targets, nontargets].astype(float), np.arange(len(targets) + len(nontargets)) < len(targets)


def brute_force_points(scores, is_target):
    """(P_miss, P_fa) by counting at every distinct score and below all scores."""
    thresholds = [-np.inf, *sorted(set(scores.tolist()))]
    targets, nontargets = scores[is_target], scores[~is_target]
    return [(np.mean(targets <= t), np.mean(nontargets > t)) for t in thresholds]


def brute_force_eer(scores, is_target):
    points = brute_force_points(scores, is_target)
    for (miss, fa), (next_miss, next_fa) in itertools.pairwise(points):
        if next_miss >= next_fa:
            share = (fa - miss) / ((fa - miss) + (next_miss - next_fa))
            return miss + share * (next_miss - miss)
    raise AssertionError("the curves do not cross")


def brute_force_rocch(scores, is_target):
    """The lowest intersection with the diagonal of the straight lines between any two operating points."""
    best = 1.0
    for (m1, f1), (m2, f2) in itertools.combinations(brute_force_points(scores, is_target), 2):
        first, second = f1 - m1, f2 - m2
        if first * second <= 0 and first != second:
            share = first / (first - second)
            best = min(best, m1 + share * (m2 - m1))
    return best


def random_trials(seed, ties):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(5, 60))
    is_target = rng.random(count) < 0.4
    is_target[:2] = True, False
    scores = rng.normal(size=count) + is_target
    return (np.round(scores, 1) if ties else scores), is_target


@pytest.mark.parametrize(("targets", "nontargets", "interpolated", "hull", "cost"), TABLE)
def test_table_in_any_order(targets, nontargets, interpolated, hull, cost):
    scores, is_target = together(targets, nontargets)
    rng = np.random.default_rng(0)
    orders = [np.arange(len(scores)), np.arange(len(scores))[::-1], *(rng.permutation(len(scores)) for _ in range(30))]
    for order in orders:
        assert eer(scores[order], is_target[order]) == pytest.approx(interpolated, abs=1e-6)
        assert eer_rocch(scores[order], is_target[order]) == pytest.approx(hull, abs=1e-6)
        assert min_dcf(scores[order], is_target[order]) == pytest.approx(cost, abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_against_brute_force(seed, ties):
    scores, is_target = random_trials(seed, ties)
    assert eer(scores, is_target) == pytest.approx(brute_force_eer(scores, is_target), abs=1e-12)
    assert eer_rocch(scores, is_target) == pytest.approx(brute_force_rocch(scores, is_target), abs=1e-12)
    for prior, miss, fa in ((0.01, 1, 1), (0.5, 1, 1), (0.05, 10, 1), (0.99, 1, 2)):
        costs = [miss * prior * m + fa * (1 - prior) * f for m, f in brute_force_points(scores, is_target)]
        expected = min(costs) / min(miss * prior, fa * (1 - prior))
        assert min_dcf(scores, is_target, prior, miss, fa) == pytest.approx(expected, abs=1e-12)
        assert min_dcf(scores, is_target, prior, miss, fa) <= 1


@pytest.mark.parametrize(("seed", "ties"), [(seed, ties) for seed in range(6) for ties in (False, True)])
def test_the_threshold_of_the_equal_error_rate_by_counting(seed, ties):
    scores, is_target = random_trials(seed, ties)
    gaps = {x: abs((scores[is_target] <= x).mean() - (scores[~is_target] > x).mean()) for x in sorted(set(scores))}
    assert eer_threshold(scores, is_target) == min(gaps, key=gaps.get)


@pytest.mark.parametrize("seed", range(10))
def test_operating_points_are_those_of_scikit_learn(seed):
    scores, is_target = random_trials(seed, ties=True)
    # scikit-learn accepts scores >= its threshold and goes from reject-all to accept-all: the same points, backwards.
    fpr, tpr, thresholds = roc_curve(is_target, scores, drop_intermediate=False)
    curve = det_curve(scores, is_target)
    np.testing.assert_allclose(curve.p_fa[::-1], fpr, atol=1e-12)
    np.testing.assert_allclose(1 - curve.p_miss[::-1], tpr, atol=1e-12)
    np.testing.assert_array_equal(curve.thresholds[:0:-1], thresholds[1:])
    assert (curve.p_miss[0], curve.p_fa[0], curve.p_miss[-1], curve.p_fa[-1]) == (0, 1, 1, 0)
    crossing = np.interp(0, curve.p_miss - curve.p_fa, curve.p_miss)
    assert eer(scores, is_target) == pytest.approx(crossing, abs=1e-12)


@pytest.mark.parametrize(("distance", "cost"), [(2, 0.951058), (4, 0.278481), (5.5, 0.044432)])
def test_closed_forms_of_gaussian_scores(distance, cost):
    quantiles = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    scores, is_target = together(quantiles + distance, quantiles)
    assert eer(scores, is_target) == pytest.approx(norm.cdf(-distance / 2), rel=1e-3)
    assert eer_rocch(scores, is_target) == pytest.approx(norm.cdf(-distance / 2), rel=1e-3)
    assert min_dcf(scores, is_target) == pytest.approx(cost, rel=1e-2)
    p_fa, p_miss = min_dcf_point(det_curve(scores, is_target))
    assert p_miss + 99 * p_fa == pytest.approx(cost, rel=1e-2)
    threshold = distance / 2 + np.log(99) / distance
    assert p_miss == pytest.approx(norm.cdf(threshold - distance), rel=0.05)
    # The exact log-likelihood ratio of these scores is perfectly calibrated.
    llr = distance * scores - distance**2 / 2
    assert actual_dcf(llr, is_target) == pytest.approx(cost, rel=1e-2)
    assert cllr(llr, is_target) == pytest.approx(min_cllr(scores, is_target), rel=2e-2)


@pytest.mark.parametrize("seed", range(5))
def test_invariances(seed):
    scores, is_target = random_trials(seed, ties=True)
    mapped = np.exp(scores / 3) * 7 - 2
    swapped = -scores, ~is_target
    for metric in (eer, eer_rocch, min_dcf, min_cllr):
        assert metric(mapped, is_target) == pytest.approx(metric(scores, is_target), abs=1e-12)
    for metric in (eer, eer_rocch, min_cllr):
        assert metric(*swapped) == pytest.approx(metric(scores, is_target), abs=1e-12)
    assert min_dcf(*swapped, p_target=0.99) == pytest.approx(min_dcf(scores, is_target, p_target=0.01), abs=1e-12)


def test_many_ties_give_one_value_in_any_order():
    scores, is_target = together([0.5] * 500 + [0.9] * 5, [0.5] * 500 + [0.1] * 5)
    first, last = np.argsort(is_target, kind="stable"), np.argsort(~is_target, kind="stable")
    values = {eer(scores[order], is_target[order]) for order in (first, last)}
    assert values == {50 / 101}
    assert min_dcf(scores, is_target, p_target=0.99) <= 1


@pytest.mark.parametrize("seed", range(10))
def test_weights_count_as_repetitions(seed):
    scores, is_target = random_trials(seed, ties=seed % 2 == 0)
    weights = np.random.default_rng(seed).integers(0, 4, len(scores))
    weights[:2] = 1, 2
    repeated = np.repeat(np.arange(len(scores)), weights)
    for metric in (eer, eer_rocch, min_dcf):
        expected = metric(scores[repeated], is_target[repeated])
        assert metric(scores, is_target, weights=weights) == pytest.approx(expected, abs=1e-12)


def test_cllr_against_its_definition_and_isotonic_regression():
    rng = np.random.default_rng(3)
    scores, is_target = together(rng.normal(1, 1, 300), rng.normal(-1, 1, 700))
    expected = (np.mean(np.log2(1 + np.exp(-scores[:300]))) + np.mean(np.log2(1 + np.exp(scores[300:])))) / 2
    assert cllr(scores, is_target) == pytest.approx(expected, abs=1e-12)
    assert cllr([-2.0, 2.0], [True, False]) > 1
    assert cllr(np.array([1e5, -1e5]), [True, False]) == 0
    posterior = IsotonicRegression().fit_transform(scores, is_target)
    with np.errstate(divide="ignore"):
        best = np.log(posterior) - np.log1p(-posterior) - np.log(300 / 700)
    assert min_cllr(scores, is_target) == pytest.approx(cllr(np.clip(best, -700, 700), is_target), abs=1e-9)
    assert min_cllr(scores, is_target) < cllr(2 * scores, is_target) < cllr(9 * scores, is_target)


@pytest.mark.parametrize("metric", [eer, eer_rocch, eer_threshold, min_dcf, det_curve, cllr, min_cllr, actual_dcf])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [True, True], "no non-target trial among the 2 trials"),
        ([0.1, 0.2], [False, False], "no target trial among the 2 trials"),
        ([], [], "no target trial"),
        ([0.1, np.nan, np.inf], [True, False, True], "2 of 3 scores are not finite"),
        ([0.1, 0.2], [True], "do not match labels"),
    ],
)
def test_what_cannot_be_evaluated(metric, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, labels)


def test_bad_weights_and_costs():
    with pytest.raises(ValueError, match="weights"):
        eer([1, 2], [True, False], weights=[1, -1])
    with pytest.raises(ValueError, match="all non-target trials have weight 0"):
        eer([1, 2], [True, False], weights=[1, 0])
    with pytest.raises(ValueError, match="prior"):
        min_dcf([1, 2], [True, False], p_target=1)


def literal_resamples(figure, scores, is_target, enroll, test, resamples, seed):
    """The definition of :func:`resampled_eers`: lists of repeated trials, evaluated one by one."""
    generator = generator_for(seed, "speakers")
    size = len(np.unique([enroll, test]))
    values = []
    while True:
        for drawn in generator.multinomial(size, np.full(size, 1 / size), 50):
            copies = np.where(enroll == test, drawn[enroll], drawn[enroll] * drawn[test])
            trials = np.repeat(np.arange(len(scores)), copies)
            if is_target[trials].any() and not is_target[trials].all():
                values.append(figure(scores[trials], is_target[trials]))
                if len(values) == resamples:
                    return np.array(values)


def wilson(rate, count, t):
    """The solutions of |q - rate| = t sqrt(q (1 - q) / count), found by bisection on both sides."""
    limits = []
    for end in (0.0, 1.0):
        inside, outside = rate, end
        for _ in range(60):
            middle = (inside + outside) / 2
            if abs(middle - rate) <= t * (middle * (1 - middle) / count) ** 0.5:
                inside = middle
            else:
                outside = middle
        limits.append(inside)
    return limits


RESAMPLED = [(3, 40, 1, 0.0), (8, 300, 9, 1.0), (8, 300, 1, 1.0), (30, 2000, 2, 1.0), (12, 900, 9, 4.0)]


@pytest.mark.parametrize(("speakers", "trials", "decimals", "distance"), RESAMPLED)
def test_resampling_speakers_equals_repeating_their_trials(speakers, trials, decimals, distance):
    rng = np.random.default_rng(trials)
    enroll = rng.integers(0, speakers, trials)
    test = np.where(rng.random(trials) < 0.4, enroll, rng.integers(0, speakers, trials))
    enroll[:speakers], test[:speakers] = np.arange(speakers), np.arange(speakers)
    enroll[-1], test[-1] = 0, 1
    is_target = enroll == test
    scores = np.round(rng.normal(size=trials) + distance * is_target, decimals)
    order = rng.permutation(trials)
    names = np.array([f"id{n:03d}" for n in range(speakers)])
    shuffled = scores[order], is_target[order], names[enroll[order]], names[test[order]]
    for figure, resampled in ((eer, resampled_eers), (min_dcf, resampled_min_dcfs)):
        expected = literal_resamples(figure, scores, is_target, enroll, test, 130, seed=5)
        np.testing.assert_allclose(resampled(scores, is_target, enroll, test, 130, seed=5), expected, atol=1e-8)
        np.testing.assert_allclose(resampled(*shuffled, 130, seed=5), expected, atol=1e-8)
        assert not np.allclose(resampled(*shuffled, 130, seed=6), expected)


def test_interval_is_wilsons_for_as_many_trials_as_the_draws_show():
    rng = np.random.default_rng(1)
    trials = simulated_trials(rng, 30, 8, 40, 1.2)
    rate = eer(*trials[:2])
    count = rate * (1 - rate) / (literal_resamples(eer, *trials, 130, seed=5).var() * 30 / 29)
    assert rate * count > 8
    expected = wilson(rate, count, student_t(29).ppf(0.975))
    assert speaker_bootstrap(*trials, 130, seed=5) == pytest.approx(expected, abs=1e-9)
    # Maps that preserve the order of the scores do not change the result.
    assert speaker_bootstrap(np.exp(trials[0]), *trials[1:], 130, seed=5) == pytest.approx(expected, abs=1e-9)


def test_where_errors_are_few_the_spread_is_that_of_a_harder_list():
    trials = simulated_trials(np.random.default_rng(2), 24, 8, 40, 0.24)
    scores, is_target, *speakers = trials
    rate = eer(scores, is_target)
    assert 0 <= rate < 0.01
    interval = speaker_bootstrap(*trials, 200, seed=5)
    counts = []
    for level in (0.01, 0.02, 0.04, 0.08, 0.16):
        shift = np.quantile(scores[is_target], level) - np.quantile(scores[~is_target], 1 - level)
        harder = scores - shift * is_target
        variance = resampled_eers(harder, is_target, *speakers, 200, seed=5).var() * 24 / 23
        counts.append(eer(harder, is_target) * (1 - eer(harder, is_target)) / variance)
    t = student_t(23).ppf(0.975)
    assert wilson(rate, 1.1 * max(counts), t)[1] <= interval.high <= wilson(rate, 0.9 * min(counts), t)[1]
    assert interval.low <= rate


def simulated_trials(rng, speakers, embeddings_each, pairs, spread):
    """Cosine scores of simulated speakers whose recordings vary, some more than others."""
    means = rng.normal(size=(speakers, 1, 16))
    spreads = spread * np.exp(0.3 * rng.normal(size=(speakers, 1, 1)))
    vectors = means + spreads * rng.normal(size=(speakers, embeddings_each, 16))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    enroll = np.repeat(np.arange(speakers), pairs)
    sessions = rng.integers(0, embeddings_each, (2, 2, len(enroll)))
    sessions[0, 1] = (sessions[0, 0] + rng.integers(1, embeddings_each, len(enroll))) % embeddings_each
    other = (enroll + rng.integers(1, speakers, len(enroll))) % speakers
    scores = [
        np.einsum("nd,nd->n", vectors[enroll, first], vectors[test, second])
        for test, (first, second) in zip((enroll, other), sessions, strict=True)
    ]
    is_target = np.arange(2 * len(enroll)) < len(enroll)
    return np.concatenate(scores), is_target, np.tile(enroll, 2), np.r_[enroll, other]


def coverage(spread, simulations, speakers=30, naively=False):
    """Share of simulated lists whose interval contains the true rate, which is known from very many speakers."""
    true = np.mean([eer(*simulated_trials(np.random.default_rng([9, n]), 5_000, 8, 40, spread)[:2]) for n in range(6)])
    covered = 0
    for seed in range(simulations):
        scores, is_target, *sides = simulated_trials(np.random.default_rng(seed), speakers, 8, 40, spread)
        if naively:
            # Each trial has its own speaker: the trials are drawn as if they were independent.
            sides = [np.arange(len(scores))] * 2
        low, high = speaker_bootstrap(scores, is_target, *sides, resamples=100, seed=seed)
        covered += low <= true <= high
    return covered / simulations


@pytest.mark.parametrize("spread", [1.2, 0.4, 0.33])  # equal error rates of about 21, 2 and 1 percent
def test_intervals_cover_the_true_rate_and_trial_level_ones_do_not(spread):
    # The standard error of a coverage of 95 % over 80 simulations is 2.4 %.
    assert coverage(spread, 80) >= 0.89
    assert coverage(spread, 30, naively=True) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [24, 40])
@pytest.mark.parametrize("spread", [1.2, 0.55, 0.4, 0.33])  # 21, 5, 2 and 1 percent
def test_intervals_cover_the_true_rate_in_300_simulations(spread, speakers):
    assert 0.92 <= coverage(spread, 300, speakers) <= 0.985
    assert coverage(spread, 300, speakers, naively=True) < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.28, 0.24])  # 0.5 and 0.3 percent, where most lists have hardly an error
def test_intervals_of_hardly_any_errors_are_not_too_narrow(spread):
    assert coverage(spread, 300, 24) >= 0.92


def test_interval_without_errors_is_not_empty():
    scores, is_target = together([3, 4, 5, 6], [0, 1, 2, 1, 1, 0])
    interval = speaker_bootstrap(scores, is_target, list("abcdabcabc"), list("abcdbcdcda"))
    # Wilson's for four trials.
    assert interval == (0, pytest.approx(1 / (1 + 4 / student_t(3).ppf(0.975) ** 2)))
    with pytest.raises(ValueError, match="1 resamples have no spread"):
        speaker_bootstrap(scores, is_target, list("abcdabcabc"), list("abcdbcdcda"), resamples=1)


def test_interval_of_mismatched_speakers_is_refused():
    with pytest.raises(ValueError, match="1 pairs of speakers do not match 2 scores"):
        speaker_bootstrap([1, 2], [True, False], ["a"], ["b"])


def simulated_pair(rng, speakers, each, pairs, spreads):
    """Scores of two systems on the same trials, which partly share the noise of recordings and the hard speakers."""
    means = rng.normal(size=(speakers, 1, 16))
    hardness = np.exp(0.3 * rng.normal(size=(speakers, 1, 1)))
    shared = rng.normal(size=(speakers, each, 16))
    enroll = np.repeat(np.arange(speakers), pairs)
    other = (enroll + rng.integers(1, speakers, len(enroll))) % speakers
    sessions = rng.integers(0, each, (2, 2, len(enroll)))
    sessions[0, 1] = (sessions[0, 0] + rng.integers(1, each, len(enroll))) % each
    systems = []
    for spread in spreads:
        noise = 0.8 * shared + 0.6 * rng.normal(size=shared.shape)
        vectors = means + spread * hardness * np.exp(0.2 * rng.normal(size=hardness.shape)) * noise
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        systems.append(
            np.concatenate(
                [
                    np.einsum("nd,nd->n", vectors[enroll, first], vectors[test, second])
                    for test, (first, second) in zip((enroll, other), sessions, strict=True)
                ]
            )
        )
    return *systems, np.arange(2 * len(enroll)) < len(enroll), np.tile(enroll, 2), np.r_[enroll, other]


@pytest.mark.parametrize("metric", ["eer", "min_dcf"])
def test_paired_differences(metric):
    a, b, *trials = simulated_pair(np.random.default_rng(0), 20, 6, 30, (0.6, 0.9))
    figure = {"eer": eer, "min_dcf": min_dcf}[metric]
    result = paired_difference(a, b, *trials, metric, 200, seed=3)
    assert result.difference == figure(a, trials[0]) - figure(b, trials[0])
    draws = literal_resamples(figure, a, *trials, 200, seed=3) - literal_resamples(figure, b, *trials, 200, seed=3)
    spread = draws.std() * (20 / 19) ** 0.5
    reach = student_t(19).ppf(0.975) * spread
    assert result.low == pytest.approx(result.difference - reach, abs=1e-8)
    assert result.high == pytest.approx(result.difference + reach, abs=1e-8)
    assert result.p == pytest.approx(2 * student_t(19).sf(abs(result.difference) / spread), abs=1e-6)
    assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
    swapped = paired_difference(b, a, *trials, metric, 200, seed=3)
    assert swapped == pytest.approx((-result.difference, -result.high, -result.low, result.p))
    # Systems that order the trials in the same way do not differ at all.
    assert paired_difference(a, np.exp(a), *trials, metric, 50) == (0, 0, 0, 1)


def test_wrong_comparisons_are_refused():
    trials = [True, False], ["a", "a"], ["a", "b"]
    with pytest.raises(ValueError, match="metric 'cllr' is not one of eer min_dcf"):
        paired_difference([1, 2], [1, 2], *trials, "cllr")
    with pytest.raises(ValueError, match="1 resamples have no spread"):
        paired_difference([1, 2], [1, 2], *trials, resamples=1)
    with pytest.raises(ValueError, match="do not match labels"):
        paired_difference([1, 2], [1, 2, 3], *trials)


def differences(spreads, simulations, metric="eer"):
    """Shares of simulated pairs of systems whose interval has the true difference, and whose p-value is below 5 %."""
    figure = {"eer": eer, "min_dcf": min_dcf}[metric]
    true = 0.0
    if spreads[0] != spreads[1]:
        large = [simulated_pair(np.random.default_rng([9, n]), 5_000, 8, 40, spreads)[:3] for n in range(4)]
        true = np.mean([figure(a, is_target) - figure(b, is_target) for a, b, is_target in large])
    covered = significant = 0
    for seed in range(simulations):
        trials = simulated_pair(np.random.default_rng(seed), 30, 8, 40, spreads)
        result = paired_difference(*trials, metric, resamples=100, seed=seed)
        covered += result.low <= true <= result.high
        significant += result.p < 0.05
    return covered / simulations, significant / simulations


def test_intervals_of_differences_cover_the_true_one():
    covered, significant = differences((0.8, 1.0), 60)
    assert covered >= 0.89
    assert significant > 0.5
    covered, significant = differences((0.6, 0.6), 60)
    assert covered >= 0.89
    assert significant == pytest.approx(1 - covered)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["eer", "min_dcf"])
@pytest.mark.parametrize("spreads", [(0.8, 1.0), (0.6, 0.6), (0.4, 0.5), (0.4, 0.4)])
def test_intervals_of_differences_cover_the_true_one_in_300_simulations(spreads, metric):
    covered, significant = differences(spreads, 300, metric)
    assert 0.9 <= covered <= 0.99
    if spreads[0] == spreads[1]:
        assert 0.01 <= significant <= 0.09


def test_a_million_trials_are_resampled_in_bounded_time():
    rng = np.random.default_rng(0)
    count = 1_000_000
    enroll = rng.integers(0, 1_251, count)
    test = np.where(np.arange(count) < count // 2, enroll, (enroll + rng.integers(1, 1_251, count)) % 1_251)
    scores = rng.normal(size=count) + 4 * (enroll == test)
    start = time.process_time()
    first = resampled_eers(scores, enroll == test, enroll, test, 60)
    # Draws after the first 50 visit only where the curves cross.
    assert 0.02 < first.mean() < 0.025
    assert time.process_time() - start < 20
