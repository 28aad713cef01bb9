"""The SimAM-ResNet and its pooling compared with counts and the reference formula."""

import math

import pytest
import torch
from networks import count_parameters, settle

from avsv.nnet.audio.simam_resnet import ReLUAttentiveStatsPooling, SimAMResNet


def test_simam_resnet_parameters_and_map():
    with torch.device("meta"):
        net = SimAMResNet(depth=34)
        assert (count_parameters(net), count_parameters(net.trunk), count_parameters(net.pool)) == (
            25_213_760,
            21_275_840,
            1_316_224,
        )
        assert net.pool.output_dim == 10_240
        assert count_parameters(SimAMResNet(depth=100)) == 50_232_896
        assert net.trunk(torch.zeros(1, 200, 80))[0].shape == (1, 512, 10, 25)


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("scalar", [False, True])
def test_relu_attention_equals_the_reference_formula(context, scalar):
    """Softmax of an nn.Sequential with explicitly repeated statistics, and raw moments in float64."""
    pool = settle(ReLUAttentiveStatsPooling(4, 3, context, scalar, variance_range=(1e-4, 1e4)).double())
    frames = torch.randn(2, 4, 7, dtype=torch.float64)
    seen = frames
    if context:
        mean, deviation = frames.mean(2, keepdim=True), frames.var(2, keepdim=True).clamp(1e-4, 1e4).sqrt()
        seen = torch.cat([frames, mean.expand(-1, -1, 7), deviation.expand(-1, -1, 7)], dim=1)
    plain = torch.nn.BatchNorm1d(3).double().eval()
    plain.load_state_dict(pool.norm.state_dict())
    attention = torch.nn.Sequential(pool.hidden, torch.nn.ReLU(), plain, pool.score, torch.nn.Softmax(dim=2))(seen)
    mean = (frames * attention).sum(2)
    deviation = ((frames**2 * attention).sum(2) - mean**2).clamp(1e-4, 1e4).sqrt()
    torch.testing.assert_close(pool(frames), torch.cat([mean, deviation], dim=1), rtol=1e-9, atol=1e-10)


def test_relu_attention_clamps_the_variance():
    pooled = ReLUAttentiveStatsPooling(2).eval()(torch.full((1, 2, 5), 3.0))
    assert pooled[0].tolist() == pytest.approx([3, 3, math.sqrt(1e-5), math.sqrt(1e-5)], rel=1e-5)
