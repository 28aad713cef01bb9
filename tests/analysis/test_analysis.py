"""Geometry of embeddings, result tables and plots against the specification, brute force and hand-made cases."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.image import imread
from scipy.optimize import brentq
from scipy.stats import ttest_1samp
from sklearn.metrics import silhouette_samples
from synthetic import FACES, FBANK, config, mapping

from avsv.analysis.attention import attention_of, correlations, has_series, mean_interval, weight_series
from avsv.analysis.cost import clip_batch, measure_cost
from avsv.analysis.geometry import angles, between_angles, geometry, sample_identities, within_angles
from avsv.analysis.hard import error_shares, find_outliers, hardest
from avsv.analysis.umap import curve_of, neighbor_graph, umap
from avsv.bin.analyse import voice_to_face
from avsv.bin.hard_samples import project
from avsv.model.config import parse_config
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.results.frames import to_csv
from avsv.results.plots import (
    DetLine,
    angle_plot,
    attention_plot,
    det_plot,
    hard_plot,
    projection_plot,
    training_plot,
)
from avsv.results.rates import Row
from avsv.results.style import COLORS


def brute_force_silhouette(points, labels):
    """(b - a) / max(a, b) of every point: mean distances to its own and to the nearest other identity."""
    values = []
    for n, point in enumerate(points):
        distances = np.linalg.norm(points - point, axis=1)
        own = [d for m, d in enumerate(distances) if labels[m] == labels[n] and m != n]
        others = [distances[labels == other].mean() for other in set(labels) - {labels[n]}]
        values.append((min(others) - np.mean(own)) / max(min(others), np.mean(own)))
    return np.array(values)


def random_embeddings(identities, each):
    rng = np.random.default_rng(0)
    labels = np.repeat([f"id{n}" for n in range(identities)], each)
    order = rng.permutation(len(labels))
    return rng.normal(size=(len(labels), 8))[order] * 5, labels[order]


def test_angles_of_the_specification():
    np.testing.assert_allclose(angles([[1, 0], [3, 3], [1, 0]], [[0, 2], [1, 1], [-2, 0]]), [90, 0, 180], atol=1e-5)
    embeddings, labels = random_embeddings(40, 3)
    assert len(between_angles(embeddings, labels)) == 780
    assert len(within_angles(embeddings, labels)) == 40 * 3


def test_angles_equal_brute_force():
    embeddings, labels = random_embeddings(5, 4)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def angle(x, y):
        return np.degrees(np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))

    pairs = [(i, j) for i, j in itertools.combinations(range(20), 2) if labels[i] == labels[j]]
    within = sorted(angle(embeddings[i], embeddings[j]) for i, j in pairs)
    np.testing.assert_allclose(np.sort(within_angles(embeddings, labels)), within)
    centroids = [unit[labels == name].mean(axis=0) for name in np.unique(labels)]
    between = sorted(angle(x, y) for x, y in itertools.combinations(centroids, 2))
    np.testing.assert_allclose(np.sort(between_angles(embeddings, labels)), between)


def test_silhouettes():
    points, labels = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1])
    assert brute_force_silhouette(points, labels).mean() == pytest.approx(0.746032, abs=1e-6)
    assert silhouette_samples(points, labels).mean() == pytest.approx(0.746032, abs=1e-6)
    embeddings, labels = random_embeddings(5, 4)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(geometry(embeddings, labels).silhouette, brute_force_silhouette(unit, labels))


def test_sample_of_identities():
    labels = np.repeat(list("abcdefgh"), 5)
    rows = sample_identities(labels, 17, seed=1)
    kept, counts = np.unique(labels[rows], return_counts=True)
    assert (len(kept), set(counts)) == (3, {5})
    assert rows.tolist() == sample_identities(labels, 17, seed=1).tolist()
    assert any(rows.tolist() != sample_identities(labels, 17, seed=seed).tolist() for seed in range(2, 5))
    assert len(sample_identities(labels, 1)) == 10
    assert len(sample_identities(labels, 99, max_identities=4)) == 20
    assert len(geometry(np.eye(40), labels, max_utterances=10).silhouette) == 10


def test_voice_to_face_pairs_clips_by_name():
    vectors = {"A": np.eye(3), "V": np.array([[0.0, 1, 0], [1, 1, 0]])}
    assert voice_to_face({"A": ["x", "y", "z"], "V": ["x", "y"]}, vectors).round(6).tolist() == [90, 45]
    assert len(voice_to_face({"A": ["x"], "V": ["q"]}, vectors)) == 0


def test_projections_separate_identities_and_repeat():
    rng = np.random.default_rng(0)
    # More points of an identity than t-SNE looks for neighbors (its perplexity), so that it has a separated optimum.
    labels = np.repeat(np.arange(4), 16)
    vectors = (np.eye(16)[labels] + 0.1 * rng.normal(size=(64, 16))).astype(np.float32)
    for place in (umap, project):
        points = place(vectors, seed=3)
        assert points.shape == (64, 2)
        np.testing.assert_array_equal(points, place(vectors, seed=3))
        assert silhouette_samples(points, labels).min() > 0.3
        assert place(vectors[:3], seed=0).shape == (3, 2)
    assert not np.array_equal(umap(vectors, seed=3), umap(vectors, seed=4))


def test_neighbor_graph_is_that_of_the_paper():
    """Seen from each point: weight 1 for the nearest, log2(k) in all, exponential in between; then the fuzzy union."""
    points = np.random.default_rng(1).normal(size=(40, 6))
    graph = neighbor_graph(points, 5)
    views = np.zeros((40, 40))
    for row, point in enumerate(points):
        distances = np.linalg.norm(points - point, axis=1)
        near = [n for n in np.argsort(distances) if n != row][:4]
        beyond = distances[near] - distances[near[0]]
        scale = brentq(lambda s, beyond=beyond: np.exp(-beyond / s).sum() - np.log2(5), 1e-6, 1e3)
        views[row, near] = np.exp(-beyond / scale)
    np.testing.assert_allclose(graph, views + views.T - views * views.T, atol=1e-6)
    # Published values of the authors' program for min_dist 0.1.
    assert curve_of(0.1) == pytest.approx((1.5769, 0.8951), abs=1e-4)
    # Points that are equally near have no scale, and none is needed.
    assert np.isfinite(umap(np.repeat(np.eye(3), 7, axis=0))).all()
    with pytest.raises(ValueError, match="2 points have no neighborhoods"):
        neighbor_graph(points[:2], 5)


def test_hard_samples_are_those_most_often_wrong():
    rng = np.random.default_rng(0)
    enroll, test = np.array(list(itertools.combinations(range(30), 2))).T
    labels = np.arange(30) // 5
    is_target = labels[enroll] == labels[test]
    bad = np.isin(enroll, (3, 17)) | np.isin(test, (3, 17))
    scores = np.where(is_target ^ bad, 1.0, 0.0) + 0.1 * rng.random(len(enroll))
    shares = error_shares(scores, is_target, enroll, test, 31)
    for row in (3, 17, 4):
        mine = (enroll == row) | (test == row)
        threshold = 0.5
        wrong = np.where(is_target, scores < threshold, scores > threshold)[mine]
        assert shares[row] == pytest.approx(wrong.mean(), abs=0.05)
    assert np.isnan(shares[30])
    assert set(hardest([shares, shares], 2).tolist()) == {3, 17}
    assert len(hardest([shares], 99)) == 30


def test_outliers_are_nearer_to_another_identity():
    vectors = np.repeat(np.eye(3), 4, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(12, 3))
    vectors[1] = [0.1, 3, 0]
    names = np.repeat(["a", "b", "c"], 4)
    found = find_outliers(vectors, names, [0, 1, 5])
    assert found.outlier.tolist() == [False, True, False]
    assert found.identities.tolist() == ["a", "b"]
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1)
    # One utterance of an identity has no other one to be near to.
    assert find_outliers(vectors[[0, 4, 5]], names[[0, 4, 5]], [0]).outlier.tolist() == [True]


def test_cost_of_computed_weights():
    """HuBERT's positional convolution normalizes its weights in every pass."""
    options = {"freeze": False, "layers": 1, "width": 32, "channels": 32, "aggregate_channels": 64}
    settings = parse_config({**mapping("A"), "audio": {"name": "self_supervised", **options}}, "tests")
    inputs = inputs_of(settings, FBANK, None)
    audio, whole = measure_cost(Embedder(settings), clip_batch(inputs, 1.0, None))
    # 49 frames; the first of the convolutions of stride 5, 2, 2, 2, 2, 2, 2 alone has 32 x 10 weights at 3199 places.
    assert whole.multiply_adds == audio.multiply_adds > 3199 * 320


