"""ECAPA-TDNN compared with the parameter counts of reference implementations and plain functional code."""

import pytest
import torch
from networks import count_parameters, settle
from torch import nn
from torch.nn import functional

from avsv.data.threads import one_thread
from avsv.losses.margin import AAMSoftmax
from avsv.nnet import convolution, normalization, pooling
from avsv.nnet.audio import ecapa_tdnn
from avsv.nnet.audio.ecapa_tdnn import ECAPATDNN, Res2Conv, SERes2Block


@pytest.mark.parametrize(
    ("options", "small", "large"),
    [
        ({"context": False}, 5_797_504, 14_263_872),
        ({}, 6_190_720, 14_657_088),
        ({"final_norm": True}, 6_191_104, 14_657_472),
        ({"res2_scale": (16, 8, 8)}, 6_150_880, 14_497_536),
        ({"res2_scale": (8, 16, 8)}, 6_150_880, 14_497_536),
        ({"extra_conv": True}, 6_203_200, 14_706_624),
    ],
)
def test_ecapa_parameters(options, small, large):
    with torch.device("meta"):
        assert count_parameters(ECAPATDNN(channels=512, **options)) == small
        assert count_parameters(ECAPATDNN(channels=1024, **options)) == large


@pytest.mark.parametrize(
    ("channels", "stem", "block", "block16", "aggregate"),
    [(512, 206_336, 746_432, 706_592, 2_360_832), (1024, 412_672, 2_713_344, 2_553_792, 4_720_128)],
)
def test_ecapa_parameters_by_part(channels, stem, block, block16, aggregate):
    with torch.device("meta"):
        net = ECAPATDNN(channels=channels, res2_scale=(16, 8, 8))
    assert count_parameters(net.stem) == stem
    assert [count_parameters(part) for part in net.blocks] == [block16, block, block]
    assert count_parameters(net.aggregate) == aggregate
    assert count_parameters(net.pool) == 788_096
    assert [count_parameters(part) for part in net.embed] == [6_144, 590_016]


def test_ecapa_keeps_the_frame_rate():
    net = ECAPATDNN(channels=512).eval()
    frames, mask = net.frames(torch.randn(1, 198, 80))
    assert frames.shape == (1, 1536, 198) and mask is None


