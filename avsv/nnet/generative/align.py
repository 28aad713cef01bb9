"""Alignment of series of temporal weights on a common grid of frames."""

import torch
from torch import Tensor


def _center_frames(count: Tensor, position: Tensor, index: Tensor) -> Tensor:
    """Weights of linear interpolation at positions in frames; constant beyond the first and last valid frames."""
    position = position.clamp(min=0).minimum((count - 1).to(position.dtype))
    return (1.0 - (index - position).abs()).clamp(min=0.0)


def _valid_counts(series: Tensor, mask: Tensor | None) -> Tensor:
    if series.ndim != 2 or (mask is not None and mask.shape != series.shape):
        shape = None if mask is None else tuple(mask.shape)
        raise ValueError(f"alignment: series of shape {tuple(series.shape)} and mask of shape {shape}, expected (B, T)")
    if mask is None:
        return torch.full((1, 1, 1), series.shape[1], device=series.device)
    return mask.sum(dim=1).view(-1, 1, 1)


def _combine(weights: Tensor, series: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None:
        series = series.masked_fill(~mask, 0.0)
    # Not as a matrix product, which autocast would compute in half precision.
    return (weights * series.unsqueeze(1)).sum(dim=2) / weights.sum(dim=2)


def to_common_grid(series: Tensor, mask: Tensor | None, frames: int) -> Tensor:
    """Resample a series to another number of frames by adaptive average pooling of its valid frames.

    A series with fewer frames than the grid is interpolated linearly. Times are not needed.

    Args:
        series: (B, T).
        mask: (B, T) boolean, with the valid frames of a row first; None if all are valid.
        frames: T_c, number of frames of the grid.

    Returns:
        (B, T_c), in at least float32.

    Raises:
        ValueError: shapes do not match.

    Example:
        >>> series, mask = torch.tensor([[1.0, 3.0, 5.0, 9.0, 99.0]]), torch.tensor([[True] * 4 + [False]])
        >>> to_common_grid(series, mask, 2).tolist(), to_common_grid(series[:, :2], None, 4).tolist()
        ([[2.0, 7.0]], [[1.0, 1.5, 2.5, 3.0]])
    """
    counts = _valid_counts(series, mask)
    series = series.to(torch.promote_types(series.dtype, torch.float32))
    index = torch.arange(series.shape[1], device=series.device)
    bins = torch.arange(frames, device=series.device).unsqueeze(1)
    start, end = bins * counts // frames, -(-(bins + 1) * counts // frames)
    inside = ((start <= index) & (index < end)).to(series.dtype)
    between = _center_frames(counts, (bins + 0.5) * counts / frames - 0.5, index).to(series.dtype)
    return _combine(torch.where(counts < frames, between, inside), series, mask)
