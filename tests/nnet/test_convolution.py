"""Convolution in either layout compared with PyTorch's layers."""

import pytest
import torch
from torch import nn

from avsv.nnet.convolution import FrameConv, concatenate, is_by_frame, split


@pytest.mark.parametrize("options", [{}, {"padding": 4, "dilation": 2}, {"stride": 3}, {"groups": 2}, {"bias": False}])
@pytest.mark.parametrize("by_frame", [False, True])
def test_frame_conv_equals_conv1d(options, by_frame):
    conv, plain = FrameConv(4, 6, 5, **options).double(), nn.Conv1d(4, 6, 5, **options).double()
    plain.load_state_dict(conv.state_dict())
    frames = torch.randn(3, 4, 20, dtype=torch.float64)
    given = frames.transpose(1, 2).contiguous().transpose(1, 2) if by_frame else frames
    frames = frames.clone().requires_grad_()
    given.requires_grad_()
    found, expected = conv(given), plain(frames)
    assert is_by_frame(found) == by_frame
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(given.grad, frames.grad)
    torch.testing.assert_close(conv.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("by_frame", [False, True])
def test_split_and_concatenate_keep_frames_and_layout(by_frame):
    frames = torch.randn(3, 6, 5)
    frames = frames.transpose(1, 2).contiguous().transpose(1, 2) if by_frame else frames
    parts = split(frames, 3)
    for part, expected in zip(parts, frames.chunk(3, dim=1), strict=True):
        assert torch.equal(part, expected)
    again = concatenate(parts)
    assert torch.equal(again, frames) and is_by_frame(again) == by_frame
