"""Padding of series of several lengths."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad(series: Sequence[Tensor | None], length: int, shape: Sequence[int], fill: Tensor) -> tuple[Tensor, Tensor]:
    """Pad B series (T, ...) to one length.

    Args:
        series: the series; None for a missing one.
        length: length of the result, at least that of the longest series.
        shape: shape of one step.
        fill: value under a False mask; the result has its type.

    Returns:
        (B, length, ...) values, and a (B, length) mask that is True for the given values.

    Example:
        >>> pad([torch.ones(2), None], 3, (), torch.tensor(0.0))[0].tolist()
        [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    values = torch.empty(len(series), length, *shape, dtype=fill.dtype)
    mask = torch.zeros(len(series), length, dtype=torch.bool)
    for row, steps in enumerate(series):
        there = 0 if steps is None else len(steps)
        if there:
            values[row, :there] = steps
        values[row, there:] = fill
        mask[row, :there] = True
    return values, mask
