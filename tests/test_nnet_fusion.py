"""Soft attention fusion by hand, and with a modality missing."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from avsv.nnet.fusion import SimpleSoftAttention


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _identity(logits) -> SimpleSoftAttention:
    fusion = SimpleSoftAttention(2, 2, dim=2)
    for layer in (fusion.audio, fusion.visual):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.zeros_(fusion.attention.weight)
    fusion.attention.bias.data = torch.tensor(logits)
    return fusion


@pytest.mark.parametrize(("audio_dim", "count"), [(192, 362_882), (256, 395_778)])
def test_parameters(audio_dim, count):
    assert sum(p.numel() for p in SimpleSoftAttention(audio_dim, 512, dim=512).parameters()) == count


def test_by_hand():
    fused = _identity([0.0, math.log(3.0)])(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(fused, torch.tensor([[0.25, 0.75]]))


def test_equals_functional_code_whatever_the_lengths_of_the_embeddings():
    fusion, audio, visual = SimpleSoftAttention(5, 7, dim=4), torch.randn(6, 5), torch.randn(6, 7)
    a, v = audio / audio.norm(dim=1, keepdim=True), visual / visual.norm(dim=1, keepdim=True)
    scores = functional.linear(torch.cat([a, v], dim=1), fusion.attention.weight, fusion.attention.bias).exp()
    shares = scores / scores.sum(dim=1, keepdim=True)
    parts = [functional.linear(x, f.weight, f.bias) for x, f in ((a, fusion.audio), (v, fusion.visual))]
    expected = shares[:, :1] * parts[0] + shares[:, 1:] * parts[1]
    torch.testing.assert_close(fusion(audio, visual), expected)
    torch.testing.assert_close(fusion(30 * audio, 0.01 * visual), expected)
    torch.testing.assert_close(fusion.weights(audio, visual).sum(dim=1), torch.ones(6))


def test_gradient_reaches_the_attention():
    fusion = SimpleSoftAttention(5, 7, dim=4)
    fusion(torch.randn(3, 5), torch.randn(3, 7)).square().sum().backward()
    assert fusion.attention.weight.grad.abs().max() > 0


def test_missing_modality_has_weight_zero():
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


def test_gradients_are_finite_with_a_modality_missing():
    fusion, audio = SimpleSoftAttention(5, 7, dim=4), torch.randn(2, 5, requires_grad=True)
    fusion(audio, torch.zeros(2, 7), torch.tensor([[True, False], [True, False]])).sum().backward()
    assert all(p.grad.isfinite().all() for p in [*fusion.parameters(), audio])


def test_neither_modality_is_an_error():
    with pytest.raises(ValueError, match="neither audio nor video"):
        SimpleSoftAttention(5, 7)(torch.zeros(1, 5), torch.zeros(1, 7), torch.tensor([[False, False]]))
