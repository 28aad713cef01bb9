"""Audio networks against the counts and shapes of reference implementations, closed forms and other libraries."""

import math

import numpy as np
import pytest
import torch
from scipy import signal
from torch.nn import functional
from torchvision.models import mobilenetv2

from avsv.nnet.audio.mobilenetv2 import (
    ConvNormReLU6,
    InvertedResidual,
    MatrixAttentionPooling,
    MobileNetV2Audio,
    RunningMoments,
)
from avsv.nnet.audio.rawnet3 import AlphaFeatureMapScaling, MaxPool, RawNet3, SincFilterbank, SincFrontEnd
from avsv.nnet.audio.resnet import BasicBlock, MaskedBatchNorm2d, ResNet, SimAM
from avsv.nnet.audio.simam_resnet import ReLUAttentiveStatsPooling, SimAMResNet

POOLINGS = ["asp", "tstp", "tap", "we_asp", "we_asp_literal"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def _settle(module):
    """Give batch normalisation running statistics and weights that are not the neutral ones, then go to eval mode."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
            layer.bias.data.normal_(0, 0.5)
            layer.weight.data.uniform_(0.5, 1.5)
    return module.eval()


def _tiny_mobilenet(**options):
    net = MobileNetV2Audio(
        feature_dim=32, stem_channels=8, block_channels=(4, 6, 8), expansions=(1, 2, 2), repeats=(1, 2, 2),
        strides=(1, 2, 2), embedding_dim=12, **options,
    )  # fmt: skip
    net.mel_mean.normal_()
    net.mel_std.uniform_(0.5, 2.0)
    return net


# A builder, the length of a clip and of its shorter neighbour, and the size of a frame or None for samples.
TINY = {
    "resnet": (lambda **o: ResNet(depth=18, channels=4, feature_dim=24, embedding_dim=6, **o), 61, 35, 24),
    "simam": (lambda **o: SimAMResNet(channels=4, feature_dim=24, embedding_dim=6, **o), 61, 35, 24),
    "rawnet3": (lambda **o: RawNet3(channels=16, aggregate_channels=12, embedding_dim=6, **o), 4000, 2345, None),
    "mobilenet": (_tiny_mobilenet, 61, 35, 32),
}


def _clips(count, length, size):
    shape, scale = ((count, length), 0.1) if size is None else ((count, length, size), 1.0)
    return scale * torch.randn(shape, dtype=torch.float64)


def test_resnet_parameters():
    with torch.device("meta"):
        assert _count(ResNet(depth=34)) == 6_634_336
        assert _count(ResNet(depth=18)) == 4_105_440


def test_simam_resnet_parameters_and_map():
    with torch.device("meta"):
        net = SimAMResNet(depth=34)
        assert (_count(net), _count(net.trunk), _count(net.pool)) == (25_213_760, 21_275_840, 1_316_224)
        assert net.pool.output_dim == 10_240
        assert _count(SimAMResNet(depth=100)) == 50_232_896
        assert net.trunk(torch.zeros(1, 200, 80))[0].shape == (1, 512, 10, 25)


def test_rawnet3_parameters_and_shapes():
    """voxceleb_trainer also counts two batch normalisations that it never applies: of the filters, of the embedding."""
    unused = 2 * 256 + 2 * 256
    with torch.device("meta"):
        net = RawNet3()
        assert _count(net) + unused == 16_280_322
        assert _count(RawNet3(scalar_attention=True)) + unused == 16_082_307
        assert _count(RawNet3(sinc_stride=48)) == _count(net)
        assert _count(RawNet3(final_norm=True)) == _count(net) + 2 * 256
        assert [_count(block) for block in net.blocks] == [2_976_384, 3_500_672, 3_500_672]
        assert _count(net.aggregate) == 4_720_128 and _count(net.pool) == 788_352
        assert _count(net.embed[1]) == 786_688 and _count(net.front.sinc) == 256
        frames, shapes = torch.zeros(SincFrontEnd(256, 251, 10).sinc(torch.zeros(1, 48_240)).shape), []
        for part in net.blocks:
            shapes.append(tuple(frames.shape[1:]))
            frames = part(frames)[0]
        assert [*shapes, tuple(frames.shape[1:])] == [(256, 4799), (1024, 959), (1024, 319), (1024, 319)]
    small = RawNet3(channels=8, aggregate_channels=4, res2_scale=2)
    assert small.frames(torch.zeros(1, 48_240))[0].shape == (1, 4, 319)


def test_mobilenet_parameters_and_map():
    with torch.device("meta"):
        net = MobileNetV2Audio()
        assert _count(net) == 994_785 and _count(net.pool) == 127_449
        assert _count(MobileNetV2Audio(stem_kernel=3)) == 995_041
        wider = MobileNetV2Audio(repeats=(1, 2, 2, 3, 2, 2))
        assert _count(wider) == 1_786_849
        assert len(net.blocks) == len(wider.blocks) == 12
        maps = []
        net.last.register_forward_hook(lambda module, given, result: maps.append(tuple(result[0].shape[1:])))
        for length in (147, 148, 150, 151):
            assert net.frames(torch.zeros(1, length, 64))[0].shape == (1, 356, 10)
    assert set(maps) == {(356, 4, 10)}


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
    net = _settle(build().double())
    inputs = _clips(2, length, size)
    mask = torch.arange(length) < torch.tensor([[length], [shorter]])
    garbage = inputs.clone()
    garbage[~mask] = float("nan")
    alone = torch.cat([net(inputs[:1]), net(inputs[1:, :shorter])])
    torch.testing.assert_close(net(garbage, mask), alone, rtol=1e-9, atol=1e-10)
    full = torch.ones(1, length, dtype=torch.bool)
    assert torch.equal(net(inputs[:1], full), net(inputs[:1]))
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
    block = _settle(BasicBlock(3, channels, stride, simam).double())
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


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("scalar", [False, True])
def test_relu_attention_equals_the_reference_formula(context, scalar):
    """Softmax of an nn.Sequential over explicitly repeated statistics, raw moments in float64."""
    pool = _settle(ReLUAttentiveStatsPooling(4, 3, context, scalar, variance_range=(1e-4, 1e4)).double())
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


def test_sinc_filters_equal_windowed_sinc_formulas():
    """cos(2 pi f t) integrated from the low to the high edge, Hamming window, divided by the band's width."""
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
    """Pre-emphasis as a filter that starts from a reflected sample, the filters by scipy's correlation."""
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
    """A state dict with the keys of voxceleb_trainer's model, its own random values and the shapes of ``net``."""
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
    with pytest.raises(ValueError, match="none of the network's weights"):
        net.convert_published({"__L__.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"RawNet3: .* more: missing in the file"):
        net.convert_published({"bn5.weight": bare["bn5.weight"]})
    del bare["layer2.afms.alpha"]
    with pytest.raises(ValueError, match=r"RawNet3: blocks\.1\.afms\.alpha: missing in the file"):
        net.convert_published(bare)


@pytest.mark.parametrize(("into", "out", "stride", "expansion"), [(8, 8, 1, 6), (8, 12, 2, 6), (8, 4, 1, 1)])
def test_inverted_residual_equals_torchvision(into, out, stride, expansion):
    ours, theirs = (
        InvertedResidual(into, out, stride, expansion),
        mobilenetv2.InvertedResidual(into, out, stride, expansion),
    )
    _settle(theirs)
    values = iter(theirs.state_dict().values())
    ours.load_state_dict({key: next(values) for key in ours.state_dict()})
    maps = torch.randn(2, into, 10, 13)
    torch.testing.assert_close(ours.eval()(maps)[0], theirs(maps), rtol=1e-5, atol=1e-5)


def test_blocks_make_up_torchvisions_mobilenet():
    """MobileNetV2 for images from these blocks: 3,504,872 parameters with its classifier."""
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    with torch.device("meta"):
        layers, before = [ConvNormReLU6(3, 32, 3, 2)], 32
        for expansion, channels, count, stride in rows:
            for index in range(count):
                layers.append(InvertedResidual(before, channels, stride if index == 0 else 1, expansion))
                before = channels
        layers += [ConvNormReLU6(before, 1280, 1), torch.nn.Linear(1280, 1000)]
        assert _count(*layers) == _count(mobilenetv2.mobilenet_v2()) == 3_504_872


def test_relu6_after_projection():
    maps = torch.randn(4, 3, 5, 5)
    assert (InvertedResidual(3, 4, 1, 2)(maps)[0] < 0).any()
    out = InvertedResidual(3, 4, 1, 2, relu6_after_projection=True)(maps)[0]
    assert (out >= 0).all() and (out <= 6).all()


def test_matrix_attention_equals_the_matrix_product():
    pool = MatrixAttentionPooling(5).double()
    torch.nn.init.normal_(pool.score.bias)
    frames = torch.randn(2, 5, 10, dtype=torch.float64)
    for sample, pooled in zip(frames, pool(frames), strict=True):
        hidden = sample.T @ pool.hidden.weight.T + pool.hidden.bias
        column = torch.where(hidden > 0, hidden, 0.01 * hidden) @ pool.score.weight.T + pool.score.bias
        column = torch.where(column > 0, column, 0.01 * column)
        assert column.shape == (10, 1)
        torch.testing.assert_close(pooled, (sample @ column)[:, 0])


def test_moments_of_chunks_equal_numpy():
    """Bins of large mean and small deviation, chunks of unequal size, an empty one, two workers, padding left out."""
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(1000, 64)) * rng.uniform(0.01, 3, 64) + rng.uniform(-100, 100, 64)).astype(np.float32)
    workers = [RunningMoments(64), RunningMoments(64)]
    frames = torch.from_numpy(features)
    for number, part in enumerate(frames.split([100, 1, 0, 399, 300, 200])):
        padded = torch.full((2, part.shape[0] + 3, 64), float("nan"))
        padded[0, : len(part) // 2] = part[: len(part) // 2]
        padded[1, : len(part) - len(part) // 2] = part[len(part) // 2 :]
        workers[number % 2].update(padded, ~padded.isnan().any(dim=2))
    workers[0].merge(workers[1])
    workers[0].merge(RunningMoments(64))
    assert workers[0].count == 1000
    exact = features.astype(np.float64)
    np.testing.assert_allclose(workers[0].mean, exact.mean(axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(workers[0].variance, exact.var(axis=0), rtol=1e-6, atol=1e-6)
    empty = RunningMoments(2)
    empty.merge(RunningMoments(2))
    assert empty.count == 0 and empty.variance.tolist() == [0, 0] and empty.std.tolist() == [1, 1]


def test_mobilenet_normalises_the_training_set():
    clips = torch.randn(20, 151, 64) * torch.linspace(0.1, 4, 64) + torch.linspace(-9, 3, 64)
    moments = RunningMoments(64)
    for part in clips.split(7):
        moments.update(part)
    net = MobileNetV2Audio()
    net.mel_mean.copy_(moments.mean)
    net.mel_std.copy_(moments.std)
    normed = net.normalise(clips).flatten(0, 1).double()
    assert normed.mean(dim=0).abs().max() < 1e-4 and (normed.var(dim=0) - 1).abs().max() < 1e-3
    assert {"mel_mean", "mel_std"} <= net.state_dict().keys()
    other = MobileNetV2Audio()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other.mel_mean, moments.mean.float())


def test_networks_say_what_they_take():
    assert (ResNet.takes, SimAMResNet.takes) == ("fbank", "fbank")
    assert (RawNet3.takes, MobileNetV2Audio.takes) == ("waveform", "log_mel")


def test_mobilenet_embeds_any_length_as_it_does_a_training_clip():
    """In evaluation: the mean over the last map's columns times those of a training clip, ceil(61 / 4) = 16."""
    net = _tiny_mobilenet().eval()
    inputs, mask = torch.randn(2, 480, 32), torch.arange(480) < torch.tensor([[480], [100]])
    frames, columns = net.frames(inputs, mask)
    sums = net.pool(frames, columns)
    assert torch.equal(net(inputs, mask), sums)
    net.clip_frames.fill_(61)
    expected = torch.stack([sums[0] * 16 / 120, sums[1] * 16 / 25])
    torch.testing.assert_close(net(inputs, mask), expected)
    torch.testing.assert_close(net(inputs[:1]), expected[:1])
    clip = inputs[:, :61]
    torch.testing.assert_close(net(clip), net.pool(*net.frames(clip)))
    net.train()
    assert torch.equal(net(inputs, mask), net.pool(*net.frames(inputs, mask)))
