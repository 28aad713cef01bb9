"""The audio ResNet, its normalization and SimAM compared with counts, loops and functional code."""

import numpy as np
import pytest
import torch
from networks import count_parameters, settle
from torch.nn import functional

from avsv.nnet.audio.resnet import BasicBlock, MaskedBatchNorm2d, ResNet, SimAM


def test_resnet_parameters():
    with torch.device("meta"):
        assert count_parameters(ResNet(depth=34)) == 6_634_336
        assert count_parameters(ResNet(depth=18)) == 4_105_440


def test_masked_norm_equals_plain_norm_on_the_valid_columns():
    norm, plain = MaskedBatchNorm2d(3).double(), torch.nn.BatchNorm2d(3).double()
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    out = norm(maps, mask)
    columns = torch.cat([maps[0], maps[1, :, :, :2]], dim=2)
    expected = plain(columns.unsqueeze(0))[0]
    torch.testing.assert_close(torch.cat([out[0], out[1, :, :, :2]], dim=2), expected)
    torch.testing.assert_close(norm.running_var, plain.running_var)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    assert (out[1, :, :, 2:] == 0).all()


def test_simam_of_constant_and_of_four_cells():
    assert SimAM()(torch.full((1, 2, 3, 5), 7.0)).flatten().tolist() == pytest.approx([7 * 0.622459] * 30, abs=1e-5)
    out = SimAM()(torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]], dtype=torch.float64)).flatten().tolist()
    assert out[:3] == [0, 0, 0] and out[3] == pytest.approx(2.9727, abs=5e-5)
    assert SimAM()(torch.full((1, 1, 1, 1), 7.0)).item() == pytest.approx(7 * 0.622459, abs=1e-5)


def test_simam_equals_a_loop_over_maps():
    maps = torch.randn(2, 3, 4, 6, dtype=torch.float64) + 3.0
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    out = SimAM()(maps.masked_fill(~mask[:, None, None], 0.0), mask)
    for sample, length in enumerate((6, 4)):
        for channel in range(3):
            cells = maps[sample, channel, :, :length].numpy()
            gate = (cells - cells.mean()) ** 2 / (4 * (cells.var(ddof=1) + 1e-4)) + 0.5
            expected = cells / (1 + np.exp(-gate))
            np.testing.assert_allclose(out[sample, channel, :, :length].numpy(), expected, rtol=1e-10)
    assert (out[1, :, :, 4:] == 0).all()


@pytest.mark.parametrize("simam", [False, True])
@pytest.mark.parametrize(("stride", "channels"), [(1, 3), (1, 5), (2, 5)])
def test_basic_block_equals_functional_code(stride, channels, simam):
    block = settle(BasicBlock(3, channels, stride, simam).double())
    maps = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    found = block(maps)

    def norm(x, layer):
        return functional.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)

    hidden = norm(functional.conv2d(maps, block.conv1.weight, stride=stride, padding=1), block.norm1).relu()
    hidden = norm(functional.conv2d(hidden, block.conv2.weight, padding=1), block.norm2)
    if simam:
        variance, mean = torch.var_mean(hidden, dim=(2, 3), keepdim=True)
        hidden = hidden * ((hidden - mean) ** 2 / (4 * (variance + 1e-4)) + 0.5).sigmoid()
    if (stride, channels) != (1, 3):
        maps = norm(functional.conv2d(maps, block.shortcut.weight, stride=stride), block.shortcut_norm)
    torch.testing.assert_close(found, (hidden + maps).relu(), rtol=1e-10, atol=1e-12)
