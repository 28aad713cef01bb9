"""Angles and silhouettes compared with brute force, and their table."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from avsv.analysis.geometry import (
    Geometry,
    angles,
    averaging,
    between_angles,
    geometry,
    geometry_table,
    sample_identities,
    voice_to_face,
    within_angles,
)
from avsv.analysis.spaces import Space


def brute_force_silhouette(points, labels):
    """(b - a) / max(a, b) for every point, from mean distances to its own (a) and the nearest other identity (b)."""
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


def test_a_fusion_that_averages_is_recognized():
    """An isometry of both embeddings averages their cosines; a sum in a common space does not."""
    rng = np.random.default_rng(0)
    keys = [f"u{n:02d}" for n in range(30)]
    names = np.array(["x"] * 30)
    parts = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 30, 6))]
    voice, face = (Space(keys, part.astype(np.float32), names) for part in parts)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    joint = np.concatenate(parts, axis=1) @ turn
    found = averaging(Space(keys, joint.astype(np.float32), names), voice, face)
    assert (found.utterances, found.correlation) == (30, pytest.approx(1))
    assert found.largest_difference < 1e-6
    other = averaging(Space(keys[3:], sum(parts)[3:].astype(np.float32), names[3:]), voice, face)
    expected = []
    for a, b in itertools.combinations(range(3, 30), 2):
        fused = [parts[0][n] + parts[1][n] for n in (a, b)]
        cosine = fused[0] @ fused[1] / np.linalg.norm(fused[0]) / np.linalg.norm(fused[1])
        expected.append((cosine, (parts[0][a] @ parts[0][b] + parts[1][a] @ parts[1][b]) / 2))
    expected = np.array(expected)
    assert other.correlation == pytest.approx(np.corrcoef(expected.T)[0, 1])
    assert other.largest_difference == pytest.approx(np.abs(expected[:, 0] - expected[:, 1]).max(), abs=1e-6)
    assert averaging(Space(keys, joint.astype(np.float32), names), voice, face, max_utterances=7).utterances == 7


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


def test_silhouettes_that_are_not_defined_are_left_out():
    """Of one utterance of each identity, or of a single identity."""
    embeddings, _ = random_embeddings(2, 3)
    for identities in (range(6), [0] * 6):
        found = geometry(embeddings, np.array(identities))
        assert len(found.silhouette) == 0
        points = {"A": (embeddings[:, :2], np.array(identities).astype(str))}
        table = geometry_table({"A": found}, None, points)
        rows = table[table.iloc[:, 1].str.startswith("silhouette")]
        assert len(rows) == 2 and (rows.iloc[:, 2] == 0).all() and rows.iloc[:, 3].isna().all()


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
    voice = Space(["x", "y", "z"], np.eye(3), np.array(["a", "a", "b"]))
    face = Space(["x", "y"], np.array([[0.0, 1, 0], [1, 1, 0]]), np.array(["a", "a"]))
    assert voice_to_face(voice, face).round(6).tolist() == [90, 45]
    assert len(voice_to_face(voice, face._replace(keys=["p", "q"]))) == 0


def test_table_of_the_measures():
    embeddings, labels = random_embeddings(5, 4)
    measures = geometry(embeddings, labels)
    points = embeddings[:, :2]
    table = geometry_table({"A": measures}, np.array([10.0, 30.0]), {"A": (points, labels)})
    assert list(zip(table["modality"], table["measure"], table["count"], strict=True)) == [
        ("A", "within", 5 * 6),
        ("A", "between", 10),
        ("A", "silhouette", 20),
        ("A", "silhouette of the UMAP", 20),
        ("A-V", "same clip", 2),
    ]
    for values, row in zip([*measures, brute_force_silhouette(points, labels)], table.itertuples(), strict=False):
        expected = [np.mean(values), np.std(values), *np.percentile(values, [5, 50, 95])]
        np.testing.assert_allclose(row[4:], expected)
    np.testing.assert_allclose(table.iloc[-1, 3:].astype(float), [20, 10, 11, 20, 29])
    # Voices and faces of no common clip.
    table = geometry_table({"A": measures}, np.empty(0), {})
    assert table.iloc[-1, 3:].isna().all() and table["count"].iloc[-1] == 0


def test_summary():
    measures = Geometry(np.array([10.0, 20.4, 90.0]), np.array([80.0, 89.0]), np.array([0.5, 0.25]))
    assert measures.summary() == "within 20°, between 84°, silhouette 0.38"
