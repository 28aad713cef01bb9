"""LDA, WCCN and PLDA against closed forms, brute force, scikit-learn and Kaldi."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from avsv.errors import DataError
from avsv.scoring.backend import Adaptation, backend_scorer, check_options, fit_backend
from avsv.scoring.plda import PLDA, PLDAScorer, adapt_plda, em_step, fit_plda, log_likelihood
from avsv.scoring.projection import fit_lda, fit_wccn, length_normalize, speaker_statistics
from avsv.scoring.trials import Embeddings


class World:
    """Made-up embeddings of 30 speakers with 3 to 7 recordings each, and of 40 unknown ones from elsewhere."""

    dim = 6

    def __init__(self) -> None:
        # The stream of this old generator is frozen: Kaldi's figures below are of these very numbers.
        rng, dim = np.random.RandomState(5), self.dim
        self.counts = [3 + n % 5 for n in range(30)]
        mixing = rng.normal(size=(dim, dim))
        groups = [
            rng.normal(size=dim) * [2, 1.5, 1, 0.5, 0.3, 0.1] + rng.normal(size=(n, dim)) @ (0.4 * mixing) + 0.5
            for n in self.counts
        ]
        self.x = np.concatenate(groups).astype(np.float32)
        self.other = (rng.normal(size=(40, dim)) * [3, 1, 1, 2, 0.2, 1] - 0.3).astype(np.float32)
        self.speakers = np.repeat(np.arange(30), self.counts)
        self.keys = [f"u{n:03d}" for n in range(len(self.x))]
        self.utt2spk = {key: f"s{speaker:02d}" for key, speaker in zip(self.keys, self.speakers, strict=True)}

    def blocks(self, matrix=None):
        """The embeddings, or others of the same utterances, in uneven parts and out of order."""
        matrix = self.x if matrix is None else matrix
        for rows in (np.arange(70, len(matrix)), np.arange(70)[::-1]):
            yield rows, matrix[rows]

    def statistics(self, matrix=None):
        return speaker_statistics([(self.keys, self.blocks(matrix))], self.utt2spk)


WORLD = World()
PAIRS = np.array([[0, 1], [0, 3], [2, 77], [10, 11], [140, 149], [50, 100]])
# ivector-compute-plda with 10 and with 3000 steps, ivector-adapt-plda (shares 0.75 and 0.25) after 10 steps;
# then ivector-plda-scoring --normalize-length=false, at Kaldi commit f40076610.
KALDI = {
    "10 steps": [4.838323, -172.3448, -121.1274, 1.807219, -69.67455, -78.57062],
    "3000 steps": [4.823246, -172.3264, -121.1423, 1.878524, -69.71106, -78.53522],
    "adapted": [1.673364, -1.324282, -5.010711, -0.996509, 0.06486621, -0.8026113],
}


def kaldi_after_ten_steps() -> PLDA:
    statistics = WORLD.statistics()
    model = PLDA(statistics.means.mean(axis=0), np.eye(WORLD.dim), np.eye(WORLD.dim))
    for _ in range(10):
        model = em_step(statistics, model)
    return model


def llrs(model: PLDA, x: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    scorer = PLDAScorer(model)
    prepared = scorer.prepare(x)
    return scorer.score(prepared, prepared, *pairs.T)


def some_model(dim: int = 4) -> PLDA:
    rng = np.random.default_rng(1)
    roots = rng.normal(size=(2, dim, dim))
    return PLDA(rng.normal(size=dim), *(root @ root.T + 0.1 * np.eye(dim) for root in roots))


def test_statistics_equal_brute_force():
    statistics = WORLD.statistics()
    groups = [WORLD.x[WORLD.speakers == n].astype(np.float64) for n in range(30)]
    np.testing.assert_array_equal(statistics.counts, WORLD.counts)
    np.testing.assert_allclose(statistics.means, [group.mean(axis=0) for group in groups])
    scatter = sum((group - group.mean(axis=0)).T @ (group - group.mean(axis=0)) for group in groups)
    np.testing.assert_allclose(statistics.scatter, scatter, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(statistics.mean, WORLD.x.mean(axis=0, dtype=np.float64))


def test_the_speakers_of_two_modalities_are_the_same():
    halves = [(WORLD.keys[:70], [(np.arange(70), WORLD.x[:70])])]
    halves.append((WORLD.keys[70:], [(np.arange(len(WORLD.x) - 70), WORLD.x[70:])]))
    for one, other in zip(speaker_statistics(halves, WORLD.utt2spk), WORLD.statistics(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_lda_equals_that_of_scikit_learn(dim):
    ours = fit_lda(WORLD.statistics(), dim, "x")
    theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=dim).fit(WORLD.x.astype(float), WORLD.speakers)
    # Theirs does not subtract the mean with this solver.
    expected = theirs.transform(WORLD.x.astype(float) - WORLD.x.mean(axis=0, dtype=float))
    made = ours(WORLD.x)
    signs = np.sign((made * expected).sum(axis=0))
    np.testing.assert_allclose(made * signs, expected, atol=1e-5)


def test_wccn_makes_the_covariance_within_speakers_the_unit_matrix():
    statistics = WORLD.statistics()
    after = WORLD.statistics(fit_wccn(statistics, "x")(WORLD.x))
    np.testing.assert_allclose(after.scatter / after.size, np.eye(WORLD.dim), atol=1e-9)
    lda = fit_lda(statistics, WORLD.dim, "x")
    np.testing.assert_allclose(WORLD.statistics(lda(WORLD.x)).scatter / after.size, np.eye(WORLD.dim), atol=1e-9)


def test_llr_equals_the_ratio_of_joint_densities():
    model = some_model()
    x = np.random.default_rng(2).normal(size=(12, 4)) * 2
    pairs = np.array([(i, j) for i in range(12) for j in range(12)])
    total, zero = model.between + model.within, np.zeros((4, 4))
    mean = np.tile(model.mean, 2)
    same = multivariate_normal(mean, np.block([[total, model.between], [model.between, total]]))
    different = multivariate_normal(mean, np.block([[total, zero], [zero, total]]))
    joint = np.concatenate([x[pairs[:, 0]], x[pairs[:, 1]]], axis=1)
    np.testing.assert_allclose(llrs(model, x, pairs), same.logpdf(joint) - different.logpdf(joint), atol=1e-9)


def test_likelihood_equals_that_of_joint_gaussians_and_rises():
    statistics, model = WORLD.statistics(), some_model(WORLD.dim)
    expected = 0.0
    for n, count in enumerate(WORLD.counts):
        group = WORLD.x[WORLD.speakers == n].astype(np.float64)
        covariance = np.kron(np.ones((count, count)), model.between) + np.kron(np.eye(count), model.within)
        expected += multivariate_normal(np.tile(model.mean, count), covariance).logpdf(group.ravel())
    assert log_likelihood(statistics, model) == pytest.approx(expected / len(WORLD.x), rel=1e-9)
    reached = [log_likelihood(statistics, model)]
    for _ in range(20):
        model = em_step(statistics, model)
        reached.append(log_likelihood(statistics, model))
    assert (np.diff(reached) > 0).all()


def test_em_finds_the_closed_form_where_all_have_equally_many_recordings():
    rng = np.random.default_rng(3)
    speakers, each, dim = 40, 5, 3
    x = np.repeat(rng.normal(size=(speakers, dim)) * [3, 2, 1], each, axis=0) + rng.normal(size=(speakers * each, dim))
    keys = [f"u{n:03d}" for n in range(len(x))]
    utt2spk = {key: f"s{n // each:02d}" for n, key in enumerate(keys)}
    statistics = speaker_statistics([(keys, [(np.arange(len(x)), x)])], utt2spk)
    model = fit_plda(statistics, "x", tolerance=1e-13)
    within = statistics.scatter / (speakers * (each - 1))
    np.testing.assert_allclose(model.within, within, rtol=1e-5, atol=1e-6)
    between = np.cov(statistics.means.T, bias=True) - within / each
    np.testing.assert_allclose(model.between, between, rtol=1e-5, atol=1e-6)


def test_scores_equal_those_of_kaldi():
    ten = kaldi_after_ten_steps()
    np.testing.assert_allclose(llrs(ten, WORLD.x, PAIRS), KALDI["10 steps"], atol=1e-4)
    fitted = fit_plda(WORLD.statistics(), "x", tolerance=1e-12)
    np.testing.assert_allclose(llrs(fitted, WORLD.x, PAIRS), KALDI["3000 steps"], rtol=1e-4, atol=3e-3)
    covariance = np.cov(WORLD.other.T.astype(np.float64), bias=True)
    adapted = adapt_plda(ten, WORLD.other.mean(axis=0, dtype=np.float64), covariance, 0.75, 0.25)
    np.testing.assert_allclose(llrs(adapted, WORLD.x, PAIRS), KALDI["adapted"], atol=1e-4)


def test_adaptation_explains_what_varies_more_and_leaves_the_rest():
    model = PLDA(np.zeros(2), np.diag([3.0, 1.0]), np.diag([1.0, 1.0]))
    adapted = adapt_plda(model, np.zeros(2), np.diag([1.0, 6.0]), 0.5, 0.5)
    np.testing.assert_allclose(adapted.between, np.diag([3.0, 3.0]), atol=1e-9)
    np.testing.assert_allclose(adapted.within, np.diag([1.0, 3.0]), atol=1e-9)


def source(modality):
    """The world's embeddings, those of the modality V mirrored."""
    return WORLD.keys, WORLD.blocks(WORLD.x if modality == "A" else -WORLD.x)