def test_cost_is_counted_by_hand():
    inputs = inputs_of(config("AV"), FBANK, FACES)
    batch = clip_batch(inputs, 1.0, 3)
    assert (batch.audio.shape, batch.video.shape) == ((1, 98, 20), (1, 3, 1, 16, 16))
    costs = {cost.part: cost for cost in measure_cost(Embedder(config("AV")), batch)}
    assert list(costs) == ["audio", "visual", "fusion", "all"]
    network = Embedder(config("AV"))
    assert costs["all"].parameters == sum(parameter.numel() for parameter in network.parameters())
    assert costs["all"].multiply_adds == sum(costs[part].multiply_adds for part in ("audio", "visual", "fusion"))
    # Every convolution and every product of matrices, by hooks.
    counted = []

    def count(module, _, output):
        positions = output[0, 0].numel() if module.weight.ndim > 2 else 1
        counted.append(module.weight.numel() * positions * (len(output) if module.weight.ndim > 2 else 1))

    for module in network.visual.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network.eval().visual(batch.video, batch.video_mask)
    assert 0.7 * costs["visual"].multiply_adds < sum(counted) <= costs["visual"].multiply_adds
    assert all(cost.seconds > 0 for cost in costs.values())


def test_attention_of_a_clip():
    settings = config("AV", audio={"pooling": "we_asp"}, visual={"pooling": "we_asp"})
    system = Embedder(settings).eval()
    assert has_series(system)
    assert not has_series(Embedder(config("AV")))
    assert not has_series(Embedder(config("A")))
    batch = clip_batch(inputs_of(settings, FBANK, FACES), 0.8, 20)
    found = attention_of(system.audio, batch.audio, batch.audio_mask)
    assert found.logits.shape == found.enhanced.shape == (32, 78)
    # The weights are the enhanced logits' means over channels, up to a factor.
    ratio = found.enhanced.mean(axis=0) / found.weights
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    voice, face = weight_series(system, batch, 20)
    assert voice.shape == face.shape == (1, 20)
    np.testing.assert_allclose(face[0], attention_of(system.visual, batch.video, batch.video_mask).weights, rtol=1e-5)


