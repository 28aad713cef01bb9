"""Normalization with a mask compared with PyTorch's on the valid frames."""

import torch

from avsv.nnet.normalization import MaskedBatchNorm1d


def test_masked_norm_equals_plain_norm_on_the_valid_frames():
    norm, plain = MaskedBatchNorm1d(3).double(), torch.nn.BatchNorm1d(3).double()
    frames = torch.randn(2, 3, 5, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    out = norm(frames, mask)
    rows = torch.cat([frames[0].T, frames[1, :, :2].T])
    torch.testing.assert_close(torch.cat([out[0].T, out[1, :, :2].T]), plain(rows))
    torch.testing.assert_close(norm.running_var, plain.running_var)
    assert (out[1, :, 2:] == 0).all()
