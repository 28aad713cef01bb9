"""IResNet compared with counts, shapes and plain functional code."""

import pytest
import torch
from networks import count_parameters, settle
from torch.nn import functional

from avsv.nnet.visual.iresnet import IRBlock, IResNet


def test_iresnet_parameters():
    with torch.device("meta"):
        original = IResNet(image_channels=3, image_height=112, image_width=112)
        assert count_parameters(original.trunk) == 11_179_008
        assert count_parameters(original.trunk) + count_parameters(original.head) == 24_025_600
        assert (
            count_parameters(original.trunk, trainable_only=True) + count_parameters(original.head, trainable_only=True)
            == 24_025_088
        )
        gray = IResNet()
        assert count_parameters(gray.trunk) == 11_177_856
        assert count_parameters(gray.trunk) + count_parameters(gray.head) == 27_956_608
        assert count_parameters(gray.pool) == 262_784
        assert [count_parameters(part) for part in gray.embed] == [2_048, 524_800]
        assert count_parameters(IResNet(head="gap")) == 11_967_488
        deeper = {
            depth: IResNet(depth=depth, image_channels=3, image_height=112, image_width=112) for depth in (34, 50)
        }
    counts = {depth: count_parameters(net.trunk) + count_parameters(net.head) for depth, net in deeper.items()}
    assert counts == {34: 34_139_328, 50: 43_590_848}


@pytest.mark.parametrize(("side", "map_side"), [(128, 8), (112, 7), (50, 4)])
def test_iresnet_halves_the_map_in_every_stage(side, map_side):
    net = IResNet(channels=4, image_height=side, image_width=side).eval()
    assert net.trunk(torch.zeros(1, 1, side, side)).shape == (1, 32, map_side, map_side)
    assert net(torch.zeros(2, 3, 1, side, side)).shape == (2, 512)


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_block_equals_functional_code(stride):
    block = settle(IRBlock(3, 5, stride).double())
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
    net = settle(net.double())
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
    """Strided 1x1 convolutions with fewer than 16 channels stored last crash torch 2.11 with a segmentation fault."""
    net = IResNet(channels=channels, image_height=32, image_width=32)
    net(torch.randn(2, 3, 1, 32, 32)).sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    assert not net.head[2].weight.requires_grad and (net.head[2].weight == 1).all()


def test_iresnet_convolutions_start_from_a_normal_of_deviation_a_tenth():
    weights = torch.cat([m.weight.flatten() for m in IResNet(channels=16).trunk.modules() if hasattr(m, "kernel_size")])
    assert weights.std().item() == pytest.approx(0.1, rel=0.01) and abs(weights.mean().item()) < 1e-3


def test_wrong_frames_are_named():
    with pytest.raises(ValueError, match=r"frames of shape \(1, 2, 3, 8, 8\), expected \(B, T, 1, 32, 32\)"):
        IResNet(channels=4, image_height=32, image_width=32)(torch.zeros(1, 2, 3, 8, 8))