def test_correlation_and_its_interval():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 50, 20))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlations(first, second), expected)
    speakers = [f"s{n // 5}" for n in range(50)]
    mean, low, high = mean_interval(correlations(first, second), speakers)
    means = np.array(expected).reshape(10, 5).mean(axis=1)
    reference = ttest_1samp(means, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((means.mean(), reference.low, reference.high))


def row(system, stage, eer, mode="AVxAV", trials="eval", cllr=None):
    return Row(
        "c", "mini", system, trials, mode, stage, 10, 90, eer, eer / 2, 2 * eer, eer, 0.5, cllr, 7, "abc", "f00d"
    )


def test_csv_of_results():
    lines = to_csv([row("a", "cos", 12.34567), row("a", "llr", 0.0, cllr=0.25)], Row).splitlines()
    assert lines[1] == "c,mini,a,eval,AVxAV,cos,10,90,12.3457,6.1728,24.6913,12.3457,0.5000,,7,abc,f00d"
    assert lines[2] == "c,mini,a,eval,AVxAV,llr,10,90,0.0000,0.0000,0.0000,0.0000,0.5000,0.2500,7,abc,f00d"


def colors_in(path):
    """The colors of a picture that are exactly those of the palette."""
    pixels = np.round(255 * imread(path)[..., :3]).astype(int) @ [65536, 256, 1]
    return {color for color in COLORS if (pixels == int(to_hex(color)[1:], 16)).any()}


def gaussian_line(label, distance, count=2000, number=0):
    rng = np.random.default_rng(count)
    scores = np.r_[rng.normal(distance, 1, count), rng.normal(0, 1, count)]
    return DetLine(label, scores, np.arange(2 * count) < count, number)


def test_det_plot(tmp_path):
    lines = [gaussian_line("good", 4), gaussian_line("bad", 1, number=1), gaussian_line("few", 2, 10, number=2)]
    det_plot(tmp_path / "det.png", {"eval": lines})
    assert colors_in(tmp_path / "det.png") >= set(COLORS[:3])
    size = imread(tmp_path / "det.png").shape
    det_plot(tmp_path / "two.png", {"eval": lines, "hard": lines[:1]})
    assert imread(tmp_path / "two.png").shape[1] == pytest.approx(2 * size[1], rel=0.01)
    # Nothing to see, but nothing fails either: no errors at all, nothing but errors.
    perfect = DetLine("perfect", np.array([1.0, 2, 3, 4]), np.array([False, False, True, True]), 0)
    inverted = DetLine("inverted", -perfect.scores, perfect.is_target, 1)
    det_plot(tmp_path / "edge.png", {"a": [perfect], "b": [inverted]})
    assert not list(tmp_path.glob(".*"))


def test_other_plots(tmp_path):
    history = {"epoch": np.arange(1, 4), "loss": np.array([3, 2, 1.0]), "accuracy": np.array([0.1, 0.2, 0.3])}
    history["dev_eer"] = np.array([0.4, np.nan, 0.2])
    training_plot(tmp_path / "training.png", {"one": history, "two": {**history, "loss": history["loss"] + 1}})
    assert colors_in(tmp_path / "training.png") >= set(COLORS[:2])
    embeddings, labels = random_embeddings(10, 4)
    measures = geometry(embeddings, labels)
    angle_plot(tmp_path / "one.png", "s", {"A": measures}, None)
    angle_plot(tmp_path / "more.png", "s", {"AV": measures, "A": measures}, np.array([10.0, 20.0]))
    assert imread(tmp_path / "more.png").shape[0] > imread(tmp_path / "one.png").shape[0]
    projection_plot(
        tmp_path / "p.png", "s", {"A": embeddings[:, :2], "V": embeddings[:, 2:4]}, {"A": labels, "V": labels}
    )
    assert imread(tmp_path / "p.png").shape[1] > imread(tmp_path / "p.png").shape[0]


def test_plots_of_hard_samples_and_attention(tmp_path):
    rng = np.random.default_rng(0)
    panel = rng.normal(size=(7, 2)), np.array([True, False, False, True]), np.array(["a", "b", "c"])
    hard_plot(tmp_path / "hard.png", {"one": panel, "two": panel}, np.array(["a", "b", "b", "c"]))
    assert colors_in(tmp_path / "hard.png") >= set(COLORS[:3])
    maps = {name: rng.normal(size=(8, 20)) for name in ("voice", "face")}
    attention_plot(tmp_path / "attention.png", "weights", 0.8, maps, rng.uniform(0, 2, (2, 10)))
    assert colors_in(tmp_path / "attention.png") >= set(COLORS[:2])
