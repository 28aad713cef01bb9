"""Geometry of embeddings, result tables and plots against the specification, brute force and hand-made cases."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from sklearn.metrics import silhouette_samples

from avsv.analysis.geometry import angles, between_angles, geometry, sample_identities, within_angles
from avsv.analysis.plots import COLOURS, DetLine, angle_plot, det_plot, projection_plot, training_plot
from avsv.analysis.results import Row, to_csv
from avsv.bin.analyse import project, voice_to_face
from avsv.bin.results import read_history
from avsv.errors import DataError


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


def test_projection_separates_identities_and_repeats():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 8)
    vectors = (np.eye(16)[labels] + 0.1 * rng.normal(size=(32, 16))).astype(np.float32)
    points = project(vectors, seed=3)
    np.testing.assert_array_equal(points, project(vectors, seed=3))
    assert silhouette_samples(points, labels).min() > 0.3
    assert project(vectors[:10], seed=0).shape == (10, 2)


def row(system, stage, eer, mode="AVxAV", trials="eval", cllr=None):
    return Row(
        "c", "mini", system, trials, mode, stage, 10, 90, eer, eer / 2, 2 * eer, eer, 0.5, cllr, 7, "abc", "f00d"
    )


def test_csv_of_results():
    lines = to_csv([row("a", "cos", 12.34567), row("a", "llr", 0.0, cllr=0.25)]).splitlines()
    assert lines[1] == "c,mini,a,eval,AVxAV,cos,10,90,12.3457,6.1728,24.6913,12.3457,0.5000,,7,abc,f00d"
    assert lines[2] == "c,mini,a,eval,AVxAV,llr,10,90,0.0000,0.0000,0.0000,0.0000,0.5000,0.2500,7,abc,f00d"


def colours_in(path):
    """The colours of a picture that are exactly those of the palette."""
    pixels = set(map(tuple, np.round(255 * imread(path)[..., :3]).astype(int).reshape(-1, 3).tolist()))
    return {colour for colour in COLOURS if tuple(round(255 * part) for part in to_rgb(colour)) in pixels}


def gaussian_line(label, distance, count=2000):
    rng = np.random.default_rng(count)
    scores = np.r_[rng.normal(distance, 1, count), rng.normal(0, 1, count)]
    return DetLine(label, scores, np.arange(2 * count) < count)


def test_det_plot(tmp_path):
    lines = [gaussian_line("good", 4), gaussian_line("bad", 1), gaussian_line("few", 2, 10)]
    det_plot(tmp_path / "det.png", {"eval": lines})
    assert colours_in(tmp_path / "det.png") >= set(COLOURS[:3])
    size = imread(tmp_path / "det.png").shape
    det_plot(tmp_path / "two.png", {"eval": lines, "hard": lines[:1]})
    assert imread(tmp_path / "two.png").shape[1] == pytest.approx(2 * size[1], rel=0.01)
    # Nothing to see, but nothing fails either: no errors at all, nothing but errors.
    perfect = DetLine("perfect", np.array([1.0, 2, 3, 4]), np.array([False, False, True, True]))
    inverted = DetLine("inverted", -perfect.scores, perfect.is_target)
    det_plot(tmp_path / "edge.png", {"a": [perfect], "b": [inverted]})
    assert not list(tmp_path.glob(".*"))


def test_other_plots(tmp_path):
    history = {"epoch": np.arange(1, 4), "loss": np.array([3, 2, 1.0]), "accuracy": np.array([0.1, 0.2, 0.3])}
    history["dev_eer"] = np.array([0.4, np.nan, 0.2])
    training_plot(tmp_path / "training.png", {"one": history, "two": {**history, "loss": history["loss"] + 1}})
    assert colours_in(tmp_path / "training.png") >= set(COLOURS[:2])
    embeddings, labels = random_embeddings(10, 4)
    measures = geometry(embeddings, labels)
    angle_plot(tmp_path / "one.png", "s", {"A": measures}, None)
    angle_plot(tmp_path / "more.png", "s", {"AV": measures, "A": measures}, np.array([10.0, 20.0]))
    assert imread(tmp_path / "more.png").shape[1] > imread(tmp_path / "one.png").shape[1]
    projection_plot(
        tmp_path / "p.png", "s", {"A": embeddings[:, :2], "V": embeddings[:, 2:4]}, {"A": labels, "V": labels}
    )
    assert imread(tmp_path / "p.png").shape[1] > imread(tmp_path / "p.png").shape[0]


def test_training_history(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("epoch,loss,lr,accuracy,dev_eer\n1,2.5,0.1,0.5,\n2,1.5,0.1,0.75,0.125\n")
    history = read_history(path)
    np.testing.assert_array_equal(history["dev_eer"], [np.nan, 0.125])
    assert history["loss"].tolist() == [2.5, 1.5]
    path.write_text("epoch,loss\n1,2\n")
    with pytest.raises(DataError, match=r"train.csv: not a training history: 'accuracy'"):
        read_history(path)
