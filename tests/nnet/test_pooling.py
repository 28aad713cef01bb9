"""Pooling over time compared with explicit loops, closed forms and worked examples."""

import contextlib
import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy, pearsonr, spearmanr
from torch import nn
from torch.nn import functional

from avsv.nnet.audio.simam_resnet import ReLUAttentiveStatsPooling
from avsv.nnet.pooling import (
    AttentiveStatsPooling,
    TemporalAveragePooling,
    TemporalStatsPooling,
    WeightEnhancedStatsPooling,
    build_pooling,
    enhance_logits,
    weighted_mean_std,
)

POOLINGS = ["tap", "tstp", "sap", "asp", "we_asp", "we_asp_literal"]


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


def test_oracle_pooling_is_the_mean_of_what_has_worth():
    frames = torch.randn(2, 6, 8, dtype=torch.float64)
    worth = torch.rand(2, 8, dtype=torch.float64)
    worth[:, 5:] = 0
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, 4:] = False
    pooled = build_pooling("oracle", 6, 4, True)(frames, mask, worth)
    for row, count in enumerate((8, 4)):
        expected = np.average(frames[row, :, :count], axis=1, weights=worth[row, :count])
        np.testing.assert_allclose(pooled[row], expected, atol=3e-4)
    everywhere = build_pooling("oracle", 6, 4, True)(frames, mask, torch.ones_like(worth))
    torch.testing.assert_close(everywhere, build_pooling("tap", 6, 4, True)(frames, mask))
    nowhere = build_pooling("oracle", 6, 4, True)(frames, mask, torch.zeros_like(worth))
    torch.testing.assert_close(nowhere, everywhere)


@pytest.mark.parametrize("by_frame", [False, True])
@pytest.mark.parametrize("channels", [3, 1, None])
def test_gradient_of_weighted_statistics(by_frame, channels):
    """The gradient written by hand, compared with that of autograd on the definition."""

    def plain(frames, weights):
        weights = torch.full_like(frames, 1 / 7) if weights is None else weights
        mean = (weights * frames).sum(dim=2)
        return mean, (weights * (frames - mean.unsqueeze(2)) ** 2).sum(dim=2).clamp(min=1e-7).sqrt()

    frames = torch.randn(2, 3, 7, dtype=torch.float64)
    frames[1, 2] = 0.5  # no deviation
    frames = frames.transpose(1, 2).contiguous().transpose(1, 2) if by_frame else frames
    logits = torch.randn(2, channels or 1, 7, dtype=torch.float64)
    factors, gradients = torch.randn(2, 2, 3, dtype=torch.float64), []
    for function in (weighted_mean_std, plain):
        given, scores = frames.clone().requires_grad_(), logits.clone().requires_grad_()
        found = torch.stack(function(given, scores.softmax(dim=2) if channels else None))
        (found * factors).sum().backward()
        gradients.append((found, given.grad, scores.grad))
        with torch.no_grad():
            torch.testing.assert_close(torch.stack(function(given, scores.softmax(2) if channels else None)), found)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


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


@pytest.fixture(params=["float32", "autocast"])
def precision(request):
    """Plain float32, or float32 under bfloat16 autocast."""
    if request.param == "float32":
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _all(logits):
    return torch.ones(logits.shape[0], 1, logits.shape[2], dtype=torch.bool)


def _channels(*salience, channels=3, dtype=torch.float32):
    """Logits with equal channels."""
    return torch.tensor(salience, dtype=dtype).expand(1, channels, -1)


def _logits(mean, spread, batch=64, channels=32, length=100, dtype=torch.float32):
    """Random logits with a given mean and a given temporal deviation of their mean over channels."""
    salience = torch.randn(batch, 1, length, dtype=dtype)
    salience = (salience - salience.mean(dim=2, keepdim=True)) / salience.std(dim=2, unbiased=False, keepdim=True)
    own = torch.randn(batch, channels, length, dtype=dtype)
    return mean + spread * salience + own - own.mean(dim=1, keepdim=True)


