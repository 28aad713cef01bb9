"""SpeechBrain's ECAPA-TDNN: its operations one by one on single utterances, and its own code where it is installed."""

import math

import numpy as np
import pytest
import torch
from networks import count_parameters, settle
from torch import Tensor
from torch.nn import functional

from avsv.nnet.audio.speechbrain_ecapa import SpeechBrainECAPA, reflected
from avsv.seeding import generator_for

SIZES = {"mel_bins": 20, "channels": 16, "embedding_dim": 6, "aggregate_channels": 24}
LENGTHS = [1, 399, 700, 8000, 12_345]


def published_names(net: SpeechBrainECAPA) -> dict[str, Tensor]:
    """The weights under SpeechBrain's names, in its shapes."""
    found = {}
    for key, value in net.state_dict().items():
        head, _, rest = key.partition(".")
        if head == "blocks":
            number, part, rest = rest.split(".", 2)
            name = f"blocks.{int(number) + 1}."
            if part == "se":
                layer, kind = rest.split(".")
                found[f"{name}se_block.{'conv1' if layer == 'squeeze' else 'conv2'}.conv.{kind}"] = (
                    value[:, :, None] if kind == "weight" else value
                )
                continue
            if part == "res2":
                _, index, rest = rest.split(".", 2)
                name += f"res2net_block.blocks.{index}."
            else:
                name += {"reduce": "tdnn1.", "expand": "tdnn2."}[part]
        elif head in ("stem", "aggregate"):
            name = {"stem": "blocks.0.", "aggregate": "mfa."}[head]
        elif head == "pool":
            layer, kind = rest.split(".")
            found[
                {"hidden": "asp.tdnn.conv.conv.", "norm": "asp.tdnn.norm.norm.", "score": "asp.conv.conv."}[layer]
                + kind
            ] = value
            continue
        else:
            layer, kind = rest.split(".")
            name = "asp_bn.norm." if layer == "0" else "fc.conv."
            found[name + kind] = value[:, :, None] if name + kind == "fc.conv.weight" else value
            continue
        layer, kind = rest.split(".")
        found[f"{name}{layer}.{layer}.{kind}"] = value
    return found


