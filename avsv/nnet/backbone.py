"""What every backbone has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from avsv.nnet.pooling import Pooling


class Backbone(nn.Module, ABC):
    """Frames, pooling over time, embedding: the base of the audio and visual networks.

    A subclass's constructor takes its options as keyword-only arguments. It sets ``pool`` (see
    :func:`avsv.nnet.pooling.build_pooling`), ``embed`` ((B, pool.output_dim) to (B, D)) and ``embedding_dim`` (D), and
    defines :meth:`frames`. An audio network says in ``takes`` what its input is, and unless this is the waveform it has
    an option ``feature_dim``, the number of features; a visual network has ``image_channels``, ``image_height`` and
    ``image_width``.
    """

    # fbank: (B, T, F) mean-normalized features; waveform: (B, n) samples in [-1, 1]; log_mel: (B, T, F) log-mel
    # energies that the data side computes from the waveform and that are not normalized.
    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "fbank"

    embedding_dim: int
    pool: Pooling
    embed: nn.Module

    @abstractmethod
    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, C, T') and their mask (B, T'), before pooling.

        Args:
            inputs: (B, T, F) audio features, (B, n) samples or (B, T, C, H, W) video frames in [-0.5, 0.5].
            mask: (B, T) or (B, n) boolean, True for a valid frame or sample; None means that all are.
        """

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of inputs as in :meth:`frames`; padding does not change them."""
        return self.embed(self.pool(*self.frames(inputs, mask)))

    def forward_with_weights(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embeddings (B, D), the pooling's temporal weights (B, T') and their mask, where the pooling has such."""
        frames, mask = self.frames(inputs, mask)
        pooled, weights = self.pool.pool_with_weights(frames, mask)
        return self.embed(pooled), weights, mask

    def set_log_mel_statistics(self, mean: Tensor, deviation: Tensor, clip_frames: int) -> None:
        """Take the statistics of the training set, before training, where ``takes`` is log_mel.

        Args:
            mean: (F,) mean of each bin over all training frames.
            deviation: (F,) their standard deviation.
            clip_frames: frames of a training clip.
        """
        raise NotImplementedError(f"{type(self).__name__} takes log-mel energies and must take their statistics")

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under this network's names from a state dict as its authors publish it.

        Keys that are needed for classification only are left out; what the published network does not have (a pooling
        over time, an embedding layer) is missing in the result and keeps its fresh weights.

        Raises:
            ValueError: no such weights are known for this network, or they are of another one.
        """
        raise ValueError(f"no published weights are known for {type(self).__name__}")