def _restated(e, literal):
    """Equations 2-4, after the shift of the gauge, one utterance and frame at a time in plain Python."""
    rows = []
    for utterance in e.double():
        salience = [float(frame.mean()) for frame in utterance.T]
        mean = sum(salience) / len(salience)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in salience) / len(salience))
        shift = 0.0 if literal else max(mean, 3 * deviation) - mean
        columns = []
        for frame, x in zip(utterance.T, salience, strict=True):
            target = (mean + shift) * (1 + math.tanh((x - mean) / deviation))
            columns.append((frame + shift) * target / (x + shift))
        rows.append(torch.stack(columns, dim=1))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("salience", "literal", "enhanced", "attention"),
    [
        ((1, 2, 3), True, (0.317903, 2, 3.682097), (0.028339, 0.152374, 0.819287)),
        ((1, 2, 3), False, (0.389351, 2.449490, 4.509629), (0.014200, 0.111427, 0.874373)),
        ((-3, -2, -1), True, (-0.317903, -2, -3.682097), (0.819287, 0.152374, 0.028339)),
        ((-3, -2, -1), False, (0.389351, 2.449490, 4.509629), (0.014200, 0.111427, 0.874373)),
        ((4, 5, 6), True, (0.794759, 5, 9.205241), (0.000219, 0.014695, 0.985086)),
        ((4, 5, 6), False, (0.794759, 5, 9.205241), (0.000219, 0.014695, 0.985086)),
        ((1, 2, 3, 4, 5, 9), True, (0.713374, 1.401622, 2.523885, 4, 5.476115, 7.837020), None),
    ],
)
def test_enhancement_by_hand(precision, salience, literal, enhanced, attention):
    logits = _channels(*map(float, salience))
    with precision:
        values, _ = enhance_logits(logits, _all(logits), literal)
    for channel in values[0]:
        assert channel.tolist() == pytest.approx(enhanced, abs=2e-6)
        if attention:
            assert channel.softmax(dim=0).tolist() == pytest.approx(attention, abs=1e-6)


@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize("mean", [0.7, 3.0, 8.0])
def test_enhancement_equals_the_equations_written_out(mean, literal):
    logits = _logits(mean, 0.4, batch=2, channels=5, length=12, dtype=torch.float64)
    values, _ = enhance_logits(logits, _all(logits), literal)
    torch.testing.assert_close(values, _restated(logits, literal), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("mean", "spread"), [(2.0, 0.4), (5.0, 1.0), (20.0, 2.0), (8.0, 0.05)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 5e-14), (torch.float32, 5e-6)])
def test_gauge_equals_the_literal_form_where_that_is_safe(precision, mean, spread, dtype, tolerance):
    logits = _logits(mean, spread, dtype=dtype)
    logits = logits[logits.mean(dim=1).amin(dim=1) >= 0.1 * logits.mean(dim=(1, 2))]
    assert len(logits) > 20
    with precision:
        gauge, literal = (enhance_logits(logits, _all(logits), x)[0] for x in (False, True))
    assert gauge.dtype == dtype
    assert ((gauge - literal).abs() / literal.abs().clamp(min=1.0)).max() < tolerance


AWKWARD = {
    "zero": torch.zeros(2, 4, 9),
    "constant": torch.full((2, 4, 9), -1.7),
    "one frame": torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(1)),
    "negative": -5 + torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(2)),
    "far off": 1e4 + torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(3)),
    "tiny": 1e-6 * torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(4)),
    "around zero": torch.tensor([[[-1.0, 1.0, 0.0]]]),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_enhancement_of_awkward_logits_is_finite(precision, name):
    logits = AWKWARD[name].clone().requires_grad_()
    with precision:
        enhanced, weights = enhance_logits(logits, _all(logits))
        attention = enhanced.softmax(dim=2)
        (attention * torch.linspace(-1, 1, logits.shape[2]) + weights.unsqueeze(1) ** 2).sum().backward()
    for values in (enhanced, weights, attention, logits.grad):
        assert values.dtype == torch.float32 and values.isfinite().all()
    assert ((weights >= 0) & (weights <= 2)).all()


@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize(("mean", "spread"), [(0.4, 0.1), (4.0, 0.7)])
def test_padding_changes_neither_attention_nor_weights(precision, literal, mean, spread):
    logits = _logits(mean, spread, batch=8)
    padded = functional.pad(logits, (0, 37), value=123.0)
    valid = (torch.arange(137) < 100).expand(8, 1, -1)
    with precision:
        alone, weights = enhance_logits(logits, _all(logits), literal)
        together, padded_weights = enhance_logits(padded, valid, literal)
        attention = together.masked_fill(~valid, float("-inf")).softmax(dim=2)
    # The rounding error of a large logit is larger than that of a small one.
    tolerance = 2e-7 * max(1.0, alone.abs().max().item() / 3)
    assert (attention[:, :, :100] - alone.softmax(dim=2)).abs().max() < tolerance
    assert (attention[:, :, 100:] == 0).all() and (padded_weights[:, 100:] == 0).all()
    torch.testing.assert_close(padded_weights[:, :100], weights, rtol=0, atol=5e-6)


