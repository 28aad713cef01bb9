"""The base class of backbones."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from avsv.nnet.generative.align import to_common_grid
from avsv.nnet.pooling import Pooling


class Backbone(nn.Module, ABC):
    """Base class of audio and visual networks: frame features, pooling over time, embedding.

    The constructor of a subclass takes its options as keyword-only arguments and sets ``pool`` (see
    :func:`avsv.nnet.pooling.build_pooling`), ``embed`` ((B, pool.output_dim) to (B, D)) and ``embedding_dim`` (D). The
    subclass defines :meth:`frames`. An audio network declares its input in ``takes`` and, unless this is the waveform,
    has an option ``feature_dim``, the number of features; a visual network has the options ``image_channels``,
    ``image_height`` and ``image_width``.
    """

    # fbank: (B, T, F) mean-normalized features; waveform: (B, n) samples in [-1, 1]; log_mel: (B, T, F) log-mel
    # energies, computed from the waveform when a clip is read, and not normalized.
    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "fbank"

    # The only sample rate in Hz of recordings that it can take; None if features of any rate will do.
    sample_rate: ClassVar[int | None] = None

    embedding_dim: int
    pool: Pooling
    embed: nn.Module

    @abstractmethod
    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, C, T') and their mask (B, T'), before pooling.

        Args:
            inputs: (B, T, F) audio features, (B, n) samples or (B, T, C, H, W) video frames in [-0.5, 0.5].
            mask: (B, T) or (B, n) boolean, True for valid frames or samples; None if all are valid.
        """

    def forward(self, inputs: Tensor, mask: Tensor | None = None, worth: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of inputs as in :meth:`frames`; padding does not change them.

        ``worth`` (B, Tw) is the true worth of the moments of each utterance, evenly spread over it and negative in
        padding, for a pooling that needs it.
        """
        frames, mask = self.frames(inputs, mask)
        if not self.pool.needs_worth:
            return self.embed(self.pool(frames, mask))
        return self.embed(self.pool(frames, mask, spread_worth(worth, frames, mask)))

    def forward_with_weights(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embeddings (B, D), temporal weights (B, T') and their mask, for a pooling that has temporal weights."""
        frames, mask = self.frames(inputs, mask)
        pooled, weights = self.pool.pool_with_weights(frames, mask)
        return self.embed(pooled), weights, mask

    def figures(self, inputs: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """What shows how it pools these inputs; see :meth:`avsv.nnet.pooling.Pooling.figures`."""
        return self.pool.figures(*self.frames(inputs, mask))

    def set_log_mel_statistics(self, mean: Tensor, deviation: Tensor, clip_frames: int) -> None:
        """Set the statistics of the training set before training, if ``takes`` is log_mel.

        Args:
            mean: (F,) mean of each bin over all training frames.
            deviation: (F,) standard deviation of each bin.
            clip_frames: frames of a training clip.

        Raises:
            TypeError: the class takes log_mel and does not define this method.
        """
        raise TypeError(f"{type(self).__name__} takes log-mel energies and must define set_log_mel_statistics")

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a state dict as published by the authors of the network to the names of this network.

        Keys that are needed only for classification are omitted. Parts that the published network does not have (a
        pooling over time, an embedding layer) are missing from the result and keep their random weights.

        Raises:
            ValueError: no published weights are known for this network, or these belong to another network.
        """
        raise ValueError(f"no published weights are known for {type(self).__name__}")


def spread_worth(worth: Tensor, frames: Tensor, mask: Tensor | None) -> Tensor:
    """Resample the worth (B, Tw) of utterances, negative in padding, to their frames (B, C, T): (B, T)."""
    counts = [frames.shape[2]] * len(frames) if mask is None else mask.sum(dim=1).tolist()
    spread = frames.new_zeros(len(frames), frames.shape[2])
    for row, count in enumerate(counts):
        series = worth[row : row + 1]
        spread[row, :count] = to_common_grid(series, series >= 0, count)[0]
    return spread
