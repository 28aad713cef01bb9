"""The null representation against the mean embedding: closed forms for linear fusions."""

import numpy as np
import pytest
import torch

from avsv.analysis.null import compare_null
from avsv.nnet.fusion.mean import MeanFusion
from avsv.nnet.fusion.mlp import MLPFusion

SPEAKERS = ["a", "a", "b", "b", "c", "c", "c", "d"]


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(8, 5, generator=generator), torch.randn(8, 7, generator=generator) + 0.5


def test_mean_fusion_in_closed_form(outputs):
    """A linear fusion: the distance is that of zero from the mean face of others, both transformed."""
    audio, visual = outputs
    torch.manual_seed(1)
    fusion = MeanFusion(5, 7, dim=4).eval()
    with torch.inference_mode():
        found = {row.missing: row for row in compare_null(fusion, audio, visual, SPEAKERS)}
    names = np.array(SPEAKERS)
    for missing, values, layer in (("audio", audio, fusion.audio), ("visual", visual, fusion.visual)):
        transformed = values.double().numpy() @ layer.weight.detach().double().numpy().T
        distances = []
        for row in range(8):
            others = transformed[names != names[row]]
            spread = np.sqrt(((others - others.mean(axis=0)) ** 2).sum(axis=1).mean())
            distances.append(np.linalg.norm(others.mean(axis=0)) / spread)
        of_speakers = [np.mean(np.array(distances)[names == name]) for name in "abcd"]
        assert found[missing].distance == pytest.approx(np.mean(of_speakers), rel=1e-5)
        assert found[missing].low < found[missing].distance < found[missing].high
        assert found[missing].utterances == 8


def test_zero_where_the_null_representation_is_the_mean(outputs):
    """Voices whose mean over any other speakers is zero: the transform of zeros is then the mean embedding."""
    _, visual = outputs
    once = torch.randn(1, 5, generator=torch.Generator().manual_seed(3))
    audio, names = torch.cat([once, -once] * 4), ["a", "a", "b", "b", "c", "c", "d", "d"]
    with torch.inference_mode():
        linear = compare_null(MeanFusion(5, 7, dim=4).eval(), audio, visual, names)
        curved = compare_null(MLPFusion(5, 7, dim=4, hidden_dim=32).eval(), audio, visual, names)
    assert linear[0].distance == pytest.approx(0, abs=1e-5)
    assert linear[0].angle == pytest.approx(0, abs=0.1)
    assert linear[1].distance > 0.1
    assert curved[0].distance > 1e-3
