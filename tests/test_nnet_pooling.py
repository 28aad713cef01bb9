"""Pooling over time against explicit loops, closed forms and worked numbers."""

import math

import pytest
import torch
from torch.nn import functional

from avsv.nnet.pooling import AttentiveStatsPooling, TemporalAveragePooling, TemporalStatsPooling, build_pooling

POOLINGS = ["tap", "tstp", "asp"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _pooling(name, channels=6, context=True):
    return build_pooling(name, channels, bottleneck=4, context=context).double()


@pytest.mark.parametrize("channels, context, plain", [(512, 262_784, 131_712), (1536, 788_096, 394_880)])
def test_attention_parameters(channels, context, plain):
    for with_context, count in ((True, context), (False, plain)):
        pool = AttentiveStatsPooling(channels, 128, with_context)
        assert sum(p.numel() for p in pool.parameters()) == count


def test_attention_parameters_of_a_wide_input():
    assert sum(p.numel() for p in AttentiveStatsPooling(5120, 128, True).parameters()) == 2_626_688
    assert sum(p.numel() for p in AttentiveStatsPooling(5120, 128, False).parameters()) == 1_315_968


def test_attention_by_hand():
    """Logits (0, 0, ln 2) on h = (1, 2, 3): attention (1/4, 1/4, 1/2), mean 2.25, deviation 0.829156."""
    pool = AttentiveStatsPooling(1, bottleneck=1, context=False)
    pool.logits = lambda frames, mask: torch.tensor([[[0.0, 0.0, math.log(2.0)]]])
    mean, deviation = pool(torch.tensor([[[1.0, 2.0, 3.0]]]))[0].tolist()
    assert mean == pytest.approx(2.25) and deviation == pytest.approx(0.829156, abs=1e-6)


@pytest.mark.parametrize("context", [True, False])
def test_attention_equals_an_explicit_loop(context):
    pool, length = _pooling("asp", context=context), 5
    frames = torch.randn(2, 6, length, dtype=torch.float64)
    lengths = [5, 3]
    mask = torch.arange(length) < torch.tensor(lengths).unsqueeze(1)
    pooled = pool(frames, mask)
    for utterance, count in zip(range(2), lengths, strict=True):
        valid = frames[utterance, :, :count]
        statistics = torch.cat([valid.mean(dim=1), valid.var(dim=1, unbiased=False).clamp(min=1e-7).sqrt()])
        logits = []
        for t in range(count):
            inputs = torch.cat([valid[:, t], statistics]) if context else valid[:, t]
            hidden = torch.tanh(pool.hidden.weight[:, :, 0] @ inputs + pool.hidden.bias)
            logits.append(pool.score.weight[:, :, 0] @ hidden + pool.score.bias)
        attention = torch.stack(logits, dim=1).softmax(dim=1)
        mean = (attention * valid).sum(dim=1)
        variance = (attention * valid**2).sum(dim=1) - mean**2
        torch.testing.assert_close(pooled[utterance], torch.cat([mean, variance.sqrt()]), rtol=1e-8, atol=1e-10)


def test_attention_with_constant_logits_is_statistics_pooling():
    pool = AttentiveStatsPooling(3, 4)
    torch.nn.init.zeros_(pool.score.weight)
    frames = torch.randn(2, 3, 7)
    expected = torch.cat([frames.mean(dim=2), frames.std(dim=2, unbiased=False)], dim=1)
    torch.testing.assert_close(pool(frames), expected)


def test_attention_ignores_a_constant_added_to_a_channel():
    pool, frames = _pooling("asp"), torch.randn(2, 6, 9, dtype=torch.float64)
    before = pool(frames)
    pool.score.bias.data += torch.randn(6, dtype=torch.float64) * 10
    torch.testing.assert_close(pool(frames), before)


def test_deviation_keeps_its_digits_on_a_large_mean():
    frames = (1000.0 + 0.01 * torch.tensor([-1.0, 1.0, -1.0, 1.0])).view(1, 1, 4)
    assert AttentiveStatsPooling(1, 1)(frames)[0, 1].item() == pytest.approx(0.01, rel=0.05)


def test_statistics_pooling_is_unbiased():
    frames = torch.randn(3, 4, 6, dtype=torch.float64)
    expected = torch.cat([frames.mean(dim=2), (frames.var(dim=2) + 1e-7).sqrt()], dim=1)
    torch.testing.assert_close(TemporalStatsPooling(4)(frames), expected)
    torch.testing.assert_close(TemporalAveragePooling(4)(frames), frames.mean(dim=2))


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_changes_nothing(name):
    pool, frames = _pooling(name), torch.randn(1, 6, 8, dtype=torch.float64)
    padded = functional.pad(frames, (0, 5), value=float("nan"))
    mask = torch.arange(13).unsqueeze(0) < 8
    torch.testing.assert_close(pool(padded, mask), pool(frames), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", POOLINGS)
def test_a_single_frame_gives_finite_values_and_gradients(name):
    pool, frames = _pooling(name), torch.randn(2, 6, 1, dtype=torch.float64, requires_grad=True)
    pooled = pool(frames)
    pooled.sum().backward()
    assert pooled.shape == (2, pool.output_dim)
    assert pooled.isfinite().all() and frames.grad.isfinite().all()
    torch.testing.assert_close(pooled[:, :6], frames[:, :, 0])


@pytest.mark.parametrize("name", POOLINGS)
def test_half_precision_statistics_are_computed_in_full(name):
    pool, frames = build_pooling(name, 6, 4, True), (300 * torch.randn(1, 6, 50)).half()
    torch.testing.assert_close(pool(frames), pool(frames.float()))


@pytest.mark.parametrize("name", POOLINGS)
def test_no_valid_frame_is_an_error(name):
    with pytest.raises(ValueError, match="no valid frame"):
        _pooling(name)(torch.zeros(2, 6, 3).double(), torch.tensor([[True, True, True], [False, False, False]]))
