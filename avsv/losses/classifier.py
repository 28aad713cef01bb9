"""The base class of classification losses."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Classifier(nn.Module, ABC):
    """Base class of classification losses, which compute a loss from embeddings and their classes (identities).

    The constructor of a subclass takes the size of the embeddings and the number of classes, ``(embedding_dim,
    num_classes)``, and its options as keyword-only arguments. A subclass defines :meth:`forward`. A loss with a margin
    sets ``margin``, and a loss with one weight vector per class overrides :attr:`class_weights`.

    Example (the nearest of fixed, orthogonal centers):
        >>> import torch
        >>> from torch.nn import functional
        >>> class RightAngles(Classifier):
        ...     def __init__(self, embedding_dim: int, num_classes: int) -> None:
        ...         super().__init__()
        ...     def forward(self, embeddings, labels):
        ...         accuracy = (embeddings.argmax(dim=1) == labels).float().mean()
        ...         return functional.cross_entropy(embeddings, labels), accuracy
        >>> loss, accuracy = RightAngles(2, 2)(torch.zeros(1, 2), torch.tensor([0]))
        >>> round(loss.item(), 4), RightAngles(2, 2).margin
        (0.6931, 0.0)
    """

    # Whether the loss compares the embeddings of a batch with each other. It then receives those of all processes, and
    # a batch must have two or more identities with the same number of utterances, two or more.
    compares_batch: ClassVar[bool] = False

    # The full margin, which train.margin_warmup reaches from 0; 0 for a loss without a margin.
    margin: float = 0.0

    @property
    def class_weights(self) -> nn.Parameter | None:
        """(num_classes, embedding_dim), one vector per class in the order of the labels; None if the loss has none."""
        return None

    @abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss, a scalar, and the share of embeddings that are classified correctly without the margin.

        Args:
            embeddings: (B, embedding_dim).
            labels: (B,) int64 in [0, num_classes).
        """
