"""Series of temporal weights on one common grid of frames."""

import torch
from torch import Tensor


def _centre_frames(count: Tensor, position: Tensor, index: Tensor) -> Tensor:
    """Weights of linear interpolation at positions in frames, constant beyond the first and the last valid frame."""
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
    # Not a matrix product, which autocast would round.
    return (weights * series.unsqueeze(1)).sum(dim=2) / weights.sum(dim=2)


def to_common_grid(series: Tensor, mask: Tensor | None, frames: int) -> Tensor:
    """A series at another number of frames, without knowledge of times: adaptive average pooling of its valid frames.

    A series of fewer frames than the grid is interpolated linearly.

    Args:
        series: (B, T).
        mask: (B, T) boolean, the valid frames of a row first; None means that all are.
        frames: T_c, frames of the grid.

    Returns:
        (B, T_c), in at least float32.

    Raises:
        ValueError: shapes do not fit.

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
    between = _centre_frames(counts, (bins + 0.5) * counts / frames - 0.5, index).to(series.dtype)
    return _combine(torch.where(counts < frames, between, inside), series, mask)


def to_frame_times(
    series: Tensor, mask: Tensor | None, times: Tensor, duration: float, period: float = 0.010, offset: float = 0.0125
) -> Tensor:
    """A regular series on the grid of other frames at known times, as audio weights on the grid of video frames.

    Every frame of the grid stands for the time between the midpoints to its neighbours (to the ends of the window for
    the first and the last one) and gets the mean of the series' frames whose centre lies there. Where that time is
    shorter than the series' period, or holds no frame, the series is interpolated linearly at its middle.

    Args:
        series: (B, T) whose frame i is centred at ``offset + i * period`` seconds after the start of the window.
        mask: (B, T) boolean, the valid frames of a row first; None means that all are.
        times: (T_c,) or (B, T_c) centres of the grid's frames in seconds, increasing.
        duration: length of the window in seconds.
        period: of the series, in seconds.
        offset: of its first frame's centre, in seconds; the defaults are those of Fbank features.

    Returns:
        (B, T_c), in at least float32.

    Raises:
        ValueError: shapes do not fit.

    Example (frames at 25 a second hold four or three Fbank frames each):
        >>> times = (torch.arange(3) + 0.5) / 25
        >>> to_frame_times(torch.arange(10.0).unsqueeze(0), None, times, duration=0.12).tolist()
        [[1.0, 4.5, 8.0]]
    """
    counts = _valid_counts(series, mask)
    if times.ndim not in (1, 2) or (times.ndim == 2 and times.shape[0] != series.shape[0]):
        raise ValueError(f"alignment: times of shape {tuple(times.shape)}, expected (T_c,) or (B, T_c)")
    series = series.to(torch.promote_types(series.dtype, torch.float32))
    # Times in float64: a frame's centre that lies on an edge must not fall to one side or the other by rounding.
    times = torch.atleast_2d(times.to(series.device, torch.float64))
    ends = times.new_zeros(times.shape[0], 1)
    edges = torch.cat([ends, (times[:, 1:] + times[:, :-1]) / 2, ends + duration], dim=1).unsqueeze(2)
    start, end = (edges[:, :-1] - offset) / period, (edges[:, 1:] - offset) / period
    index = torch.arange(series.shape[1], device=series.device)
    tolerance = 1e-6
    inside = (start - tolerance <= index) & (index < end - tolerance) & (index < counts)
    between = _centre_frames(counts, (start + end) / 2, index)
    narrow = (end - start < 1.0 - tolerance) | ~inside.any(dim=2, keepdim=True)
    return _combine(torch.where(narrow, between, inside.to(between.dtype)).to(series.dtype), series, mask)
