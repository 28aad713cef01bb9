"""Backbones against the parameter counts and shapes of reference implementations, and against plain functional code."""

import pytest
import torch
from torch.nn import functional

from avsv.nnet.audio.ecapa_tdnn import ECAPATDNN, Res2Conv, SERes2Block
from avsv.nnet.normalization import MaskedBatchNorm1d
from avsv.nnet.visual.iresnet import IRBlock, IResNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _count(module, trainable_only=False):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def _settle(module):
    """Give batch normalisation running statistics and weights that are not the neutral ones, then go to eval mode."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
            layer.bias.data.normal_(0, 0.5)
            layer.weight.data.uniform_(0.5, 1.5)
    return module.eval()


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
        assert _count(ECAPATDNN(channels=512, **options)) == small
        assert _count(ECAPATDNN(channels=1024, **options)) == large


@pytest.mark.parametrize(
    ("channels", "stem", "block", "block16", "aggregate"),
    [(512, 206_336, 746_432, 706_592, 2_360_832), (1024, 412_672, 2_713_344, 2_553_792, 4_720_128)],
)
def test_ecapa_parameters_by_part(channels, stem, block, block16, aggregate):
    with torch.device("meta"):
        net = ECAPATDNN(channels=channels, res2_scale=(16, 8, 8))
    assert _count(net.stem) == stem
    assert [_count(part) for part in net.blocks] == [block16, block, block]
    assert _count(net.aggregate) == aggregate
    assert _count(net.pool) == 788_096
    assert [_count(part) for part in net.embed] == [6_144, 590_016]


def test_ecapa_keeps_the_frame_rate():
    net = ECAPATDNN(channels=512).eval()
    frames, mask = net.frames(torch.randn(1, 198, 80))
    assert frames.shape == (1, 1536, 198) and mask is None


@pytest.mark.parametrize("dense_sum", [False, True])
@pytest.mark.parametrize("extra_conv", [False, True])
def test_ecapa_equals_functional_code(dense_sum, extra_conv):
    """The whole network written out with torch.nn.functional, from the weights of the module."""
    net = ECAPATDNN(
        feature_dim=10, channels=16, embedding_dim=7, res2_scale=(4, 8, 2), aggregate_channels=12, se_channels=5,
        attention_channels=3, final_norm=True, dense_sum=dense_sum, extra_conv=extra_conv,
    )  # fmt: skip
    net = _settle(net.double())
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
    net = _settle(ECAPATDNN(channels=32, aggregate_channels=24, embedding_dim=8, pooling=pooling).double())
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
    """A change of one frame in split 0 spreads by one dilation a split, and never reaches the last one."""
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


def test_masked_norm_equals_plain_norm_on_the_valid_frames():
    norm, plain = MaskedBatchNorm1d(3).double(), torch.nn.BatchNorm1d(3).double()
    frames = torch.randn(2, 3, 5, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    out = norm(frames, mask)
    rows = torch.cat([frames[0].T, frames[1, :, :2].T])
    torch.testing.assert_close(torch.cat([out[0].T, out[1, :, :2].T]), plain(rows))
    torch.testing.assert_close(norm.running_var, plain.running_var)
    assert (out[1, :, 2:] == 0).all()


def test_iresnet_parameters():
    with torch.device("meta"):
        original = IResNet(image_channels=3, image_height=112, image_width=112)
        assert _count(original.trunk) == 11_179_008
        assert _count(original.trunk) + _count(original.head) == 24_025_600
        assert _count(original.trunk, True) + _count(original.head, True) == 24_025_088
        gray = IResNet()
        assert _count(gray.trunk) == 11_177_856
        assert _count(gray.trunk) + _count(gray.head) == 27_956_608
        assert _count(gray.pool) == 262_784
        assert [_count(part) for part in gray.embed] == [2_048, 524_800]
        assert _count(IResNet(head="gap")) == 11_967_488
        deeper = {
            depth: IResNet(depth=depth, image_channels=3, image_height=112, image_width=112) for depth in (34, 50)
        }
    counts = {depth: _count(net.trunk) + _count(net.head) for depth, net in deeper.items()}
    assert counts == {34: 34_139_328, 50: 43_590_848}


@pytest.mark.parametrize(("side", "map_side"), [(128, 8), (112, 7), (50, 4)])
def test_iresnet_halves_the_map_in_every_stage(side, map_side):
    net = IResNet(channels=4, image_height=side, image_width=side).eval()
    assert net.trunk(torch.zeros(1, 1, side, side)).shape == (1, 32, map_side, map_side)
    assert net(torch.zeros(2, 3, 1, side, side)).shape == (2, 512)


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_block_equals_functional_code(stride):
    block = _settle(IRBlock(3, 5, stride).double())
    bn1, conv1, bn2, prelu, conv2, bn3 = block.residual
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)

    def norm(x, layer):
        return functional.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)

    hidden = functional.conv2d(norm(images, bn1), conv1.weight, padding=1)
    hidden = functional.prelu(norm(hidden, bn2), prelu.weight)
    hidden = norm(functional.conv2d(hidden, conv2.weight, padding=1, stride=stride), bn3)
    conv, bn = block.shortcut
    expected = hidden + norm(functional.conv2d(images, conv.weight, stride=stride), bn)
    torch.testing.assert_close(block(images), expected)


@pytest.mark.parametrize("head", ["arcface", "gap"])
def test_iresnet_padding_changes_nothing(head):
    net = IResNet(channels=4, image_height=32, image_width=32, frame_dim=16, embedding_dim=8, head=head)
    net = _settle(net.double())
    clips = torch.randn(2, 6, 1, 32, 32, dtype=torch.float64)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    garbage = clips.clone()
    garbage[~mask] = float("nan")
    alone = torch.cat([net(clips[:1]), net(clips[1:, :4])])
    torch.testing.assert_close(net(garbage, mask), alone, rtol=1e-10, atol=1e-10)


def test_iresnet_training_statistics_ignore_padding():
    clips = torch.randn(2, 4, 1, 16, 16, dtype=torch.float64)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[:, 4:] = False
    states = []
    for inputs, valid in ((clips, None), (functional.pad(clips, (0, 0, 0, 0, 0, 0, 0, 3), value=5.0), mask)):
        torch.manual_seed(1)
        net = IResNet(channels=4, image_height=16, image_width=16, frame_dim=8).double()
        net(inputs, valid)
        states.append(net.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("channels", [4, 12, 16])
def test_iresnet_gradients_with_few_channels(channels):
    """Strided 1x1 convolutions of fewer than 16 channels stored last end torch 2.11 with a segmentation fault."""
    net = IResNet(channels=channels, image_height=32, image_width=32)
    net(torch.randn(2, 3, 1, 32, 32)).sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    assert not net.head[2].weight.requires_grad and (net.head[2].weight == 1).all()


def test_iresnet_convolutions_start_from_a_normal_of_deviation_a_tenth():
    weights = torch.cat([m.weight.flatten() for m in IResNet(channels=16).trunk.modules() if hasattr(m, "kernel_size")])
    assert weights.std().item() == pytest.approx(0.1, rel=0.01) and abs(weights.mean().item()) < 1e-3


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"features of shape \(1, 5, 40\), expected \(B, T, 80\)"):
        ECAPATDNN(channels=16)(torch.zeros(1, 5, 40))
    with pytest.raises(ValueError, match=r"frames of shape \(1, 2, 3, 8, 8\), expected \(B, T, 1, 32, 32\)"):
        IResNet(channels=4, image_height=32, image_width=32)(torch.zeros(1, 2, 3, 8, 8))


def test_block_is_the_identity_where_its_branch_is_silent():
    block = SERes2Block(16, scale=8, dilation=3, se_channels=4).eval()
    torch.nn.init.zeros_(block.expand.norm.weight)
    frames = torch.randn(2, 16, 30)
    torch.testing.assert_close(block(frames), frames)
