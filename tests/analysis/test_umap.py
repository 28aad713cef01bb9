"""UMAP compared with the equations of its paper."""

import numpy as np
import pytest
from scipy.optimize import brentq

from avsv.analysis.umap import curve_of, neighbor_graph, umap


def test_neighbor_graph_is_that_of_the_paper():
    """For each point: weight 1 for the nearest, log2(k) in total, exponential in between; then the fuzzy union."""
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
    # For equally near points there is no scale, and none is needed.
    assert np.isfinite(umap(np.repeat(np.eye(3), 7, axis=0))).all()
    with pytest.raises(ValueError, match="2 points have no neighborhoods"):
        neighbor_graph(points[:2], 5)