@pytest.mark.parametrize("dense_sum", [False, True])
@pytest.mark.parametrize("extra_conv", [False, True])
def test_ecapa_equals_functional_code(dense_sum, extra_conv):
    """The whole network written with torch.nn.functional, using the weights of the module."""
    net = ECAPATDNN(
        feature_dim=10, channels=16, embedding_dim=7, res2_scale=(4, 8, 2), aggregate_channels=12, se_channels=5,
        attention_channels=3, final_norm=True, dense_sum=dense_sum, extra_conv=extra_conv,
    )  # fmt: skip
    net = settle(net.double())
    weights = net.state_dict()

    def norm(x, name):
        values = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *values, eps=1e-5)

    def unit(x, name, dilation=1):
        kernel = weights[f"{name}.conv.weight"]
        padding = dilation * (kernel.shape[2] - 1) // 2
        hidden = functional.conv1d(x, kernel, weights[f"{name}.conv.bias"], padding=padding, dilation=dilation)
        return norm(hidden.relu(), f"{name}.norm")

    def linear(x, name):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    inputs = torch.randn(3, 21, 10, dtype=torch.float64)
    x = unit(inputs.transpose(1, 2), "stem")
    outputs = []
    for index, (scale, dilation) in enumerate(((4, 2), (8, 3), (2, 4))):
        name = f"blocks.{index}"
        source = x + sum(outputs) if dense_sum else ([x, *outputs])[-1]
        splits = unit(source, f"{name}.reduce").split(16 // scale, dim=1)
        results, last = [], 0
        for n in range(scale if extra_conv and index == 0 else scale - 1):
            last = unit(splits[n] + last, f"{name}.res2.convs.{n}", dilation)
            results.append(last)
        hidden = unit(torch.cat([*results, *splits[len(results) :]], dim=1), f"{name}.expand")
        gate = linear(linear(hidden.mean(dim=2), f"{name}.se.squeeze").relu(), f"{name}.se.excite").sigmoid()
        outputs.append(source + hidden * gate.unsqueeze(2))
    kernel, bias = weights["aggregate.weight"], weights["aggregate.bias"]
    frames = functional.conv1d(torch.cat(outputs, dim=1), kernel, bias).relu()
    torch.testing.assert_close(net.frames(inputs)[0], frames, rtol=1e-10, atol=1e-10)
    expected = norm(linear(norm(net.pool(frames), "embed.0"), "embed.1"), "embed.2")
    torch.testing.assert_close(net(inputs), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pooling", ["asp", "tstp", "tap"])
def test_ecapa_padding_changes_nothing(pooling):
    net = settle(ECAPATDNN(channels=32, aggregate_channels=24, embedding_dim=8, pooling=pooling).double())
    inputs = torch.randn(2, 60, 80, dtype=torch.float64)
    lengths = torch.tensor([60, 37])
    mask = torch.arange(60) < lengths.unsqueeze(1)
    garbage = inputs.masked_fill(~mask.unsqueeze(2), float("nan"))
    together = net(garbage, mask)
    alone = torch.cat([net(inputs[n : n + 1, :length]) for n, length in enumerate(lengths.tolist())])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


def test_ecapa_padding_changes_nothing_in_training():
    """Batch statistics, running statistics and gradients, between 20 and 33 frames of padding."""
    inputs = torch.randn(4, 30, 80, dtype=torch.float64)
    padded, mask = functional.pad(inputs, (0, 0, 0, 20)), torch.ones(4, 50, dtype=torch.bool)
    mask[:, 30:] = False
    nets = []
    for data in ((inputs, None), (padded, mask)):
        torch.manual_seed(1)
        net = ECAPATDNN(channels=16, aggregate_channels=24, embedding_dim=8).double()
        net(*data).square().sum().backward()
        nets.append(net)
    for (name, one), other in zip(nets[0].state_dict().items(), nets[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-7, atol=1e-9)


def test_res2_splits_see_growing_contexts():
    """A change of one frame in split 0 spreads by one dilation per split and never reaches the last split."""
    conv = Res2Conv(8, scale=4, dilation=2).eval()
    frames = torch.randn(1, 8, 21)
    changed = frames.clone()
    changed[0, :2, 10] += 1.0
    reached = [(part != 0).any(dim=(0, 1)).nonzero().flatten().tolist() for part in
               (conv(changed) - conv(frames)).split(2, dim=1)]  # fmt: skip
    for split, steps in zip(reached[:3], (1, 2, 3), strict=True):
        assert split and set(split) <= set(range(10 - 2 * steps, 11 + 2 * steps, 2))
    assert reached[3] == []


@pytest.mark.parametrize("scale", [(8, 8), (8, 8, 7), (8, 1, 8)])
def test_ecapa_refuses_impossible_scales(scale):
    with pytest.raises(ValueError, match="res2_scale"):
        ECAPATDNN(channels=64, res2_scale=scale)


def test_wrong_features_are_named():
    with pytest.raises(ValueError, match=r"features of shape \(1, 5, 40\), expected \(B, T, 80\)"):
        ECAPATDNN(channels=16)(torch.zeros(1, 5, 40))


def test_block_is_the_identity_where_its_branch_is_silent():
    block = SERes2Block(16, scale=8, dilation=3, se_channels=4).eval()
    torch.nn.init.zeros_(block.expand.norm.weight)
    frames = torch.randn(2, 16, 30)
    torch.testing.assert_close(block(frames), frames)


def _losses(dtype, steps=200):
    """The losses of a training of a small network on random features."""
    torch.manual_seed(0)
    net = ECAPATDNN(
        feature_dim=10, channels=16, embedding_dim=8, res2_scale=(2, 4, 2), aggregate_channels=24, se_channels=4,
        attention_channels=4,
    ).to(dtype)  # fmt: skip
    classifier = AAMSoftmax(8, 4).to(dtype)
    optimizer = torch.optim.SGD([*net.parameters(), *classifier.parameters()], lr=3e-4, momentum=0.9)
    means, losses = torch.randn(4, 1, 10, dtype=dtype), []
    for _ in range(steps):
        labels = torch.randint(4, (16,))
        inputs = means[labels] + torch.randn(16, 16, 10, dtype=dtype)
        loss, _ = classifier(net(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def _plain_mean_std(frames, weights, least_variance):
    weights = torch.full_like(frames, 1 / frames.shape[2]) if weights is None else weights
    mean = (weights * frames).sum(dim=2)
    variance = (weights * (frames - mean.unsqueeze(2)) ** 2).sum(dim=2)
    return mean, variance.clamp(min=least_variance).sqrt()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-2)])
def test_losses_of_200_steps_are_those_of_plain_layers(monkeypatch, dtype, tolerance):
    """The layout of the frames and the gradients written by hand change the losses by no more than rounding."""
    with one_thread():
        fast = _losses(dtype)
    plain = nn.Conv1d(1, 1, 1).forward.__func__
    monkeypatch.setattr(convolution.FrameConv, "forward", lambda self, frames: plain(self, frames.contiguous()))
    monkeypatch.setattr(pooling, "convolve", lambda frames, *args: functional.conv1d(frames.contiguous(), *args))
    monkeypatch.setattr(pooling, "weighted_mean_std", _plain_mean_std)
    monkeypatch.setattr(ecapa_tdnn, "concatenate", lambda parts: torch.cat(parts, dim=1))
    monkeypatch.setattr(ecapa_tdnn, "split", lambda frames, count: frames.chunk(count, dim=1))
    monkeypatch.setattr(
        normalization.MaskedBatchNorm1d, "forward", lambda self, frames, mask=None: nn.BatchNorm1d.forward(self, frames)
    )
    monkeypatch.setattr(normalization.MaskedBatchNorm1d, "_check_input_dim", nn.BatchNorm1d._check_input_dim)
    with one_thread():
        expected = _losses(dtype)
    assert expected[-20:].mean() < expected[:20].mean() / 2
    torch.testing.assert_close(fast, expected, rtol=tolerance, atol=tolerance)


def test_frames_stay_in_the_layout_of_the_inputs():
    """A copy to the other layout and back in every layer would be slower than either."""
    net, strides = ECAPATDNN(channels=32, aggregate_channels=24), []

    def note(_module, _inputs, output):
        strides.append(output.stride())
        output.register_hook(lambda gradient: strides.append(gradient.stride()))

    for module in net.modules():
        if isinstance(module, (convolution.FrameConv, normalization.MaskedBatchNorm1d)):
            module.register_forward_hook(note)
    net(torch.randn(2, 20, 80)).square().sum().backward()
    assert len(strides) > 2 * (1 + 3 * 9) + 3
    assert all(stride[1] == 1 for stride in strides)
