"""UMAP of a few hundred points: all distances are computed, and only the repulsion is approximated.

Source: McInnes, Healy and Melville 2018, "UMAP: Uniform Manifold Approximation and Projection for Dimension
Reduction", arXiv:1802.03426, sections 3 and 4.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.seeding import generator_for

Array = NDArray[np.float64]

_LARGEST_STEP = 4.0  # per coordinate of a single pull or push
_REPULSIONS = 5  # points that are pushed away for each attraction
_NEAREST = 1e-3  # squared distance below which repulsion does not increase


def umap(points: ArrayLike, neighbors: int = 5, min_dist: float = 0.1, epochs: int = 500, seed: int = 0) -> Array:
    """Map points to the plane so that near neighbors remain near.

    Args:
        points: (N, D), compared by Euclidean distance.
        neighbors: size of a neighborhood including the point itself, as in the authors' program; at most N.
        min_dist: approximate minimum distance of points in the plane.
        epochs: epochs of the stochastic gradient descent, which starts in the plane of the principal components.
        seed: seed of the draws.

    Returns:
        (N, 2).

    Raises:
        ValueError: fewer than three points.
    """
    points = np.asarray(points, dtype=np.float64)
    graph = neighbor_graph(points, neighbors)
    a, b = curve_of(min_dist)
    placed = _principal_plane(points)
    rng = generator_for(seed, "umap")
    heads, tails = np.nonzero(graph)
    chances = graph[heads, tails] / graph.max()
    for epoch in range(epochs):
        drawn = rng.random(len(heads)) < chances
        pulls, pulled = heads[drawn], tails[drawn]
        apart = placed[pulls] - placed[pulled]
        squared = np.maximum((apart**2).sum(axis=1), 1e-12)
        pull = -2 * a * b * squared ** (b - 1) / (1 + a * squared**b)
        steps = np.clip(pull[:, None] * apart, -_LARGEST_STEP, _LARGEST_STEP)

        pushed = np.repeat(pulls, _REPULSIONS)
        others = rng.integers(len(points), size=len(pushed))
        away = placed[pushed] - placed[others]
        squared = (away**2).sum(axis=1)
        push = 2 * b / ((_NEAREST + squared) * (1 + a * squared**b))
        pushes = np.clip(push[:, None] * away, -_LARGEST_STEP, _LARGEST_STEP)

        rate = 1 - epoch / epochs
        # Each edge is in the graph in both directions, so the other end is moved by the reverse edge.
        np.add.at(placed, pulls, rate * steps)
        np.add.at(placed, pulled, -rate * steps)
        np.add.at(placed, pushed, rate * pushes)
    return placed


def neighbor_graph(points: ArrayLike, neighbors: int) -> Array:
    """Symmetric weights (N, N) in [0, 1] of the fuzzy neighborhoods.

    For each point, the nearest neighbor has weight 1 and all neighbors have a total weight of log2(neighbors); the two
    weights w and v of a pair are combined to w + v - w v.

    Example (a square):
        >>> neighbor_graph([[0, 0], [0, 1], [1, 0], [1, 1]], 3).tolist()[0]
        [0.0, 1.0, 1.0, 0.0]
    """
    from scipy.spatial.distance import cdist

    points = np.asarray(points, dtype=np.float64)
    count = len(points)
    if count < 3:
        raise ValueError(f"{count} points have no neighborhoods: use at least 3")
    neighbors = min(neighbors, count)
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : neighbors - 1]
    beyond = np.take_along_axis(distances, nearest, axis=1)
    beyond -= beyond[:, :1]
    views = np.zeros((count, count))
    np.put_along_axis(views, nearest, np.exp(-beyond / _scales(beyond, np.log2(neighbors))[:, None]), axis=1)
    return views + views.T - views * views.T


def _scales(beyond: Array, wanted: float) -> Array:
    """For each row, the scale at which exp(-beyond / scale) sums to ``wanted``, by bisection."""
    low, high = np.zeros(len(beyond)), np.full(len(beyond), 1e-3 + 1e3 * beyond.max())
    for _ in range(80):
        middle = (low + high) / 2
        above = np.exp(-beyond / np.maximum(middle, 1e-12)[:, None]).sum(axis=1) > wanted
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    # If more neighbors than that are equally near, there is no such scale.
    return np.maximum(high, 1e-3 * max(float(beyond.mean()), 1e-12))


def curve_of(min_dist: float, spread: float = 1.0) -> tuple[float, float]:
    """Fit a and b of 1 / (1 + a d^2b) to the intended weights of distances d in the plane.

    Example:
        >>> [round(x, 2) for x in curve_of(0.1)]
        [1.58, 0.9]
    """
    from scipy.optimize import curve_fit

    distance = np.linspace(0, 3 * spread, 300)
    wanted = np.where(distance < min_dist, 1, np.exp(-(distance - min_dist) / spread))
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), distance, wanted)
    return float(a), float(b)


def _principal_plane(points: Array) -> Array:
    """The points projected onto their two principal axes, with a width of 10 on the first one."""
    centered = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    axes = axes[:2]
    largest = np.abs(axes).argmax(axis=1, keepdims=True)
    plane = centered @ (axes * np.sign(np.take_along_axis(axes, largest, axis=1))).T
    plane = np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))
    return 10 * plane / max(float(np.ptp(plane[:, 0])), 1e-12)