def test_a_backend_from_embeddings_to_scores():
    """The whole way against the same steps in plain numbers: LDA, length, covariances, adaptation, ratio."""
    adaptation = Adaptation(lambda _: ([f"o{n}" for n in range(40)], [(np.arange(40), WORLD.other)]), 0.75, 0.25)
    backend, statistics = fit_backend("plda", ["A"], source, WORLD.utt2spk, "x", 3, adaptation)
    assert (statistics.size, statistics.dim) == (len(WORLD.x), 3)
    lda = fit_lda(WORLD.statistics(), 3, "x")

    def normalized(matrix):
        projected = lda(matrix)
        return projected * np.sqrt(3) / np.linalg.norm(projected, axis=1, keepdims=True)

    model = fit_plda(WORLD.statistics(normalized(WORLD.x)), "x")
    other = normalized(WORLD.other)
    model = adapt_plda(model, other.mean(axis=0), np.cov(other.T, bias=True), 0.75, 0.25)
    prepared = backend.prepare(WORLD.x)
    np.testing.assert_allclose(
        backend.score(prepared, prepared, *PAIRS.T), llrs(model, normalized(WORLD.x), PAIRS), atol=1e-8
    )


@pytest.mark.parametrize("name", ["lda", "wccn"])
def test_a_projection_is_scored_by_cosine(name):
    backend, _ = fit_backend(name, ["A"], source, WORLD.utt2spk, "x", 4 if name == "lda" else None)
    statistics = WORLD.statistics()
    made = (fit_lda(statistics, 4, "x") if name == "lda" else fit_wccn(statistics, "x"))(WORLD.x)
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    prepared = backend.prepare(WORLD.x)
    expected = (unit[PAIRS[:, 0]] * unit[PAIRS[:, 1]]).sum(axis=1)
    np.testing.assert_allclose(backend.score(prepared, prepared, *PAIRS.T), expected, atol=1e-9)


