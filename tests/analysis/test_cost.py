"""Costs compared with counts by hand."""

from dataclasses import replace

import pytest
import torch
from synthetic import FACES, FBANK, config, mapping

from avsv.analysis.cost import clip_batch, measure_cost
from avsv.config.sections import EmbedConfig
from avsv.errors import DataError
from avsv.model.config import parse_config
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of


def test_cost_of_computed_weights():
    """HuBERT's positional convolution normalizes its weights in every pass."""
    options = {"freeze": False, "layers": 1, "width": 32, "channels": 32, "aggregate_channels": 64}
    settings = parse_config({**mapping("A"), "audio": {"name": "self_supervised", **options}}, "tests")
    inputs = inputs_of(settings, FBANK, None)
    audio, whole = measure_cost(Embedder(settings), clip_batch(inputs, 1.0, EmbedConfig()))
    # 49 frames; the first of the convolutions of stride 5, 2, 2, 2, 2, 2, 2 alone has 32 x 10 weights at 3199 places.
    assert whole.multiply_adds == audio.multiply_adds > 3199 * 320


def test_cost_is_counted_by_hand():
    inputs = inputs_of(config("AV"), FBANK, FACES)
    batch = clip_batch(inputs, 1.0, EmbedConfig(video_frames=3))
    assert (batch.audio.shape, batch.video.shape) == ((1, 98, 20), (1, 3, 1, 16, 16))
    costs = {cost.part: cost for cost in measure_cost(Embedder(config("AV")), batch)}
    assert list(costs) == ["audio", "visual", "fusion", "all"]
    network = Embedder(config("AV"))
    assert costs["all"].parameters == sum(parameter.numel() for parameter in network.parameters())
    assert costs["all"].multiply_adds == sum(costs[part].multiply_adds for part in ("audio", "visual", "fusion"))
    # Every convolution and every matrix product, counted with hooks.
    counted = []

    def count(module, _, output):
        positions = output[0, 0].numel() if module.weight.ndim > 2 else 1
        counted.append(module.weight.numel() * positions * (len(output) if module.weight.ndim > 2 else 1))

    for module in network.visual.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network.eval().visual(batch.video, batch.video_mask)
    assert 0.7 * costs["visual"].multiply_adds < sum(counted) <= costs["visual"].multiply_adds
    assert all(cost.seconds > 0 for cost in costs.values())


def test_cost_and_embedding_with_the_true_worth():
    """A pooling by true worth has the cost of the mean, and embeds nothing whose worth is not known."""
    costs = {}
    for pooling in ("tap", "oracle"):
        content = mapping("A")
        settings = parse_config({**content, "audio": {**content["audio"], "pooling": pooling}}, "tests")
        inputs = inputs_of(settings, FBANK, None)
        costs[pooling] = measure_cost(Embedder(settings), clip_batch(inputs, 1.0, EmbedConfig()))[-1]
    assert costs["oracle"].multiply_adds == costs["tap"].multiply_adds
    batch = replace(clip_batch(inputs, 1.0, EmbedConfig()), audio_worth=None)
    with pytest.raises(DataError, match="needs the true worth of every moment"):
        Embedder(settings).eval().embed(batch, ["A"])
