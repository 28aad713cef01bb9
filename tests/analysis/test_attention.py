"""Attention of voice and face, their correlation and its interval."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp
from synthetic import FACES, FBANK, config, make_data_dir

from avsv.analysis import attention
from avsv.analysis.attention import (
    MAX_CLIPS,
    SECONDS,
    ClipWeights,
    attention_maps,
    attention_of,
    clip_weights,
    correlations,
    has_series,
    mean_interval,
    weight_series,
)
from avsv.analysis.cost import clip_batch
from avsv.config.sections import EmbedConfig
from avsv.data.lists import read_utterances
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.model.saved import TrainedEmbedder


def test_attention_of_a_clip():
    settings = config("AV", audio={"pooling": "we_asp"}, visual={"pooling": "we_asp"})
    system = Embedder(settings).eval()
    assert has_series(system)
    assert not has_series(Embedder(config("AV")))
    assert not has_series(Embedder(config("A")))
    batch = clip_batch(inputs_of(settings, FBANK, FACES), 0.8, EmbedConfig(video_frames=20))
    found = attention_of(system.audio, batch.audio, batch.audio_mask)
    assert found.logits.shape == found.enhanced.shape == (32, 78)
    # The weights are the enhanced logits' means over channels, up to a factor.
    ratio = found.enhanced.mean(axis=0) / found.weights
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    voice, face = weight_series(system, batch, 20)
    assert voice.shape == face.shape == (1, 20)
    np.testing.assert_allclose(face[0], attention_of(system.visual, batch.video, batch.video_mask).weights, rtol=1e-5)


def test_correlation_and_its_interval():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 50, 20))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlations(first, second), expected)
    speakers = [f"s{n // 5}" for n in range(50)]
    mean, low, high = mean_interval(correlations(first, second), speakers)
    means = np.array(expected).reshape(10, 5).mean(axis=1)
    reference = ttest_1samp(means, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((means.mean(), reference.low, reference.high))


@pytest.fixture
def system():
    settings = config("AV", audio={"pooling": "we_asp"}, visual={"pooling": "we_asp"})
    torch.manual_seed(0)
    return TrainedEmbedder("both", Embedder(settings).eval(), inputs_of(settings, FBANK, FACES), settings.embed)


def test_weights_of_short_clips(system, tmp_path, monkeypatch):
    """Utterances that are too short have no clip; if there are many, every n-th has one."""
    folder = make_data_dir(tmp_path / "eval", 3, 4, (0.5, 1.5))
    table = read_utterances(folder, "audio.scp", True)
    grid = round(SECONDS * FACES.fps)
    long = [
        key
        for key, audio, video in zip(table.keys, table.audio_frames, table.video_frames, strict=True)
        if audio >= FBANK.num_frames(round(SECONDS * FBANK.sample_rate)) and video >= grid
    ]
    assert 4 < len(long) < 12
    found = clip_weights(system, folder, seed=0)
    assert sorted(found.keys) == long
    assert found.series.shape == (len(long), 2, grid)
    expected = [np.corrcoef(*pair)[0, 1] for pair in found.series.astype(np.float64)]
    np.testing.assert_allclose(found.correlation, expected, rtol=1e-6)
    first = weight_series(system.embedder, found.first, grid)
    np.testing.assert_allclose(found.series[0], [side[0] for side in first], rtol=1e-6)
    maps = attention_maps(system.embedder, found.first)
    assert list(maps) == ["voice, logits", "voice, enhanced", "face, logits", "face, enhanced"]
    face = attention_of(system.embedder.visual, found.first.video, found.first.video_mask)
    np.testing.assert_array_equal(maps["face, enhanced"], face.enhanced)

    monkeypatch.setattr(attention, "MAX_CLIPS", len(long) - 1)
    assert sorted(clip_weights(system, folder, seed=0).keys) == long[::2]
    assert len(long) <= MAX_CLIPS
    assert clip_weights(system, make_data_dir(tmp_path / "short", 2, 2, (0.3, 0.5)), seed=0) is None


def test_table_and_mean_of_correlations():
    speakers = {"b": "s1", "a": "s1", "d": "s2", "c": "s3"}
    correlation = np.array([0.5, -0.25, 0.125, np.nan])
    found = ClipWeights(["b", "a", "d", "c"], np.zeros((4, 2, 5)), correlation, None)
    table = found.table(speakers)
    assert table.to_numpy().tolist()[:2] == [["a", "s1", -0.25], ["b", "s1", 0.5]]
    assert table["utterance"].tolist() == list("abcd")
    assert np.isnan(table["correlation"][2])
    # A clip without a correlation does not count, nor does its speaker.
    assert found.mean_correlation(speakers) == (3, *mean_interval(correlation[:3], ["s1", "s1", "s2"]))
    assert found.mean_correlation(dict.fromkeys("abd", "s1") | {"c": "s3"}) is None