MEANS, SPREADS = [-20.0, -5.0, -1.0, 0.0, 0.3, 1.0, 5.0, 20.0], [0.05, 0.3, 1.0, 2.0]


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("spread", SPREADS)
def test_enhancement_keeps_the_order_of_the_frames(precision, mean, spread):
    logits = _logits(mean, spread, batch=4)
    with precision:
        enhanced, weights = enhance_logits(logits, _all(logits))
    for before, after, weight in zip(logits.mean(dim=1), enhanced.mean(dim=1), weights, strict=True):
        assert spearmanr(before, weight).statistic == pytest.approx(1.0, abs=1e-4)
        assert spearmanr(before, after).statistic == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("spread", SPREADS)
def test_ratio_of_enhanced_to_plain_logits_is_bounded(precision, mean, spread):
    logits = _logits(mean, spread, batch=16)
    with precision:
        enhanced, _ = enhance_logits(logits, _all(logits))
    # The slope over channels of one frame is the ratio.
    own, enhanced_own = (x - x.mean(dim=1, keepdim=True) for x in (logits, enhanced))
    ratio = (own * enhanced_own).sum(dim=1) / (own**2).sum(dim=1)
    assert ratio.min() > 0 and ratio.max() < 2
    if mean < 3 * spread:
        assert ratio.max() <= 1.335