def test_a_mode_of_two_modalities_learns_from_both():
    fitted = {}

    def backend_of(enroll, test):
        modalities = tuple(sorted({enroll, test}))
        if modalities not in fitted:
            fitted[modalities] = fit_backend("wccn", modalities, source, WORLD.utt2spk, "x")[0]
        return fitted[modalities]

    present = np.ones(len(WORLD.x), dtype=bool)
    score = backend_scorer(backend_of, {"A": Embeddings(WORLD.x, present), "V": Embeddings(-WORLD.x, present)})
    made = score("A", "V", *PAIRS.T)
    assert list(fitted) == [("A", "V")]
    # With a mirror image of everything, each speaker's mean is 0 and all variance is within.
    inverse = np.linalg.inv(WORLD.x.T.astype(float) @ WORLD.x / len(WORLD.x))
    for value, (i, j) in zip(made, PAIRS, strict=True):
        one, other = WORLD.x[i].astype(float), -WORLD.x[j].astype(float)
        expected = one @ inverse @ other / np.sqrt((one @ inverse @ one) * (other @ inverse @ other))
        assert value == pytest.approx(expected, abs=1e-6)


def test_a_zero_row_stays_zero():
    np.testing.assert_array_equal(length_normalize(np.array([[0.0, 0.0], [0.0, 2.0]])), [[0, 0], [0, 2**0.5]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("cosine", None, False), "--backend cosine: choose one of lda, wccn, plda"),
        (("lda", None, False), "give the number of dimensions with --lda-dim"),
        (("wccn", 3, False), "keeps all dimensions: omit --lda-dim"),
        (("lda", 3, True), "--backend lda does not adapt"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(DataError, match=message):
        check_options(*options)


def few(speakers: int, each: int, dim: int = 6):
    """Embeddings of few speakers, as a source, and their speakers."""
    x = np.random.default_rng(4).normal(size=(speakers * each, dim))
    keys = [f"u{n:02d}" for n in range(len(x))]
    return (lambda _: (keys, [(np.arange(len(x)), x)])), {key: f"s{n // each}" for n, key in enumerate(keys)}


@pytest.mark.parametrize(
    ("name", "speakers", "each", "lda_dim", "message"),
    [
        ("lda", 5, 4, 5, r"LDA to 5 dimensions: 5 speakers allow 1 to 4: change --lda-dim"),
        ("lda", 9, 4, 7, r"LDA to 7 dimensions: embeddings of 6 values allow 1 to 6"),
        ("wccn", 5, 2, None, r"10 embeddings of 5 speakers are too few .* 6 dimensions: it needs at least 11"),
        ("plda", 6, 4, None, r"PLDA of 6 dimensions needs more than 6 speakers, not 6: reduce .* to at most 5"),
    ],
)
def test_too_few_speakers(name, speakers, each, lda_dim, message):
    training, utt2spk = few(speakers, each)
    with pytest.raises(DataError, match=r"train \(A\): " + message):
        fit_backend(name, ["A"], training, utt2spk, "train", lda_dim)


def test_as_many_speakers_as_it_takes_are_enough():
    for name, speakers, each, lda_dim in (("lda", 5, 4, 4), ("wccn", 6, 2, None), ("plda", 7, 4, None)):
        training, utt2spk = few(speakers, each)
        backend, _ = fit_backend(name, ["A"], training, utt2spk, "train", lda_dim)
        assert np.isfinite(backend.prepare(np.ones((1, 6)))).all()


def test_embeddings_that_do_not_vary():
    training, utt2spk = few(7, 4)
    keys, [(rows, x)] = training("A")
    x[:, 2] = x[:, 1]
    with pytest.raises(DataError, match="do not vary in 1 of 6 directions"):
        fit_backend("plda", ["A"], lambda _: (keys, [(rows, x)]), utt2spk, "train")


def test_an_utterance_without_a_speaker():
    training, utt2spk = few(7, 4)
    del utt2spk["u03"]
    with pytest.raises(DataError, match=r"utterance 'u03' is not in utt2spk \(1 such\)"):
        fit_backend("plda", ["A"], training, utt2spk, "train")
