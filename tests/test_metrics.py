"""Metrics against the specification's table, closed forms, brute force and scikit-learn; intervals against literal
resampling and their coverage."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve

from avsv.scoring.bootstrap import resampled_eers, speaker_bootstrap
from avsv.scoring.metrics import (
    actual_dcf,
    cllr,
    det_curve,
    eer,
    eer_rocch,
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
    """(P_miss, P_fa) by counting at every distinct score and below all."""
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
    """The lowest crossing of the diagonal among the straight lines between any two operating points."""
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


@pytest.mark.parametrize("metric", [eer, eer_rocch, min_dcf, det_curve, cllr, min_cllr, actual_dcf])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [True, True], "no non-target trial among the 2 trials"),
        ([0.1, 0.2], [False, False], "no target trial among the 2 trials"),
        ([], [], "no target trial"),
        ([0.1, np.nan, np.inf], [True, False, True], "2 of 3 scores are not finite"),
        ([0.1, 0.2], [True], "do not go with labels"),
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


def literal_resamples(scores, is_target, enroll, test, resamples, seed):
    """What :func:`resampled_eers` stands for: lists of repeated trials, evaluated one by one."""
    generator = generator_for(seed, "speakers")
    size = len(np.unique([enroll, test]))
    rates = []
    while True:
        for drawn in generator.multinomial(size, np.full(size, 1 / size), 50):
            copies = np.where(enroll == test, drawn[enroll], drawn[enroll] * drawn[test])
            trials = np.repeat(np.arange(len(scores)), copies)
            if is_target[trials].any() and not is_target[trials].all():
                rates.append(eer(scores[trials], is_target[trials]))
                if len(rates) == resamples:
                    return np.array(rates)


@pytest.mark.parametrize(("speakers", "trials", "decimals"), [(3, 40, 1), (8, 300, 9), (8, 300, 1), (30, 2000, 2)])
def test_resampling_speakers_equals_repeating_their_trials(speakers, trials, decimals):
    rng = np.random.default_rng(trials)
    enroll = rng.integers(0, speakers, trials)
    test = np.where(rng.random(trials) < 0.4, enroll, rng.integers(0, speakers, trials))
    enroll[:speakers], test[:speakers] = np.arange(speakers), np.arange(speakers)
    enroll[-1], test[-1] = 0, 1
    is_target = enroll == test
    scores = np.round(rng.normal(size=trials) + is_target, decimals)
    expected = literal_resamples(scores, is_target, enroll, test, 130, seed=5)
    rates = resampled_eers(scores, is_target, enroll, test, 130, seed=5)
    np.testing.assert_allclose(rates, expected, atol=1e-9)
    order = rng.permutation(trials)
    names = np.array([f"id{n:03d}" for n in range(speakers)])
    shuffled = scores[order], is_target[order], names[enroll[order]], names[test[order]]
    np.testing.assert_allclose(resampled_eers(*shuffled, 130, seed=5), expected, atol=1e-9)
    half = 0.5 / min(is_target.sum(), (~is_target).sum())
    probits = norm.ppf(np.clip(expected, half, 1 - half))
    reach = student_t(speakers - 1).ppf(0.975) * probits.std() * (speakers / (speakers - 1)) ** 0.5
    interval = norm.cdf(norm.ppf(eer(scores, is_target)) + np.array([-reach, reach]))
    assert speaker_bootstrap(*shuffled, 130, seed=5) == pytest.approx(interval, abs=1e-9)
    assert not np.allclose(resampled_eers(*shuffled, 130, seed=6), expected)


def simulated_trials(rng, speakers, embeddings_each, pairs, spread):
    """Cosine scores of made-up speakers whose recordings vary, some more than others."""
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


@pytest.mark.parametrize("spread", [1.2, 0.4])  # equal error rates of about 21 and 2 percent
def test_intervals_cover_the_true_rate_and_trial_level_ones_do_not(spread):
    rng = np.random.default_rng(0)
    scores, is_target, _, _ = simulated_trials(rng, 20_000, 4, 20, spread)
    true = eer(scores, is_target)
    simulations, covered, covered_naively = 120, 0, 0
    for seed in range(simulations):
        scores, is_target, enroll, test = simulated_trials(rng, 30, 8, 40, spread)
        low, high = speaker_bootstrap(scores, is_target, enroll, test, resamples=200, seed=seed)
        covered += low <= true <= high
        if seed % 3 == 0:
            # Each trial a speaker of its own: the trials are drawn, as if they were independent.
            alone = np.arange(len(scores))
            low, high = speaker_bootstrap(scores, is_target, alone, alone, resamples=100, seed=seed)
            covered_naively += low <= true <= high
    # The standard error of a coverage of 95 % over 120 simulations is 2 %.
    assert 0.9 <= covered / simulations <= 0.99
    assert covered_naively / (simulations / 3) < 0.8


def test_interval_without_errors_is_not_empty():
    scores, is_target = together([3, 4, 5, 6], [0, 1, 2, 1, 1, 0])
    interval = speaker_bootstrap(scores, is_target, list("abcdabcabc"), list("abcdbcdcda"))
    assert interval == (0, pytest.approx(1 / 8))
    with pytest.raises(ValueError, match="1 resamples have no spread"):
        speaker_bootstrap(scores, is_target, list("abcdabcabc"), list("abcdbcdcda"), resamples=1)


def test_interval_of_mismatched_speakers_is_refused():
    with pytest.raises(ValueError, match="1 pairs of speakers do not go with 2 scores"):
        speaker_bootstrap([1, 2], [True, False], ["a"], ["b"])
