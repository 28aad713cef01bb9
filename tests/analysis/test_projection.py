"""Projections separate identities and repeat."""

import numpy as np
from sklearn.metrics import silhouette_samples

from avsv.analysis.projection import MAX_IDENTITIES, MAX_UTTERANCES, project, projection_table, tsne
from avsv.analysis.spaces import Space
from avsv.analysis.umap import umap


def test_projections_separate_identities_and_repeat():
    rng = np.random.default_rng(0)
    # More points of an identity than t-SNE looks for neighbors (its perplexity), so that it has a separated optimum.
    labels = np.repeat(np.arange(4), 16)
    vectors = (np.eye(16)[labels] + 0.1 * rng.normal(size=(64, 16))).astype(np.float32)
    for place in (umap, tsne):
        points = place(vectors, seed=3)
        assert points.shape == (64, 2)
        np.testing.assert_array_equal(points, place(vectors, seed=3))
        assert silhouette_samples(points, labels).min() > 0.3
        assert place(vectors[:3], seed=0).shape == (3, 2)
    assert not np.array_equal(umap(vectors, seed=3), umap(vectors, seed=4))


def test_whole_identities_are_projected():
    rng = np.random.default_rng(0)
    identities = np.array([f"id{n:02}" for n in rng.permutation(np.repeat(np.arange(20), 13))])
    keys = [f"u{n:03}" for n in range(len(identities))]
    vectors = rng.normal(size=(len(keys), 4)).astype(np.float32)
    found = project(Space(keys, vectors, identities), seed=1)
    # 16 identities of 13 utterances; their rows are those of the space, in its order.
    assert len(set(found.identities.tolist())) == MAX_IDENTITIES
    assert len(found.keys) == 13 * MAX_IDENTITIES <= MAX_UTTERANCES
    rows = [keys.index(key) for key in found.keys]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(found.identities, identities[rows])
    np.testing.assert_array_equal(found.points, umap(vectors[rows], 5, seed=1))

    table = projection_table({"AV": found, "A": found._replace(points=-found.points)})
    assert list(table) == ["modality", "utterance", "identity", "x", "y"]
    assert len(table) == 2 * len(rows)
    row = table.iloc[len(rows) + 3]
    assert row.tolist() == ["A", found.keys[3], found.identities[3], *(-found.points[3])]
