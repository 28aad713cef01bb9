"""RawNet3 compared with counts, formulas, scipy and published weights."""

import math

import numpy as np
import pytest
import torch
from networks import count_parameters
from scipy import signal

from avsv.nnet.audio.rawnet3 import AlphaFeatureMapScaling, MaxPool, RawNet3, SincFilterbank, SincFrontEnd


def test_rawnet3_parameters_and_shapes():
    """voxceleb_trainer also counts two batch normalizations that it never applies: of the filters, of the embedding."""
    unused = 2 * 256 + 2 * 256
    with torch.device("meta"):
        net = RawNet3()
        assert count_parameters(net) + unused == 16_280_322
        assert count_parameters(RawNet3(scalar_attention=True)) + unused == 16_082_307
        assert count_parameters(RawNet3(sinc_stride=48)) == count_parameters(net)
        assert count_parameters(RawNet3(final_norm=True)) == count_parameters(net) + 2 * 256
        assert [count_parameters(block) for block in net.blocks] == [2_976_384, 3_500_672, 3_500_672]
        assert count_parameters(net.aggregate) == 4_720_128 and count_parameters(net.pool) == 788_352
        assert count_parameters(net.embed[1]) == 786_688 and count_parameters(net.front.sinc) == 256
        frames, shapes = torch.zeros(SincFrontEnd(256, 251, 10).sinc(torch.zeros(1, 48_240)).shape), []
        for part in net.blocks:
            shapes.append(tuple(frames.shape[1:]))
            frames = part(frames)[0]
        assert [*shapes, tuple(frames.shape[1:])] == [(256, 4799), (1024, 959), (1024, 319), (1024, 319)]
    small = RawNet3(channels=8, aggregate_channels=4, res2_scale=2)
    assert small.frames(torch.zeros(1, 48_240))[0].shape == (1, 4, 319)


def test_sinc_filters_equal_windowed_sinc_formulas():
    """cos(2 pi f t) integrated from the low to the high edge, Hamming window, divided by the width of the band."""
    bank = SincFilterbank(8, 31, stride=4).double()
    mels = np.linspace(2595 * np.log10(1 + 30 / 700), 2595 * np.log10(1 + 7900 / 700), 5)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    time = np.arange(-15, 16) / 16000
    window = signal.get_window("hamming", 31, fftbins=False)
    filters = bank.filters().detach().numpy()[:, 0]
    for band in range(4):
        low, high = 50 + hertz[band], min(100 + hertz[band + 1], 8000)
        grid = (np.arange(4000) + 0.5) / 4000 * (high - low) + low
        phase = 2 * np.pi * grid[:, None] * time
        np.testing.assert_allclose(filters[band], np.cos(phase).mean(0) * window, atol=2e-6)
        np.testing.assert_allclose(filters[4 + band], np.sin(phase).mean(0) * window, atol=2e-6)


def test_a_tone_excites_the_filters_of_its_band():
    front = SincFilterbank(256, 251, stride=10)
    time = torch.arange(16000) / 16000
    for hertz in (300.0, 1000.0, 3000.0):
        energy = front(torch.sin(2 * math.pi * hertz * time)[None]).square().mean(dim=(0, 2))
        best = (energy[:128] + energy[128:]).argmax().item()
        low = 50 + front.low[best, 0].item()
        assert low - 60 <= hertz <= low + 50 + front.band[best, 0].item() + 60


def test_front_end_equals_scipy():
    """Pre-emphasis as a filter that starts with a reflected sample, and filters by scipy's correlation."""
    front = SincFrontEnd(8, 31, 4).double()
    front.norm.weight.data.fill_(1.5)
    front.norm.bias.data.fill_(0.2)
    samples = np.random.default_rng(0).normal(0, 0.1, 300)
    emphasised = np.append(samples[0] - 0.97 * samples[1], signal.lfilter([1, -0.97], [1], samples)[1:])
    normed = (emphasised - emphasised.mean()) / np.sqrt(emphasised.var() + 1e-4) * 1.5 + 0.2
    filters = front.sinc.filters().detach().numpy()[:, 0]
    expected = np.log(np.abs([signal.correlate(normed, kernel, "valid")[::4] for kernel in filters]) + 1e-6)
    expected -= expected.mean(axis=1, keepdims=True)
    found, mask = front(torch.from_numpy(samples)[None])
    assert mask is None
    np.testing.assert_allclose(found[0].detach().numpy(), expected, rtol=1e-7, atol=1e-9)