def energies(samples: np.ndarray, bins: int) -> np.ndarray:
    """Decibels (T, bins) less their mean, in numpy."""
    padded = np.pad(samples, 200)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.stack([abs(np.fft.rfft(padded[at : at + 400] * window)) ** 2 for at in range(0, len(samples) + 1, 160)])
    mels = np.linspace(0, 2595 * math.log10(1 + 8000 / 700), bins + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    slopes = (np.arange(201)[:, None] * 40.0 - hertz[1:-1]) / (hertz[1:-1] - hertz[:-2])
    filters = np.minimum(slopes + 1, 1 - slopes).clip(min=0)
    found = 10 * np.log10((power @ filters).clip(min=1e-10))
    found = found.clip(min=found.max() - 80)
    return found - found.mean(axis=0)


def embedding(weights: dict[str, Tensor], samples: np.ndarray) -> Tensor:
    """The embedding of one utterance, step by step from weights under SpeechBrain's names."""

    def norm(frames: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            weights[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return ((frames - mean[:, None]) / (var[:, None] + 1e-5).sqrt()) * weight[:, None] + bias[:, None]

    def tdnn(frames: Tensor, name: str, dilation: int = 1) -> Tensor:
        weight = weights[f"{name}.conv.conv.weight"]
        reach = dilation * (weight.shape[2] - 1) // 2
        if reach:
            padded = np.pad(frames.numpy(), ((0, 0), (reach, reach)), mode="reflect" if frames.shape[1] > 1 else "edge")
            frames = torch.from_numpy(padded)
        frames = functional.conv1d(frames[None], weight, weights[f"{name}.conv.conv.bias"], dilation=dilation)[0]
        return norm(frames.relu(), f"{name}.norm.norm")

    def vector(frames: Tensor, name: str) -> Tensor:
        return functional.conv1d(frames[None], weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"])[0]

    def statistics(frames: Tensor, shares: Tensor) -> Tensor:
        mean = (shares * frames).sum(dim=1)
        deviation = (shares * (frames - mean[:, None]) ** 2).sum(dim=1).clamp(min=1e-12).sqrt()
        return torch.cat([mean, deviation])

    bins = weights["blocks.0.conv.conv.weight"].shape[1]
    frames = tdnn(torch.from_numpy(energies(samples, bins).T.copy()), "blocks.0")
    outputs = []
    for block in (1, 2, 3):
        name, begin = f"blocks.{block}", frames
        first, *parts = tdnn(frames, f"{name}.tdnn1").chunk(8)
        done = [first]
        for index, part in enumerate(parts):
            done.append(tdnn(part + done[-1] if index else part, f"{name}.res2net_block.blocks.{index}", block + 1))
        frames = tdnn(torch.cat(done), f"{name}.tdnn2")
        gate = vector(
            vector(frames.mean(dim=1, keepdim=True), f"{name}.se_block.conv1").relu(), f"{name}.se_block.conv2"
        )
        frames = begin + frames * gate.sigmoid()
        outputs.append(frames)
    frames = tdnn(torch.cat(outputs), "mfa")
    count = frames.shape[1]
    context = statistics(frames, torch.full_like(frames, 1 / count))[:, None].expand(-1, count)
    hidden = tdnn(torch.cat([frames, context]), "asp.tdnn").tanh()
    pooled = statistics(frames, vector(hidden, "asp.conv").softmax(dim=1))
    return vector(norm(pooled[:, None], "asp_bn.norm"), "fc")[:, 0]


@pytest.mark.parametrize("length", LENGTHS)
def test_embeddings_equal_the_published_operations(length):
    net = settle(SpeechBrainECAPA(**SIZES).double())
    published = published_names(net)
    other = SpeechBrainECAPA(**SIZES).double().eval()
    other.load_state_dict(other.convert_published({**published, "classifier.weight": torch.zeros(3, 6)}))
    samples = generator_for(length, "samples").normal(0, 0.1, length)
    with torch.inference_mode():
        found = other(torch.from_numpy(samples)[None])[0]
        torch.testing.assert_close(found, embedding(published, samples), rtol=1e-5, atol=1e-6)  # filters are float32


def test_a_checkpoint_gives_the_embeddings_of_speechbrain():
    models = pytest.importorskip("speechbrain.lobes.models.ECAPA_TDNN", exc_type=ImportError)
    features = pytest.importorskip("speechbrain.lobes.features", exc_type=ImportError)
    normalization = pytest.importorskip("speechbrain.processing.features", exc_type=ImportError)
    theirs = settle(models.ECAPA_TDNN(80, channels=[64, 64, 64, 64, 192]))
    net = SpeechBrainECAPA(channels=64, aggregate_channels=192).eval()
    net.load_state_dict(net.convert_published(theirs.state_dict()))
    fbank = features.Fbank(n_mels=80)
    centered = normalization.InputNormalization(norm_type="sentence", std_norm=False)
    for length in (2000, 16_000, 40_123):
        samples = 0.1 * torch.randn(1, length)
        with torch.inference_mode():
            wanted = theirs(centered(fbank(samples), torch.ones(1)))[:, 0]
            found = net(samples)
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_parameters():
    """20.8 million, as in the published network."""
    assert count_parameters(SpeechBrainECAPA()) == 20_767_552


def test_utterances_are_reflected_at_their_own_ends():
    frames = torch.randn(4, 3, 9)
    counts = torch.tensor([9, 5, 2, 1])
    found = reflected(frames, 4, torch.arange(9) < counts[:, None])
    for row, count in enumerate(counts.tolist()):
        mode = "reflect" if count > 1 else "edge"
        wanted = np.pad(frames[row, :, :count].numpy(), ((0, 0), (4, 4)), mode=mode)
        np.testing.assert_array_equal(found[row, :, : count + 8], wanted)
    np.testing.assert_array_equal(reflected(frames[:1], 4), found[:1])


def test_weights_of_another_network_are_named():
    net = SpeechBrainECAPA(**SIZES)
    state = published_names(net)
    del state["fc.conv.bias"]
    with pytest.raises(ValueError, match=r"SpeechBrainECAPA: embed.1.bias: missing"):
        net.convert_published(state)
    with pytest.raises(ValueError, match=r"layer1.weight: not part of this network"):
        net.convert_published({**published_names(net), "layer1.weight": torch.zeros(1)})
