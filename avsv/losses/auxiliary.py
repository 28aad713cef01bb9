"""What all auxiliary losses have in common."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn


class AuxiliaryLoss(nn.Module, ABC):
    """A further term of the training loss on the system's embedding, with a weight: the base of all such terms.

    The configuration names it with its weight, ``loss: {orthogonality: 0.5}``, or with its options as well,
    ``loss: {orthogonality: {weight: 0.5, negative_weight: 0.3}}``. A subclass's constructor takes the size of the
    embeddings, ``(embedding_dim)``, and its options as keyword-only arguments. It defines :meth:`forward`.

    Example (embeddings should not be long):
        >>> import torch
        >>> class Length(AuxiliaryLoss):
        ...     def __init__(self, embedding_dim: int) -> None:
        ...         super().__init__()
        ...     def forward(self, embeddings, targets):
        ...         loss = embeddings.square().sum(dim=1).mean()
        ...         return loss, {"length": loss}
        >>> Length(2)(torch.ones(3, 2), torch.zeros(3))[0]
        tensor(2.)
    """

    # What forward is told of each utterance: its class, or the age in years of its speaker.
    target: ClassVar[Literal["label", "age"]] = "label"

    # The loss compares the embeddings of a batch with each other: it is given those of all processes.
    compares_batch: ClassVar[bool] = False

    @abstractmethod
    def forward(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss before it is weighted, a scalar, and scalars to log, which become columns of train.csv.

        Args:
            embeddings: (B, embedding_dim).
            targets: (B,) int64 labels, or float ages, NaN where the age is not known; see ``target``.
        """
