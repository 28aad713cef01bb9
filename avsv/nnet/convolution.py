"""Convolution over time of frames in either layout: time or channels adjacent in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FrameConv(nn.Conv1d):
    """Conv1d that keeps the layout of its input in memory.

    ``nn.Conv1d`` first copies frames whose channels are adjacent in memory to the other layout. The convolutions of a
    CPU are faster without: they reorder the other layout themselves, back and forth.

    Args: as ``nn.Conv1d``, with zero padding given as a number.

    Shape:
        - frames: (B, in_channels, T)
        - output: (B, out_channels, T')

    Example:
        >>> frames = torch.zeros(2, 100, 80).transpose(1, 2)
        >>> FrameConv(80, 16, 5, padding=2)(frames).stride()
        (1600, 1, 16)
    """

    def forward(self, frames: Tensor) -> Tensor:
        return convolve(frames, self.weight, self.bias, self.stride[0], self.padding[0], self.dilation[0], self.groups)


def convolve(
    frames: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """``functional.conv1d`` that keeps the layout of the frames in memory, see :class:`FrameConv`."""
    # As maps of height 1, since torch knows only of maps that their channels may be adjacent in memory.
    maps, kernel = frames.unsqueeze(2), weight.unsqueeze(2)
    return functional.conv2d(maps, kernel, bias, (1, stride), (0, padding), (1, dilation), groups).squeeze(2)


def concatenate(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate frames (B, C_i, T) along their channels, in the layout of the parts.

    Example:
        >>> concatenate([torch.zeros(2, 5, 3).transpose(1, 2)] * 2).stride()
        (30, 1, 6)
    """
    return torch.cat([part.unsqueeze(2) for part in parts], dim=1).squeeze(2)


def split(frames: Tensor, count: int) -> list[Tensor]:
    """Split frames (B, C, T) into ``count`` equal parts of their channels; the gradient keeps the layout.

    Example:
        >>> [part.shape for part in split(torch.zeros(2, 6, 5), 2)]
        [torch.Size([2, 3, 5]), torch.Size([2, 3, 5])]
    """
    return [part.squeeze(2) for part in frames.unsqueeze(2).chunk(count, dim=1)]


def is_by_frame(frames: Tensor) -> bool:
    """Whether the channels of frames (B, C, T) are adjacent in memory.

    Example:
        >>> is_by_frame(torch.zeros(2, 3, 5)), is_by_frame(torch.zeros(2, 5, 3).transpose(1, 2))
        (False, True)
    """
    return frames.stride(1) == 1 and not frames.is_contiguous()
