"""What every classification loss has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Classifier(nn.Module, ABC):
    """Embeddings and the classes they belong to (speakers) to a loss: the base of all classification losses.

    A subclass's constructor takes the size of the embeddings and the number of classes, ``(embedding_dim,
    num_classes)``, and its options as keyword-only arguments. It defines :meth:`forward`. A loss with a margin sets
    ``margin``, and one with a weight vector for each class overrides :attr:`class_weights`.

    Example (nearest of fixed centers at right angles):
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

    # The loss compares the embeddings of a batch with each other: it is given those of all processes, and batches must
    # have two or more speakers with the same number of utterances, two or more.
    compares_batch: ClassVar[bool] = False

    # The margin that the warm-up of a training (train.margin_warmup) raises from 0 to this value; 0: no margin.
    margin: float = 0.0

    @property
    def class_weights(self) -> nn.Parameter | None:
        """(num_classes, embedding_dim), one vector for each class in the order of labels; None for a loss without."""
        return None

    @abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the share of embeddings that are classified correctly, without any margin.

        Args:
            embeddings: (B, embedding_dim).
            labels: (B,) int64 in [0, num_classes).
        """
