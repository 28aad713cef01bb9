"""The examples of docs/extending.md work from outside the package."""

import importlib
import re
import sys

import numpy as np
import pytest
import torch
from paths import ROOT

from avsv.data.batch import Batch
from avsv.model.config import load_config
from avsv.model.trainable import TrainableSystem
from avsv.nnet.fusion.base import Fusion
from avsv.scoring.norm import Cohort, CohortStatistics, Normalizer, find_variant
from avsv.scoring.trials import Embeddings

PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package ``mypackage``, made from the Python code on the page, and its folder."""
    folder = tmp_path_factory.mktemp("extending")
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").touch()
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert all(len(block.splitlines()) <= 30 for block in blocks) and len(blocks) == 6
    (folder / "mypackage" / "nets.py").write_text("\n\n".join(blocks))
    (folder / "system.yaml").write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    sys.path.insert(0, str(folder))
    yield importlib.import_module("mypackage.nets"), folder
    sys.path.remove(str(folder))


def test_the_system_trains(package):
    nets, folder = package
    config = load_config(folder / "system.yaml")
    assert config.audio.options["channels"] == 24 and config.audio.options["embedding_dim"] == 16
    torch.manual_seed(0)
    system = TrainableSystem(config, num_classes=4)
    assert isinstance(system.embedder.audio, nets.TwoLayers)
    assert isinstance(system.embedder.audio.pool, nets.MeanAbsolutePooling)
    batch = Batch(list("abcd"), torch.arange(4), torch.randn(4, 50, 80), torch.ones(4, 50).bool())
    optimizer = torch.optim.SGD(system.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss, figures = system(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert "squared_length" in figures
    assert losses[-1] < 0.7 * losses[0]
    # Padding does not change an embedding.
    padded = torch.cat([batch.audio, torch.full((4, 10, 80), 9.0)], dim=1)
    mask = torch.cat([batch.audio_mask, torch.zeros(4, 10).bool()], dim=1)
    network = system.embedder.audio.eval()
    torch.testing.assert_close(network(padded, mask), network(batch.audio, batch.audio_mask))


def test_the_fusion_ignores_what_is_missing(package):
    fusion = package[0].SumFusion(3, 5, dim=4)
    assert isinstance(fusion, Fusion)
    present = torch.tensor([[True, False]])
    audio = torch.randn(1, 3)
    torch.testing.assert_close(
        fusion(audio, torch.randn(1, 5), present), fusion(audio, torch.full((1, 5), 7.0), present)
    )


def test_the_score_normalization_is_that_of_its_definition(package):
    rng = np.random.default_rng(0)
    vectors, means = (rng.normal(size=(n, 8)).astype(np.float32) for n in (5, 30))
    vectors, means = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (vectors, means))
    embeddings = Embeddings(vectors, np.ones(5, bool))
    cohort = Cohort([f"s{n}" for n in range(30)], means)
    normalizer = Normalizer({"A": embeddings}, {"A": cohort}, variant="mypackage.nets:T_NORM", top_n=30)
    assert find_variant("mypackage.nets:T_NORM") is package[0].T_NORM
    rows = np.array([0, 1, 2]), np.array([3, 4, 0])
    scores = normalizer.score("A", "A", *rows)
    raw = (vectors[rows[0]] * vectors[rows[1]]).sum(axis=1)
    against = vectors[rows[1]].astype(np.float64) @ means.T
    expected = CohortStatistics(against.mean(axis=1), against.std(axis=1))
    np.testing.assert_allclose(scores, (raw - expected.mean) / expected.std, atol=1e-4)
