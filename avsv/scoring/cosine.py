"""Cosine scores of trials."""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 8192  # trials at a time: two gathered blocks fit into the cache, and memory is bounded


def cosine_scores(
    enroll: NDArray[np.float32], test: NDArray[np.float32], enroll_rows: NDArray, test_rows: NDArray
) -> NDArray[np.float64]:
    """Inner products (N,) of pairs of rows, accumulated in double precision.

    Args:
        enroll: (U, D) vectors of length 1.
        test: (V, D) vectors of length 1, possibly the same array.
        enroll_rows, test_rows: (N,) rows of the pairs.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
        >>> cosine_scores(x, x, np.array([0, 1]), np.array([1, 1])).round(6).tolist()
        [0.6, 1.0]
    """
    scores = np.empty(len(enroll_rows))
    for start in range(0, len(scores), _BLOCK):
        part = slice(start, start + _BLOCK)
        pairs = enroll[enroll_rows[part]], test[test_rows[part]]
        np.einsum("nd,nd->n", *pairs, dtype=np.float64, out=scores[part])
    return scores
