"""Where the pooling of voice and face looks: attention over time, and whether the two are complementary.

Source: Sun et al. 2022 and 2023, the figure of a clip of 0.8 s. By their "complementary rule" one modality's weights
are high where the other's are low.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from avsv.data.batch import Batch
from avsv.model.embedder import Embedder
from avsv.nnet.backbone import Backbone
from avsv.nnet.generative.align import to_common_grid
from avsv.nnet.pooling import WeightEnhancedStatsPooling, enhance_logits


class Attention(NamedTuple):
    """The attention of one network over one clip.

    Attributes:
        logits: (C, T) before enhancement.
        enhanced: (C, T) after it, what the softmax over time is taken of.
        weights: (T,) temporal weights around 1.
    """

    logits: NDArray[np.float32]
    enhanced: NDArray[np.float32]
    weights: NDArray[np.float32]


def has_series(embedder: Embedder) -> bool:
    """Whether both networks pool with temporal weights."""
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
    """The temporal weights (B, frames) of voice and face of a batch's clips, on one grid."""
    series = []
    with torch.inference_mode():
        for network, values, mask in (
            (embedder.audio, batch.audio, batch.audio_mask),
            (embedder.visual, batch.video, batch.video_mask),
        ):
            _, weights, weights_mask = network.forward_with_weights(values, mask)
            series.append(to_common_grid(weights, weights_mask, frames).numpy())
    return series[0], series[1]


def correlations(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Pearson's correlation (N,) of the rows of two arrays (N, T); NaN where a row is constant.

    Example:
        >>> correlations(np.array([[1, 2, 3], [1, 2, 3], [1, 1, 1]]), np.array([[2, 4, 6], [3, 2, 1], [1, 2, 3]]))
        array([ 1., -1., nan])
    """
    first, second = (np.float64(x) - np.mean(x, axis=1, keepdims=True, dtype=np.float64) for x in (first, second))
    with np.errstate(invalid="ignore"):
        norms = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        return (first * second).sum(axis=1) / norms


def mean_interval(values: NDArray, speakers: Sequence[str], confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean over speakers of their means, and its t interval: clips of one speaker are not independent.

    Example:
        >>> [round(x, 3) for x in mean_interval(np.array([1.0, 3.0, 2.0, 6.0]), ["a", "a", "b", "c"])]
        [3.333, -2.404, 9.07]
    """
    from scipy.stats import t

    names, numbers = np.unique(speakers, return_inverse=True)
    means = np.bincount(numbers, values) / np.bincount(numbers)
    reach = t.ppf((1 + confidence) / 2, len(names) - 1) * means.std(ddof=1) / np.sqrt(len(names))
    return float(means.mean()), float(means.mean() - reach), float(means.mean() + reach)
