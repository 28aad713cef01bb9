"""Fusions compared with computations by hand and with other libraries, and with a missing modality."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from avsv.nnet.fusion.compact_bilinear import CompactBilinearPooling
from avsv.nnet.fusion.gated import GatedFusion
from avsv.nnet.fusion.mean import MeanFusion
from avsv.nnet.fusion.mlp import MLPFusion
from avsv.nnet.fusion.multi_view import MultiViewFusion
from avsv.nnet.fusion.soft_attention import SimpleSoftAttention

# Every fusion in a small size, from embeddings with 5 and 7 values to one with 4.
SMALL = {
    "ssa": lambda: SimpleSoftAttention(5, 7, dim=4),
    "ssa normalized": lambda: SimpleSoftAttention(5, 7, dim=4, normalize=True),
    "gated": lambda: GatedFusion(5, 7, dim=4),
    "gated, hidden": lambda: GatedFusion(5, 7, dim=4, gate_hidden=3),
    "bilinear": lambda: CompactBilinearPooling(5, 7, dim=4, sketch_dim=32),
    "mean": lambda: MeanFusion(5, 7, dim=4),
    "mlp": lambda: MLPFusion(5, 7, dim=4, hidden_dim=6),
    "multi-view": lambda: MultiViewFusion(5, 7, dim=4),
}
every_fusion = pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)
PRESENT = torch.tensor([[True, True], [True, False], [False, True], [True, True]])


def _identity(logits) -> SimpleSoftAttention:
    fusion = SimpleSoftAttention(2, 2, dim=2)
    for layer in (fusion.audio, fusion.visual):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.zeros_(fusion.attention.weight)
    fusion.attention.bias.data = torch.tensor(logits)
    return fusion


@pytest.mark.parametrize(
    ("fusion", "options", "count"),
    [
        (SimpleSoftAttention, {"audio_dim": 192, "visual_dim": 512, "dim": 512}, 362_882),
        (SimpleSoftAttention, {"audio_dim": 256, "visual_dim": 512, "dim": 512}, 395_778),
        (GatedFusion, {"audio_dim": 192, "visual_dim": 512, "dim": 512}, 722_432),
        (CompactBilinearPooling, {"audio_dim": 192, "visual_dim": 512, "dim": 512}, 2048 * 512 + 512),
        (MeanFusion, {"audio_dim": 356, "visual_dim": 2048}, 615_936),
        (MLPFusion, {"audio_dim": 356, "visual_dim": 2048}, 5_315_448),
        (MultiViewFusion, {"audio_dim": 356, "visual_dim": 2048}, 681_728),
    ],
)
def test_parameters(fusion, options, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in fusion(**options).parameters()) == count


def test_parameters_of_the_gate_of_fop():
    gate = GatedFusion(128, 128, dim=128, gate_hidden=128).gate
    assert sum(p.numel() for p in gate.parameters()) == 49_664


@every_fusion
def test_shape_and_gradients(build):
    fusion, audio, visual = build(), torch.randn(4, 5, requires_grad=True), torch.randn(4, 7, requires_grad=True)
    fused = fusion(audio, visual)
    assert fused.shape == (4, fusion.embedding_dim) and fusion.embedding_dim == 4
    (fused * torch.randn(4, 4)).sum().backward()
    assert all(p.grad.isfinite().all() for p in [*fusion.parameters(), audio, visual])


@every_fusion
def test_missing_modality_does_not_reach_the_result(build):
    fusion, audio, visual = build().eval(), torch.randn(4, 5), torch.randn(4, 7)
    zeros = (audio * PRESENT[:, :1], visual * PRESENT[:, 1:])
    fused = fusion(*zeros, PRESENT)
    torch.testing.assert_close(fused[PRESENT.all(dim=1)], fusion(audio, visual)[PRESENT.all(dim=1)])
    garbage = (audio.clone(), visual.clone())
    garbage[0][2], garbage[1][1] = float("nan"), float("inf")
    torch.testing.assert_close(fusion(*garbage, PRESENT), fused, rtol=0, atol=0)
    for row in range(4):
        alone = fusion(*(x[row : row + 1] for x in zeros), PRESENT[row : row + 1])
        torch.testing.assert_close(alone[0], fused[row])
    # The embedding of one modality depends on that modality.
    assert (fusion(-zeros[0], -zeros[1], PRESENT) - fused)[1:3].abs().amax(dim=1).min() > 1e-3


@every_fusion
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_training_with_modalities_missing(build, precision):
    fusion = build()
    audio, visual = (torch.randn(4, 5) * PRESENT[:, :1]), (torch.randn(4, 7) * PRESENT[:, 1:])
    audio.requires_grad_()
    visual.requires_grad_()
    for rows in (slice(None), slice(1, 3), slice(0, 1), slice(1, 2)):
        with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
            fused = fusion(audio[rows], visual[rows], PRESENT[rows])
        fused.float().square().sum().backward()
        assert fused.isfinite().all()
    gradients = [p.grad for p in [*fusion.parameters(), audio, visual]]
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_fusion
def test_neither_modality_is_an_error(build):
    present = torch.tensor([[True, True], [False, False]])
    with pytest.raises(ValueError, match="neither audio nor video"):
        build()(torch.zeros(2, 5), torch.zeros(2, 7), present)


@pytest.mark.parametrize(
    ("fusion", "options"),
    [
        (CompactBilinearPooling, {"sketch_dim": 0}),
        (MeanFusion, {"dropout": 1.0}),
        (MLPFusion, {"dropout": -0.1}),
        (MultiViewFusion, {"dropout": 2.0}),
    ],
)
def test_impossible_options(fusion, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: .*: must be"):
        fusion(2, 2, **options)


def test_soft_attention_by_hand():
    fused = _identity([0.0, math.log(3.0)])(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(fused, torch.tensor([[0.25, 0.75]]))


def test_soft_attention_equals_functional_code_whatever_the_lengths_of_the_embeddings():
    fusion, audio, visual = SimpleSoftAttention(5, 7, dim=4), torch.randn(6, 5), torch.randn(6, 7)
    a, v = audio / audio.norm(dim=1, keepdim=True), visual / visual.norm(dim=1, keepdim=True)
    scores = functional.linear(torch.cat([a, v], dim=1), fusion.attention.weight, fusion.attention.bias).exp()
    shares = scores / scores.sum(dim=1, keepdim=True)
    parts = [functional.linear(x, f.weight, f.bias) for x, f in ((a, fusion.audio), (v, fusion.visual))]
    expected = shares[:, :1] * parts[0] + shares[:, 1:] * parts[1]
    torch.testing.assert_close(fusion(audio, visual), expected)
    torch.testing.assert_close(fusion(30 * audio, 0.01 * visual), expected)
    torch.testing.assert_close(fusion.weights(audio, visual).sum(dim=1), torch.ones(6))


def test_soft_attention_gets_a_gradient():
    fusion = SimpleSoftAttention(5, 7, dim=4)
    fusion(torch.randn(3, 5), torch.randn(3, 7)).square().sum().backward()
    assert fusion.attention.weight.grad.abs().max() > 0


def test_soft_attention_gives_a_missing_modality_weight_zero():
    fusion, audio, visual = SimpleSoftAttention(5, 7, dim=4), torch.randn(3, 5), torch.randn(3, 7)
    present = torch.tensor([[True, True], [True, False], [False, True]])
    fused, weights = fusion(audio, visual, present), fusion.weights(audio, visual, present)
    assert weights[1].tolist() == [1.0, 0.0] and weights[2].tolist() == [0.0, 1.0]
    torch.testing.assert_close(fused[0], fusion(audio, visual)[0])
    torch.testing.assert_close(fused[1], fusion.audio(functional.normalize(audio[1:2]))[0])
    torch.testing.assert_close(fused[2], fusion.visual(functional.normalize(visual[2:]))[0])
    garbage = visual.clone()
    garbage[1] = float("nan")
    torch.testing.assert_close(fusion(audio, garbage, present), fused)


def test_soft_attention_normalized():
    plain, fusion = SimpleSoftAttention(5, 7, dim=4), SimpleSoftAttention(5, 7, dim=4, normalize=True)
    fusion.load_state_dict(plain.state_dict())
    audio, visual = torch.randn(4, 5), torch.randn(4, 7)
    fused = fusion(audio, visual, PRESENT)
    torch.testing.assert_close(fused, functional.normalize(plain(audio, visual, PRESENT)))
    torch.testing.assert_close(fused[1], functional.normalize(plain.audio(functional.normalize(audio)))[1])
    torch.testing.assert_close(fused[2], functional.normalize(plain.visual(functional.normalize(visual)))[2])


def _random_weights(fusion: nn.Module) -> nn.Module:
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    return fusion


def _transforms(fusion: nn.Module, audio: torch.Tensor, visual: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """tanh of the transforms of the embeddings, scaled to length 1, in numpy."""
    found = []
    for values, layer in ((audio, fusion.audio), (visual, fusion.visual)):
        values = values.numpy() / np.linalg.norm(values.numpy(), axis=1, keepdims=True)
        found.append(np.tanh(values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()))
    return found[0], found[1]


@torch.no_grad()
def test_linear_gate_by_the_formula():
    fusion, audio, visual = _random_weights(GatedFusion(5, 7, dim=4)), torch.randn(6, 5), torch.randn(6, 7)
    a, v = _transforms(fusion, audio, visual)
    joint = np.concatenate([x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (audio, visual)], 1)
    z = 1 / (1 + np.exp(-(joint @ fusion.gate.weight.numpy().T + fusion.gate.bias.numpy())))
    torch.testing.assert_close(fusion(audio, visual), torch.from_numpy(z * a + (1 - z) * v))
    assert fusion(100 * audio, 100 * visual).abs().max() < 1


@torch.no_grad()
@pytest.mark.parametrize("gate_hidden", [None, 3])
def test_gate_without_weights_gives_the_mean(gate_hidden):
    fusion, audio, visual = GatedFusion(5, 7, dim=4, gate_hidden=gate_hidden), torch.randn(6, 5), torch.randn(6, 7)
    for parameter in fusion.gate.parameters():
        nn.init.zeros_(parameter)
    a, v = _transforms(fusion, audio, visual)
    torch.testing.assert_close(fusion(audio, visual), torch.from_numpy((a + v) / 2))


@torch.no_grad()
def test_gate_gives_a_single_modality_weight_one():
    fusion, audio, visual = _random_weights(GatedFusion(5, 7, dim=4)), torch.randn(4, 5), torch.randn(4, 7)
    weights = fusion.weights(audio, visual, PRESENT)
    assert weights[1].tolist() == [1.0] * 4 and weights[2].tolist() == [0.0] * 4
    a, v = _transforms(fusion, audio, visual)
    fused = fusion(audio, visual, PRESENT)
    torch.testing.assert_close(fused[1], torch.from_numpy(a)[1])
    torch.testing.assert_close(fused[2], torch.from_numpy(v)[2])


def test_gate_takes_statistics_of_complete_utterances_only():
    fusion, audio, visual = (
        _random_weights(GatedFusion(5, 7, dim=4, gate_hidden=3)),
        torch.randn(4, 5),
        torch.randn(4, 7),
    )
    twin = GatedFusion(5, 7, dim=4, gate_hidden=3)
    twin.load_state_dict(fusion.state_dict())
    both = PRESENT.all(dim=1)
    torch.testing.assert_close(fusion(audio, visual, PRESENT)[both], twin(audio[both], visual[both]))
    torch.testing.assert_close(fusion.gate[1].running_var, twin.gate[1].running_var)


def test_sketch_is_that_of_the_outer_product():
    """The count sketch of a tensor product adds the places (modulo their number) and multiplies the signs."""
    fusion = CompactBilinearPooling(6, 9, sketch_dim=17, seed=3).double()
    audio, visual = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 9, dtype=torch.float64)
    expected = np.zeros((4, 17))
    for i in range(6):
        for j in range(9):
            place = int(fusion.audio_place[i] + fusion.visual_place[j]) % 17
            sign = float(fusion.audio_sign[i] * fusion.visual_sign[j])
            expected[:, place] += sign * (audio[:, i] * visual[:, j]).numpy()
    np.testing.assert_allclose(fusion.sketch(audio, visual).numpy(), expected, rtol=0, atol=1e-14)


def test_products_of_sketches_estimate_products_of_scalar_products():
    audio, visual = torch.randn(2, 8, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    truth = float((audio[0] @ audio[1]) * (visual[0] @ visual[1]))
    estimates = []
    for seed in range(2000):
        sketches = CompactBilinearPooling(8, 6, dim=1, sketch_dim=64, seed=seed).sketch(audio, visual)
        estimates.append(float(sketches[0] @ sketches[1]))
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - truth) < 4 * error and error < 0.1 * abs(truth)


@torch.no_grad()
def test_bilinear_pooling_by_the_steps():
    fusion, audio, visual = CompactBilinearPooling(5, 7, dim=4, sketch_dim=32), torch.randn(3, 5), torch.randn(3, 7)
    sketch = fusion.sketch(audio, visual).double().numpy()
    root = np.sign(sketch) * np.sqrt(np.abs(sketch))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    expected = torch.from_numpy(root).float() @ fusion.transform.weight.T + fusion.transform.bias
    torch.testing.assert_close(fusion(audio, visual), expected, rtol=0, atol=1e-3)


def test_sketch_of_one_modality_is_its_own():
    fusion, audio = CompactBilinearPooling(5, 7, sketch_dim=32), torch.randn(1, 5)
    expected = torch.zeros(1, 32)
    for place, sign, value in zip(fusion.audio_place, fusion.audio_sign, audio[0], strict=True):
        expected[0, place] += sign * value
    torch.testing.assert_close(fusion.sketch(audio, torch.zeros(1, 7), torch.tensor([[True, False]])), expected)


def test_places_and_signs_depend_on_the_seed_alone_and_are_saved():
    first = CompactBilinearPooling(50, 70, sketch_dim=64, seed=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again, other = (CompactBilinearPooling(50, 70, dim=512, sketch_dim=64, seed=seed) for seed in (1, 2))
    assert not torch.equal(torch.get_rng_state(), state), "the linear layer comes from torch's own seed"
    for name in ("audio_place", "visual_place", "audio_sign", "visual_sign"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))
    assert set(first.audio_sign.tolist()) == {-1.0, 1.0}
    audio, visual = torch.randn(2, 50), torch.randn(2, 70)
    other.load_state_dict(first.state_dict())
    assert torch.equal(other(audio, visual), first(audio, visual))


def test_sketch_is_in_float32_under_autocast():
    fusion, audio, visual = CompactBilinearPooling(5, 7, sketch_dim=32), torch.randn(3, 5), torch.randn(3, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sketch = fusion.sketch(audio.bfloat16(), visual.bfloat16())
    assert sketch.dtype == torch.float32
    assert torch.equal(sketch, fusion.sketch(audio.bfloat16().float(), visual.bfloat16().float()))


@torch.no_grad()
def test_mean_fusion_by_hand():
    fusion, audio, visual = MeanFusion(5, 7, dim=4).eval(), torch.randn(4, 5), torch.randn(4, 7)
    a = audio @ fusion.audio.weight.T + fusion.audio.bias
    v = visual @ fusion.visual.weight.T + fusion.visual.bias
    torch.testing.assert_close(fusion(audio, visual), (a + v) / 2)
    # The null representation of a modality is its bias.
    fused = fusion(audio, visual, PRESENT)
    torch.testing.assert_close(fused[1], (a[1] + fusion.visual.bias) / 2)
    torch.testing.assert_close(fused[2], (fusion.audio.bias + v[2]) / 2)


@torch.no_grad()
def test_mlp_fusion_by_hand():
    """With initial statistics (mean 0, variance 1), batch normalization only divides by sqrt(1 + 1e-5)."""
    fusion, audio, visual = MLPFusion(5, 7, dim=4, hidden_dim=6).eval(), torch.randn(3, 5), torch.randn(3, 7)
    values = torch.cat([visual, audio], dim=1)
    for layer in (1, 5, 9):
        values = values @ fusion.layers[layer].weight.T + fusion.layers[layer].bias
        values = torch.where(values > 0, values, 0.01 * values) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(fusion(audio, visual), values)


@torch.no_grad()
def test_multi_view_fusion_by_hand():
    fusion, audio, visual = MultiViewFusion(5, 7, dim=4).eval(), torch.randn(4, 5), torch.randn(4, 7)
    shared = fusion.shared[0]
    expected = []
    for values, layer in ((audio, fusion.audio), (visual, fusion.visual)):
        values = values @ layer.weight.T + layer.bias
        expected.append((values @ shared.weight.T + shared.bias).clamp(min=0))
    for view, values in zip(fusion.views(audio, visual), expected, strict=True):
        torch.testing.assert_close(view, values)
        assert view.min() >= 0
    a, v = (values / values.norm(dim=1, keepdim=True).clamp(min=1e-12) for values in expected)
    fused = fusion(audio, visual, PRESENT)
    torch.testing.assert_close(fused, torch.stack([(a[0] + v[0]) / 2, a[1], v[2], (a[3] + v[3]) / 2]))


@torch.no_grad()
def test_private_layers_follow_the_shared_layer():
    fusion = MultiViewFusion(5, 7, dim=4, private_layers=True).eval()
    fusion.private[0][0].weight.copy_(2.0 * torch.eye(4))
    fusion.private[1][0].weight.copy_(3.0 * torch.eye(4))
    for layer in fusion.private:
        layer[0].bias.zero_()
    plain = MultiViewFusion(5, 7, dim=4).eval()
    plain.load_state_dict({key: value for key, value in fusion.state_dict().items() if "private" not in key})
    audio, visual = torch.randn(4, 5), torch.randn(4, 7)
    first, second = plain.views(audio, visual)
    torch.testing.assert_close(fusion.views(audio, visual), (2.0 * first, 3.0 * second))


def test_views_do_not_depend_on_the_other_modality():
    fusion, audio, visual = MultiViewFusion(5, 7, dim=4, dropout=0.0), torch.randn(3, 5), torch.randn(3, 7)
    first, _ = fusion.views(audio, visual)
    second, _ = fusion.views(audio, torch.randn(3, 7))
    assert torch.equal(first, second)


def _sums(fusion: nn.Module) -> nn.Module:
    """A mean fusion of single values that gives audio + 10 x video."""
    for layer, weight in ((fusion.audio, 2.0), (fusion.visual, 20.0)):
        nn.init.constant_(layer.weight, weight)
        nn.init.zeros_(layer.bias)
    return fusion


def test_modality_masking_takes_each_in_a_third_of_the_cases():
    fusion, ones = _sums(MeanFusion(1, 1, dim=1, dropout=0.0)), torch.ones(30_000, 1)
    kinds, counts = fusion(ones, ones).detach().unique(return_counts=True)
    assert kinds.tolist() == [1.0, 10.0, 11.0]
    assert all(abs(count / 30_000 - 1 / 3) < 0.01 for count in counts.tolist())


def test_modality_masking_never_takes_what_is_alone():
    fusion, ones = _sums(MeanFusion(1, 1, dim=1, dropout=0.0)), torch.ones(300, 1)
    for present, expected in (([True, False], 1.0), ([False, True], 10.0)):
        assert set(fusion(ones, ones, torch.tensor([present] * 300)).flatten().tolist()) == {expected}


@pytest.mark.parametrize("fusion", [MeanFusion, MLPFusion])
def test_modality_masking_is_off_in_evaluation_and_where_it_is_not_wanted(fusion):
    audio, visual = torch.randn(64, 5), torch.randn(64, 7)
    masked, plain = (fusion(5, 7, dim=4, dropout=0.0, modality_masking=masking) for masking in (True, False))
    plain.load_state_dict(masked.state_dict())
    assert not torch.allclose(masked(audio, visual), plain(audio, visual))
    plain.load_state_dict(masked.state_dict())
    torch.testing.assert_close(masked.eval()(audio, visual), plain.eval()(audio, visual), rtol=0, atol=0)


@pytest.mark.parametrize("fusion", [MeanFusion, MLPFusion])
def test_masked_modality_is_a_missing_one(fusion):
    """Masking gives the same result as the fusion of utterances that lack the modality."""
    network = fusion(5, 7, dim=4, dropout=0.0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    audio, visual = torch.randn(50, 5), torch.randn(50, 7)
    masked = network(audio, visual)
    network.eval()
    kinds = [network(audio, visual, torch.tensor([kind] * 50)) for kind in ([True, True], [True, False], [False, True])]
    near = torch.stack([torch.isclose(masked, kind).all(dim=1) for kind in kinds])
    assert near.sum(dim=0).tolist() == [1] * 50 and near.any(dim=1).all()


@every_fusion
def test_figures_are_the_weights_of_complete_utterances(build):
    torch.manual_seed(1)
    fusion = build().eval()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    audio, visual = torch.randn(4, 5), torch.randn(4, 7)
    figures = fusion.figures(audio, visual, PRESENT)
    if not isinstance(fusion, (SimpleSoftAttention, GatedFusion)):
        assert figures == {}
        return
    weights = []
    for row in (0, 3):
        one = functional.normalize(audio[row], dim=0), functional.normalize(visual[row], dim=0)
        joint = torch.cat(one).unsqueeze(0)
        if isinstance(fusion, GatedFusion):
            weights.append(torch.sigmoid(fusion.gate(joint)).mean().item())
        else:
            scores = fusion.attention(joint)[0].exp()
            weights.append((scores[0] / scores.sum()).item())
    assert figures["audio_weight"].item() == pytest.approx(np.mean(weights), abs=1e-6)
    assert figures["audio_weight_std"].item() == pytest.approx(np.std(weights), abs=1e-6)
    assert fusion.figures(audio[1:3], visual[1:3], PRESENT[1:3]) == {}
