"""Attention of the poolings of voice and face over time, and whether the two are complementary.

Source: Sun et al. 2022 and 2023, the figure of a clip of 0.8 s. According to their "complementary rule", the weights of
one modality are high where those of the other are low.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from avsv.corruption.clips import corrupted_utterances
from avsv.corruption.kinds import Corruption
from avsv.data.batch import Batch
from avsv.data.lists import read_utterances
from avsv.model.embedder import Embedder
from avsv.model.saved import TrainedEmbedder
from avsv.nnet.backbone import Backbone
from avsv.nnet.generative.align import to_common_grid
from avsv.nnet.pooling import WeightEnhancedStatsPooling, enhance_logits

SECONDS = 0.8  # clip whose weights are looked at
MAX_CLIPS = 200  # over which voice and face are correlated


class Attention(NamedTuple):
    """The attention of one network over one clip.

    Attributes:
        logits: (C, T) logits before enhancement.
        enhanced: (C, T) logits after enhancement, the input of the softmax over time.
        weights: (T,) temporal weights around 1.
    """

    logits: NDArray[np.float32]
    enhanced: NDArray[np.float32]
    weights: NDArray[np.float32]


def has_series(embedder: Embedder) -> bool:
    """Whether the poolings of both networks have temporal weights."""
    networks = (embedder.audio, embedder.visual)
    return all(network is not None and isinstance(network.pool, WeightEnhancedStatsPooling) for network in networks)


def attention_of(network: Backbone, inputs: torch.Tensor, mask: torch.Tensor) -> Attention:
    """The attention of a network with weight-enhanced pooling over the first clip of a batch."""
    with torch.inference_mode():
        frames, mask = network.frames(inputs[:1], mask[:1])
        valid = torch.ones_like(frames[:, :1], dtype=torch.bool) if mask is None else mask.unsqueeze(1)
        logits = network.pool.logits(frames, mask)
        enhanced, weights = enhance_logits(logits, valid, network.pool.mode == "literal")
    length = int(valid.sum())
    return Attention(*(values[0, ..., :length].numpy() for values in (logits, enhanced, weights)))


def weight_series(embedder: Embedder, batch: Batch, frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The temporal weights (B, frames) of voice and face for the clips of a batch, on a common grid."""
    series = []
    with torch.inference_mode():
        for network, values, mask in (
            (embedder.audio, batch.audio, batch.audio_mask),
            (embedder.visual, batch.video, batch.video_mask),
        ):
            _, weights, weights_mask = network.forward_with_weights(values, mask)
            series.append(to_common_grid(weights, weights_mask, frames).numpy())
    return series[0], series[1]


class ClipWeights(NamedTuple):
    """The temporal weights of voice and face over N short clips.

    Attributes:
        keys: the utterances that the clips are of.
        series: (N, 2, T) weights of voice and face on one grid.
        correlation: (N,) of the two, see :func:`correlations`.
        first: the batch of the first clip.
    """

    keys: list[str]
    series: NDArray[np.float32]
    correlation: NDArray[np.float64]
    first: Batch

    def table(self, utt2spk: Mapping[str, str]) -> pd.DataFrame:
        """The table attention.csv, sorted by utterance."""
        speakers = [utt2spk[key] for key in self.keys]
        columns = {"utterance": self.keys, "speaker": speakers, "correlation": self.correlation}
        return pd.DataFrame(columns).sort_values("utterance", ignore_index=True)

    def mean_correlation(self, utt2spk: Mapping[str, str]) -> tuple[int, float, float, float] | None:
        """How many clips have a correlation, its mean and the interval, see :func:`mean_interval`.

        None where these clips are of fewer than two speakers.
        """
        known = np.isfinite(self.correlation)
        speakers = [utt2spk[key] for key, there in zip(self.keys, known, strict=True) if there]
        if len(set(speakers)) < 2:
            return None
        return int(known.sum()), *mean_interval(self.correlation[known], speakers)


def clip_weights(system: TrainedEmbedder, directory: Path, seed: int) -> ClipWeights | None:
    """The temporal weights over a clip of each utterance, or of every n-th where there are many.

    Args:
        system: both of its networks pool with temporal weights, see :func:`has_series`.
        directory: data directory.
        seed: of the places of the clips.

    Returns:
        None where no utterance has a clip of this length of voice and face.

    Raises:
        DataError: as :func:`avsv.data.lists.read_utterances`; a waveform or faces cannot be read.
    """
    audio, fps = system.inputs.audio, system.inputs.video.fps
    grid = round(SECONDS * fps)
    table = read_utterances(directory, "audio.scp", True)
    long_enough = table.audio_frames >= audio.num_frames(round(SECONDS * audio.sample_rate))
    long_enough &= table.video_frames >= grid
    long = [table.keys[row] for row in np.flatnonzero(long_enough)]
    if not long:
        return None
    step = -(-len(long) // MAX_CLIPS)
    table = read_utterances(directory, "audio.scp", True, only=set(long[::step]))
    embed = replace(system.config, video_frames=None, video_fps=None, mirror=False)
    clips = corrupted_utterances(table, embed, system.inputs, Corruption("length", SECONDS, seed))
    keys, parts, first = [], [], None
    for batch in clips.prepared():
        first = first or batch
        keys += batch.keys
        parts.append(np.stack(weight_series(system.embedder, batch, grid), axis=1))
    series = np.concatenate(parts)
    return ClipWeights(keys, series, correlations(series[:, 0], series[:, 1]), first)


def attention_maps(embedder: Embedder, batch: Batch) -> dict[str, NDArray[np.float32]]:
    """The logits (C, T) of voice and face over the first clip of a batch, before and after enhancement, by title."""
    voice = attention_of(embedder.audio, batch.audio, batch.audio_mask)
    face = attention_of(embedder.visual, batch.video, batch.video_mask)
    return {
        "voice, logits": voice.logits, "voice, enhanced": voice.enhanced,
        "face, logits": face.logits, "face, enhanced": face.enhanced,
    }  # fmt: skip


def correlations(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Pearson correlation (N,) of the rows of two arrays (N, T); NaN if a row is constant.

    Example:
        >>> correlations(np.array([[1, 2, 3], [1, 2, 3], [1, 1, 1]]), np.array([[2, 4, 6], [3, 2, 1], [1, 2, 3]]))
        array([ 1., -1., nan])
    """
    first, second = (np.float64(x) - np.mean(x, axis=1, keepdims=True, dtype=np.float64) for x in (first, second))
    with np.errstate(invalid="ignore"):
        norms = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        return (first * second).sum(axis=1) / norms


def mean_interval(values: NDArray, speakers: Sequence[str], confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of the means of speakers, and its t interval, since clips of one speaker are not independent.

    Example:
        >>> [round(x, 3) for x in mean_interval(np.array([1.0, 3.0, 2.0, 6.0]), ["a", "a", "b", "c"])]
        [3.333, -2.404, 9.07]
    """
    from scipy.stats import t

    names, numbers = np.unique(speakers, return_inverse=True)
    means = np.bincount(numbers, values) / np.bincount(numbers)
    reach = t.ppf((1 + confidence) / 2, len(names) - 1) * means.std(ddof=1) / np.sqrt(len(names))
    return float(means.mean()), float(means.mean() - reach), float(means.mean() + reach)
