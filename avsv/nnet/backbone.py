"""What every backbone has in common."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Frames, pooling over time, embedding: the base of the audio and visual networks.

    A subclass sets ``pool`` (see :func:`avsv.nnet.pooling.build_pooling`), ``embed`` ((B, pool.output_dim) to (B, D))
    and ``embedding_dim`` (D), and defines :meth:`frames`.
    """

    embedding_dim: int
    pool: nn.Module
    embed: nn.Module

    @abstractmethod
    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, C, T') and their mask (B, T'), before pooling.

        Args:
            inputs: (B, T, F) audio features or (B, T, C, H, W) video frames.
            mask: (B, T) boolean, True for a valid frame; None means that all are.
        """

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of inputs as in :meth:`frames`; padding does not change them."""
        return self.embed(self.pool(*self.frames(inputs, mask)))