@pytest.mark.parametrize("mean", MEANS)
def test_mean_of_the_enhanced_logits_is_the_enhanced_mean(precision, mean):
    logits = _logits(mean, 1.0)
    with precision:
        enhanced, weights = enhance_logits(logits, _all(logits))
    level = logits.mean(dim=(1, 2)).clamp(min=3 * logits.mean(dim=1).std(dim=1, unbiased=False)[0].item())
    torch.testing.assert_close(enhanced.mean(dim=1), level.unsqueeze(1) * weights, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("mean", [-2.0, 0.5, 8.0])
@pytest.mark.parametrize("scale", [0.03, 7.0])
def test_enhancement_scales_with_the_logits(precision, mean, scale):
    logits = _logits(mean, 0.8)
    with precision:
        enhanced, scaled = (enhance_logits(x, _all(logits))[0] for x in (logits, scale * logits))
    torch.testing.assert_close(scaled, scale * enhanced, rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("shift", [-30.0, -1.0, 1.0])
def test_attention_of_the_shifted_regime_ignores_a_constant(precision, shift):
    """Here the mean is below three deviations before and after."""
    for dtype, tolerance in ((torch.float64, 1e-14), (torch.float32, 1e-5)):
        logits = _logits(0.3, 0.8, dtype=dtype)
        with precision:
            before, after = (enhance_logits(x, _all(logits))[0].softmax(dim=2) for x in (logits, logits + shift))
        assert (before - after).abs().max() < tolerance


def test_enhanced_weights_have_the_moments_of_the_specification():
    """For Gaussian saliences: mean 0.9995 and deviation 0.630; also for a strong common logit with a large mean."""
    logits = _logits(20.0, 0.5, batch=400)
    enhanced, weights = enhance_logits(logits, _all(logits))
    assert weights.mean().item() == pytest.approx(1.0, abs=2e-3)
    assert weights.std().item() == pytest.approx(0.630, abs=3e-3)
    entropies = [
        torch.distributions.Categorical(logits=x.mean(dim=1)).entropy().mean().item() for x in (logits, enhanced)
    ]
    assert entropies[0] == pytest.approx(4.48, abs=0.02) and 1.9 < entropies[1] < 2.4


def test_literal_form_fails_where_the_mean_is_small():
    """The reason for the other mode: enhanced logits in the hundreds, and a reversed order for a negative mean."""
    logits = _logits(0.5, 1.0)
    assert enhance_logits(logits, _all(logits), literal=True)[0].abs().max() > 400
    assert enhance_logits(logits, _all(logits))[0].abs().max() < 40
    logits = _logits(-5.0, 0.5, batch=1)
    enhanced, _ = enhance_logits(logits, _all(logits), literal=True)
    assert spearmanr(logits.mean(dim=1)[0], enhanced.mean(dim=1)[0]).statistic == pytest.approx(-1.0, abs=1e-4)


@pytest.mark.parametrize("mode", ["gauge", "literal"])
def test_weight_enhanced_pooling_equals_its_parts(mode):
    pool = WeightEnhancedStatsPooling(6, 4, mode=mode).double()
    frames, mask = torch.randn(3, 6, 9, dtype=torch.float64), torch.arange(9) < torch.tensor([[9], [4], [1]])
    pooled, weights = pool.pool_with_weights(frames, mask)
    torch.testing.assert_close(pooled, pool(frames, mask), rtol=0, atol=0)
    for row, count in enumerate((9, 4, 1)):
        valid = frames[row : row + 1, :, :count]
        enhanced, expected = enhance_logits(pool.logits(valid), _all(valid), mode == "literal")
        attention = enhanced.softmax(dim=2)
        mean = (attention * valid).sum(dim=2)
        deviation = ((attention * valid**2).sum(dim=2) - mean**2).clamp(min=1e-7).sqrt()
        torch.testing.assert_close(pooled[row : row + 1], torch.cat([mean, deviation], dim=1), rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(weights[row, :count], expected[0])
        assert (weights[row, count:] == 0).all()


def test_weight_enhanced_pooling_by_name():
    assert type(build_pooling("asp", 6, 4, True)) is AttentiveStatsPooling
    for name, mode in (("we_asp", "gauge"), ("we_asp_literal", "literal")):
        pool = build_pooling(name, 1536, 128, False)
        assert type(pool) is WeightEnhancedStatsPooling and pool.mode == mode
        assert sum(p.numel() for p in pool.parameters()) == 394_880


def test_weight_enhanced_pooling_under_autocast(precision):
    """The layers may round to bfloat16, but the enhancement, weights and statistics are computed in float32."""
    pool, frames = WeightEnhancedStatsPooling(32, 16), torch.randn(4, 32, 50)
    mask = torch.arange(50) < torch.tensor([[50], [40], [7], [1]])
    with precision:
        pooled, weights = pool.pool_with_weights(frames, mask)
        (pooled.sum() + (weights**2).sum()).backward()
    assert pooled.dtype == weights.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in pool.parameters())
    count = mask.sum(dim=1, keepdim=True)
    mean = weights.sum(dim=1, keepdim=True) / count
    assert ((mean - 1).abs() < 0.1).all() and (weights[3, 0] - 1).abs() < 1e-6
    torch.testing.assert_close(pooled, pool(frames, mask), rtol=0.05, atol=0.05)


def figures_by_loops(pool, frames, lengths):
    """The figures of attentive pooling, an utterance and a channel at a time."""
    entropies, means, stds, moved, along = [], [], [], [], []
    for utterance, length in zip(frames, lengths, strict=True):
        logits = pool.logits(utterance[None, :, :length])
        acting = plain = logits[0].softmax(dim=1)
        if isinstance(pool, WeightEnhancedStatsPooling):
            valid = torch.ones(1, 1, length, dtype=torch.bool)
            enhanced, series = enhance_logits(logits, valid, pool.mode == "literal")
            acting = enhanced[0].softmax(dim=1)
            if length > 2:
                along.append(pearsonr(series[0].numpy(), acting.mean(dim=0).numpy())[0])
            moved += [
                sum(abs(a - p) for a, p in zip(*rows, strict=True)) / 2 for rows in zip(acting, plain, strict=True)
            ]
        if length > 1:
            entropies += [entropy(row.numpy()) / math.log(length) for row in acting]
            salience = logits[0].mean(dim=0).numpy()
            means.append(salience.mean())
            stds.append(salience.std())
    found = {"attention_entropy": entropies, "attention_mean": means, "attention_std": stds}
    if moved:
        found |= {"enhancement_moved": moved, "series_correlation": along}
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("kind", ["asp", "we_asp", "we_asp_literal", "relu"])
def test_figures_equal_explicit_loops(kind):
    torch.manual_seed(3)
    pool = ReLUAttentiveStatsPooling(6, 4).double() if kind == "relu" else _pooling(kind)
    pool.eval()
    nn.init.normal_(pool.score.weight, std=2.0)
    lengths = [9, 5, 1, 7, 2]
    frames = torch.randn(5, 6, 9, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor(lengths).unsqueeze(1)
    with torch.no_grad():
        figures = {name: value.item() for name, value in pool.figures(frames, mask).items()}
        assert figures == pytest.approx(figures_by_loops(pool, frames, lengths), rel=1e-6)
        whole = {name: value.item() for name, value in pool.figures(frames).items()}
        assert whole == pytest.approx(figures_by_loops(pool, frames, [9] * 5), rel=1e-6)


def test_figures_of_attention_that_is_the_same_everywhere():
    pool = _pooling("we_asp")
    nn.init.zeros_(pool.score.weight)
    figures = pool.figures(torch.randn(3, 6, 8, dtype=torch.float64))
    assert figures["attention_entropy"].item() == pytest.approx(1.0)
    assert figures["attention_std"].item() == pytest.approx(0.0, abs=1e-9)
    assert figures["enhancement_moved"].item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", ["tap", "tstp"])
def test_a_fixed_rule_has_no_figures(name):
    assert _pooling(name).figures(torch.randn(2, 6, 4, dtype=torch.float64)) == {}


@pytest.mark.parametrize("name", ["asp", "we_asp"])
def test_figures_of_a_single_frame_say_nothing_of_attention(name):
    assert (
        not {"attention_entropy", "series_correlation"} & _pooling(name).figures(torch.randn(2, 6, 1).double()).keys()
    )
