"""Self-supervised networks compared with published parameter counts, torchaudio's forward pass and published names."""

import pytest
import torch
import torchaudio
from networks import count_parameters
from torch.nn import functional

from avsv.nnet.audio.ecapa_tdnn import ECAPATDNN
from avsv.nnet.audio.ssl_ecapa import SSLECAPA, normalize_over_time

NAMES = ["hubert_base", "hubert_large", "wavlm_base_plus", "wavlm_large"]


def _small(upstream, **options):
    options = {"layers": 3, "width": 128, "channels": 16, "aggregate_channels": 12, "embedding_dim": 8, **options}
    net = SSLECAPA(upstream=upstream, **options)
    for module in net.upstream.modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.5)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.running_mean.normal_(0, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
    torch.nn.init.normal_(net.layer_weights)
    return net


@pytest.mark.parametrize(
    ("name", "upstream", "states", "trainable"),
    [
        ("hubert_base", 94_370_944, 13, 7_755_469),
        ("hubert_large", 315_434_112, 25, 8_410_841),
        ("wavlm_base_plus", 94_381_168, 13, 7_755_469),
        ("wavlm_large", 315_452_096, 25, 8_410_841),
    ],
)
def test_parameters(name, upstream, states, trainable):
    with torch.device("meta"):
        frozen, tuned = SSLECAPA(upstream=name), SSLECAPA(upstream=name, freeze=False)
    assert count_parameters(frozen.upstream) == upstream
    assert frozen.layer_weights.shape == (states,)
    assert count_parameters(frozen, trainable_only=True) == trainable
    assert count_parameters(tuned, trainable_only=True) == upstream + trainable


@pytest.mark.parametrize("name", ["hubert_base", "hubert_large", "wavlm_base", "wavlm_large"])
def test_architectures_are_those_of_torchaudio(name):
    with torch.device("meta"):
        published = getattr(torchaudio.models, name)()
        net = SSLECAPA(upstream="wavlm_base_plus" if name == "wavlm_base" else name)
    shapes = [{key: value.shape for key, value in m.state_dict().items()} for m in (published, net.upstream)]
    assert shapes[0] == shapes[1]
    heads = [m.encoder.transformer.layers[0].attention.num_heads for m in (published, net.upstream)]
    assert heads[0] == heads[1]


@pytest.mark.parametrize(("seconds", "frames"), [(1, 49), (2, 99), (3, 149)])
def test_frame_rate(seconds, frames):
    net = SSLECAPA(layers=1, width=16, channels=8, aggregate_channels=8).eval()
    features, mask = net.frames(torch.randn(1, seconds * 16000))
    assert features.shape == (1, 8, frames) and mask is None
    mask = net.frames(torch.randn(1, seconds * 16000), torch.ones(1, seconds * 16000, dtype=torch.bool))[1]
    assert mask.shape == (1, frames) and mask.all()


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_are_those_of_torchaudio(name):
    net = _small(name).double().eval()
    samples = 0.1 * torch.randn(2, 8000, dtype=torch.float64)
    states, mask = net.hidden_states(samples)
    assert len(states) == 4 and mask is None

    given = functional.layer_norm(samples, samples.shape[1:]) if name.endswith("large") else samples
    seen = []
    hook = net.upstream.encoder.transformer.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    outputs, _ = net.upstream.extract_features(given)
    hook.remove()
    expected = [seen[0], *outputs[:-1], net.upstream(given)[0]]
    for one, other in zip(states, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    # Only the Large networks have a normalization after the last layer.
    assert torch.allclose(outputs[-1], expected[-1]) == (not name.endswith("large"))


@pytest.mark.parametrize("weights", [[0.0] * 4, [0.5, -1.0, 2.0, 0.0]])
def test_states_are_mixed_and_normalized(weights):
    net = _small("hubert_base").double().eval()
    net.layer_weights.data = torch.tensor(weights, dtype=torch.float64)
    samples = torch.randn(2, 8000, dtype=torch.float64)
    states = torch.stack(net.hidden_states(samples)[0])
    exponentials = net.layer_weights.exp()
    mixed = (states * (exponentials / exponentials.sum())[:, None, None, None]).sum(dim=0)
    if not any(weights):
        torch.testing.assert_close(mixed, states.mean(dim=0))
    normed = functional.instance_norm(mixed.transpose(1, 2) + 1e-6)
    expected = ECAPATDNN.frames(net, normed.transpose(1, 2))[0]
    torch.testing.assert_close(net.frames(samples)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name, dtype):
    net = _small(name).to(dtype).eval()
    samples = 0.1 * torch.randn(3, 9000, dtype=dtype) + 0.05
    lengths = torch.tensor([9000, 6400, 3000])
    mask = torch.arange(9000) < lengths.unsqueeze(1)
    together, weights = net(samples.masked_fill(~mask, float("nan")), mask), net.hidden_states(samples, mask)[1]
    assert weights.sum(dim=1).tolist() == [27, 19, 9]
    alone = torch.cat([net(samples[n : n + 1, :length]) for n, length in enumerate(lengths.tolist())])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(together, alone, rtol=tolerance, atol=tolerance)
    whole = net(samples, torch.ones_like(mask))
    torch.testing.assert_close(whole, net(samples), rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_frozen_networks_do_not_learn_and_others_do_wholly(name, freeze):
    net = _small(name, freeze=freeze).train()
    samples = 0.1 * torch.randn(2, 4000)
    mask = torch.arange(4000) < torch.tensor([[4000], [3000]])
    net(samples, mask).square().sum().backward()
    learning = {key for key, p in net.named_parameters() if p.grad is not None}
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    # In distributed training, a weight without gradient would be an error.
    assert learning == {key for key, _ in net.named_parameters() if not (freeze and key.startswith("upstream."))}
    states = [net.hidden_states(samples, mask)[0][-1] for _ in range(2)]
    assert net.training and net.upstream.training != freeze
    # HuBERT Large was pretrained without dropout.
    assert torch.equal(*states) == (freeze or name == "hubert_large")
    assert not net.eval().upstream.training


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision(name):
    net = _small(name).eval()
    samples = 0.1 * torch.randn(2, 8000)
    mask = torch.arange(8000) < torch.tensor([[8000], [5000]])
    with torch.no_grad():
        expected = net(samples, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = net(samples, mask)
    assert functional.cosine_similarity(found.float(), expected).min() > 0.99


def test_normalization_over_time_equals_instance_norm():
    frames = torch.randn(2, 5, 30, dtype=torch.float64) * 3 + 100
    torch.testing.assert_close(normalize_over_time(frames), functional.instance_norm(frames))
    mask = torch.arange(30) < torch.tensor([[30], [11]])
    normed = normalize_over_time(frames.masked_fill(~mask.unsqueeze(1), float("nan")), mask)
    torch.testing.assert_close(normed[1:, :, :11], functional.instance_norm(frames[1:, :, :11]))
    assert (normed[1, :, 11:] == 0).all()


def _as_published_by_torchaudio(network):
    """As in the files of torchaudio, which are older than PyTorch's current names of weight normalization."""
    old = "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original"
    names = {f"{old}0": "weight_g", f"{old}1": "weight_v"}
    prefix = "encoder.transformer.pos_conv_embed.conv."
    return {prefix + names[key] if key in names else key: value for key, value in network.state_dict().items()}


def _as_published_by_transformers(network, family):
    """As in the files of Hugging Face for HubertModel and WavLMModel with a head."""
    state = {f"{family}.masked_spec_embed": torch.zeros(network.encoder.transformer.layer_norm.weight.shape)}
    for key, value in _as_published_by_torchaudio(network).items():
        name = key.replace("encoder.feature_projection", "feature_projection").replace("encoder.transformer", "encoder")
        name = f"{family}.{name}"
        if ".attention.attention.in_proj_" in name:
            for part, third in zip("qkv", value.chunk(3), strict=True):
                state[name.replace("attention.in_proj_", f"{part}_proj.")] = third
        else:
            state[name.replace("attention.attention.out_proj", "attention.out_proj")] = value
    return {**state, "lm_head.weight": torch.zeros(32, 5), "lm_head.bias": torch.zeros(32)}


@pytest.mark.parametrize("publisher", ["torchaudio", "transformers"])
@pytest.mark.parametrize("name", NAMES)
def test_published_weights(name, publisher):
    torch.manual_seed(1)
    trained, net = _small(name), _small(name)
    state = (
        _as_published_by_torchaudio(trained.upstream)
        if publisher == "torchaudio"
        else _as_published_by_transformers(trained.upstream, name.split("_")[0])
    )
    result = net.load_state_dict(net.convert_published(state), strict=False)
    assert not result.unexpected_keys
    assert not any(key.startswith("upstream.") for key in result.missing_keys)
    samples = torch.randn(1, 4000)
    torch.testing.assert_close(net.eval().hidden_states(samples)[0], trained.eval().hidden_states(samples)[0])


@pytest.mark.parametrize(
    ("family", "size", "last"),
    [
        ("hubert", "base", "encoder.layers.11.feed_forward.output_dense.weight"),
        ("hubert", "large", "encoder.layers.23.attention.v_proj.bias"),
        ("wavlm", "base_plus", "encoder.layers.0.attention.rel_attn_embed.weight"),
        ("wavlm", "large", "encoder.layers.23.attention.gru_rel_pos_linear.weight"),
    ],
)
def test_published_weights_of_full_size(family, size, last):
    """Names and shapes as in the published files; the numbers are those of the published configurations."""
    with torch.device("meta"):
        net = SSLECAPA(upstream=f"{family}_{size}")
        layers, width = (24, 1024) if size == "large" else (12, 768)
        state = {"masked_spec_embed": torch.zeros(width)}
        for index, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
            state[f"feature_extractor.conv_layers.{index}.conv.weight"] = torch.zeros(512, 512 if index else 1, kernel)
            if size == "large" or index == 0:
                for kind in ("weight", "bias"):
                    state[f"feature_extractor.conv_layers.{index}.layer_norm.{kind}"] = torch.zeros(512)
        shapes = {
            "feature_projection.layer_norm": (512,),
            "feature_projection.projection": (width, 512),
            "encoder.layer_norm": (width,),
        }
        for layer in range(layers):
            for part in ("q", "k", "v", "out"):
                shapes[f"encoder.layers.{layer}.attention.{part}_proj"] = (width, width)
            if family == "wavlm":
                shapes[f"encoder.layers.{layer}.attention.gru_rel_pos_linear"] = (8, 64)
                state[f"encoder.layers.{layer}.attention.gru_rel_pos_const"] = torch.zeros(1, width // 64, 1, 1)
            shapes[f"encoder.layers.{layer}.layer_norm"] = (width,)
            shapes[f"encoder.layers.{layer}.feed_forward.intermediate_dense"] = (4 * width, width)
            shapes[f"encoder.layers.{layer}.feed_forward.output_dense"] = (width, 4 * width)
            shapes[f"encoder.layers.{layer}.final_layer_norm"] = (width,)
        for name, shape in shapes.items():
            state[f"{name}.weight"], state[f"{name}.bias"] = torch.zeros(shape), torch.zeros(shape[0])
        if family == "wavlm":
            state["encoder.layers.0.attention.rel_attn_embed.weight"] = torch.zeros(320, width // 64)
        state["encoder.pos_conv_embed.conv.weight_g"] = torch.zeros(1, 1, 128)
        state["encoder.pos_conv_embed.conv.weight_v"] = torch.zeros(width, width // 16, 128)
        state["encoder.pos_conv_embed.conv.bias"] = torch.zeros(width)
        converted = net.convert_published(state)
    assert converted.keys() == {key for key in net.state_dict() if key.startswith("upstream.")}
    del state[last]
    with pytest.raises(ValueError, match=r"missing|has shape"):
        net.convert_published(state)


def test_weights_of_another_network_are_refused():
    net = SSLECAPA(layers=2, width=32, channels=16)
    with pytest.raises(ValueError, match=r"layers\.2\.\S+ does not belong to this network.* more"):
        net.convert_published(_small("hubert_base", width=32).upstream.state_dict())
    with pytest.raises(ValueError, match=r"k_proj\.weight is missing"):
        net.convert_published(_small("wavlm_base_plus", width=32, layers=2).upstream.state_dict())
    with pytest.raises(ValueError, match=r"has shape \(16,\), expected \(32,\)"):
        net.convert_published(_small("hubert_base", width=16, layers=2).upstream.state_dict())


def test_wrong_options_and_inputs_are_named():
    for options, message in (({"layers": 0}, "layers: 0"), ({"width": 100}, "width: 100"), ({"width": 8}, "width: 8")):
        with pytest.raises(ValueError, match=message):
            SSLECAPA(**options)
    net = SSLECAPA(layers=1, width=16, channels=8).eval()
    with pytest.raises(ValueError, match=r"samples of shape \(1, 5, 80\), expected \(B, n\)"):
        net(torch.zeros(1, 5, 80))
    with pytest.raises(ValueError, match="utterance of 399 samples, at least 400"):
        net(torch.zeros(1, 399))
    with pytest.raises(ValueError, match="utterance of 120 samples, at least 400"):
        net(torch.zeros(2, 800), torch.arange(800) < torch.tensor([[800], [120]]))
    assert net(torch.zeros(1, 400)).isfinite().all()
