"""Common properties of all audio networks: shapes, padding, half precision, messages."""

import pytest
import torch
from networks import settle, tiny_mobilenet

from avsv.nnet.audio.dvector import DVector
from avsv.nnet.audio.mobilenetv2 import MobileNetV2Audio
from avsv.nnet.audio.rawnet3 import RawNet3
from avsv.nnet.audio.resnet import ResNet
from avsv.nnet.audio.simam_resnet import SimAMResNet
from avsv.nnet.audio.speechbrain_ecapa import SpeechBrainECAPA

POOLINGS = ["asp", "tstp", "tap", "we_asp", "we_asp_literal"]


# A function that builds the network, the lengths of a clip and of a shorter one, and the frame size or None (samples).
TINY = {
    "resnet": (lambda **o: ResNet(depth=18, channels=4, feature_dim=24, embedding_dim=6, **o), 61, 35, 24),
    "simam": (lambda **o: SimAMResNet(channels=4, feature_dim=24, embedding_dim=6, **o), 61, 35, 24),
    "rawnet3": (lambda **o: RawNet3(channels=16, aggregate_channels=12, embedding_dim=6, **o), 4000, 2345, None),
    "mobilenet": (tiny_mobilenet, 61, 35, 32),
    "dvector": (lambda **o: DVector(channels=8, layers=2, embedding_dim=6, **o), 50_000, 30_000, None),
    "speechbrain": (
        lambda **o: SpeechBrainECAPA(mel_bins=16, channels=16, aggregate_channels=12, embedding_dim=6, **o),
        4000,
        2345,
        None,
    ),
}


def _clips(count, length, size):
    shape, scale = ((count, length), 0.1) if size is None else ((count, length, size), 1.0)
    return scale * torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_gives_an_embedding(pooling):
    for name in ("resnet", "simam", "rawnet3"):
        build, length, _, size = TINY[name]
        net = build(pooling=pooling, attention_channels=5).eval()
        embedding = net(_clips(2, length, size).float())
        assert embedding.shape == (2, 6) and embedding.isfinite().all()


@pytest.mark.parametrize("name", TINY)
def test_padding_changes_nothing(name):
    build, length, shorter, size = TINY[name]
    net = settle(build().double())
    inputs = _clips(2, length, size)
    mask = torch.arange(length) < torch.tensor([[length], [shorter]])
    garbage = inputs.clone()
    garbage[~mask] = float("nan")
    alone = torch.cat([net(inputs[:1]), net(inputs[1:, :shorter])])
    torch.testing.assert_close(net(garbage, mask), alone, rtol=1e-9, atol=1e-10)
    full = torch.ones(1, length, dtype=torch.bool)
    # A weighted mean over time adds in another order than a plain one.
    torch.testing.assert_close(net(inputs[:1], full), net(inputs[:1]), rtol=1e-12, atol=1e-13)
    for given in (mask, full.expand(2, -1)):
        frames, valid = net.frames(inputs, given)
        assert valid.shape == (2, frames.shape[2])
        lengths = [net.frames(inputs[:1, : row.sum()])[0].shape[2] for row in given]
        assert valid.sum(dim=1).tolist() == lengths


@pytest.mark.parametrize("name", TINY)
def test_padding_changes_nothing_in_training(name):
    """Batch statistics, running statistics and gradients."""
    build, _, length, size = TINY[name]
    padding = length // 2
    inputs = _clips(3, length, size)
    padded = torch.cat([inputs, _clips(3, padding, size) + 5.0], dim=1)
    mask = (torch.arange(length + padding) < length).expand(3, -1)
    nets = []
    for data in ((inputs, None), (padded, mask)):
        torch.manual_seed(1)
        net = build().double()
        net(*data).square().sum().backward()
        nets.append(net)
    for (key, one), other in zip(nets[0].state_dict().items(), nets[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")
    for (key, one), other in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        scale = one.grad.abs().max().item()
        torch.testing.assert_close(
            one.grad, other.grad, rtol=1e-6, atol=1e-7 * scale + 1e-9, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("name", TINY)
def test_half_precision_gives_finite_embeddings(name):
    build, length, shorter, size = TINY[name]
    net = build()
    mask = torch.arange(length) < torch.tensor([[length], [shorter]])
    with torch.autocast("cpu", torch.bfloat16):
        embedding = net(_clips(2, length, size).float(), mask)
    embedding.float().square().sum().backward()
    assert embedding.isfinite().all() and all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", TINY)
def test_an_utterance_without_a_valid_frame_is_named(name):
    build, length, _, size = TINY[name]
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="an utterance"):
        build().eval()(_clips(2, length, size).float(), mask)


def test_wrong_inputs_and_options_are_named():
    with pytest.raises(ValueError, match=r"ResNet: features of shape \(1, 9, 40\), expected \(B, T, 80\)"):
        ResNet(channels=4)(torch.zeros(1, 9, 40))
    with pytest.raises(ValueError, match=r"samples of shape \(1, 9, 80\), expected \(B, n\)"):
        RawNet3(channels=16)(torch.zeros(1, 9, 80))
    with pytest.raises(ValueError, match="an utterance of 390 samples, at least 391"):
        RawNet3(channels=16)(torch.zeros(1, 390))
    assert RawNet3(channels=16).eval().frames(torch.zeros(1, 391))[0].shape[2] == 1
    with pytest.raises(ValueError, match="channels: 20"):
        RawNet3(channels=20)
    with pytest.raises(ValueError, match=r"strides: \[1, 2\]"):
        MobileNetV2Audio(strides=(1, 2))
    with pytest.raises(ValueError, match="repeats"):
        MobileNetV2Audio(repeats=(1, 2, 3, 3, 2, 0))


def test_networks_say_what_they_take():
    assert (ResNet.takes, SimAMResNet.takes) == ("fbank", "fbank")
    assert (RawNet3.takes, MobileNetV2Audio.takes, DVector.takes) == ("waveform", "log_mel", "waveform")