def test_feature_map_scaling_adds_alpha_before_the_gate():
    scaling = AlphaFeatureMapScaling(2)
    torch.nn.init.zeros_(scaling.gate.weight)
    torch.nn.init.zeros_(scaling.gate.bias)
    frames = torch.tensor([[[1.0, 3.0], [0.0, -1.0]]])
    assert scaling(frames).tolist() == [[[1.0, 2.0], [0.5, 0.0]]]


def test_max_pool_drops_groups_that_are_not_whole():
    pool = MaxPool(3)
    mask = torch.arange(8) < torch.tensor([[8], [5], [2]])
    pooled, left = pool(torch.arange(24.0).view(3, 1, 8), mask)
    assert left.tolist() == [[True, True], [True, False], [False, False]]
    assert pooled.flatten().tolist() == [2, 5, 10, 0, 0, 0]


def _published_rawnet3(net, classes=3):
    """A state dict with the keys of the model of voxceleb_trainer, random values and the shapes of ``net``."""
    width, aggregate = net.front.sinc.low.shape[0] * 2, net.aggregate.out_channels
    channels, dim = 4 * width, net.embedding_dim
    shapes = {
        "preprocess.0.flipped_filter": (1, 1, 2), "preprocess.1.weight": (1,), "preprocess.1.bias": (1,),
        "conv1.filterbank.low_hz_": (width // 2, 1), "conv1.filterbank.band_hz_": (width // 2, 1),
        "conv1.filterbank.window_": (125,), "conv1.filterbank.n_": (1, 125),
        "layer4.weight": (aggregate, 3 * channels, 1), "layer4.bias": (aggregate,),
        "attention.0.weight": (128, 3 * aggregate, 1), "attention.0.bias": (128,),
        "attention.3.weight": (aggregate, 128, 1), "attention.3.bias": (aggregate,),
        "fc6.weight": (dim, 2 * aggregate), "fc6.bias": (dim,),
    }  # fmt: skip
    norms = {"bn1": width, "attention.2": 128, "bn5": 2 * aggregate, "bn6": dim}
    for layer in (1, 2, 3):
        before = width if layer == 1 else channels
        for name, shape in (("conv1", (channels, before, 1)), ("conv3", (channels, channels, 1))):
            shapes |= {f"layer{layer}.{name}.weight": shape, f"layer{layer}.{name}.bias": (channels,)}
            norms[f"layer{layer}.bn{name[-1]}"] = channels
        for split in range(7):
            shapes[f"layer{layer}.convs.{split}.weight"] = (channels // 8, channels // 8, 3)
            shapes[f"layer{layer}.convs.{split}.bias"] = (channels // 8,)
            norms[f"layer{layer}.bns.{split}"] = channels // 8
        shapes |= {f"layer{layer}.afms.alpha": (channels, 1), f"layer{layer}.afms.fc.weight": (channels, channels)}
        shapes[f"layer{layer}.afms.fc.bias"] = (channels,)
    shapes["layer1.residual.0.weight"] = (channels, width, 1)
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    for name, size in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.rand(size) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return {f"__S__.{key}": value for key, value in state.items()} | {"__L__.weight": torch.randn(classes, dim)}


def test_rawnet3_reads_published_weights():
    net = RawNet3(channels=32, aggregate_channels=24, embedding_dim=6)
    state = _published_rawnet3(net)
    converted = net.convert_published(state)
    net.load_state_dict(converted, strict=True)
    torch.testing.assert_close(net.front.sinc.band, state["__S__.conv1.filterbank.band_hz_"])
    torch.testing.assert_close(net.blocks[1].res2.convs[6].norm.running_var, state["__S__.layer2.bns.6.running_var"])
    torch.testing.assert_close(net.blocks[2].afms.gate.weight, state["__S__.layer3.afms.fc.weight"])
    torch.testing.assert_close(net.pool.norm.bias, state["__S__.attention.2.bias"])
    bare = {key.removeprefix("__S__."): value for key, value in state.items() if key.startswith("__S__.")}
    assert net.convert_published(bare).keys() == converted.keys()
    normed = RawNet3(channels=32, aggregate_channels=24, embedding_dim=6, final_norm=True)
    normed.load_state_dict(normed.convert_published(state), strict=True)
    with pytest.raises(ValueError, match=r"fc6\.weight of shape \(6, 48\): not a weight of this network"):
        RawNet3(channels=32, aggregate_channels=24, embedding_dim=5).convert_published(state)
    with pytest.raises(ValueError, match="contains no weights of this network"):
        net.convert_published({"__L__.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"RawNet3: .* more: missing from the file"):
        net.convert_published({"bn5.weight": bare["bn5.weight"]})
    del bare["layer2.afms.alpha"]
    with pytest.raises(ValueError, match=r"RawNet3: blocks\.1\.afms\.alpha: missing from the file"):
        net.convert_published(bare)
