"""The base class of auxiliary losses."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn


class AuxiliaryLoss(nn.Module, ABC):
    """Base class of the weighted terms that are added to the training loss and depend on the system's embedding.

    The configuration names a term with its weight, ``loss: {orthogonality: 0.5}``, or with its options as well,
    ``loss: {orthogonality: {weight: 0.5, negative_weight: 0.3}}``. The constructor of a subclass takes the size of the
    embeddings, ``(embedding_dim)``, and its options as keyword-only arguments. A subclass defines :meth:`forward`.

    Example (a penalty on the length of embeddings):
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

    # The targets that forward receives: the class of each utterance, or the age in years or the gender of its identity.
    target: ClassVar[Literal["label", "age", "gender"]] = "label"

    # Whether the loss compares the embeddings of a batch with each other; it then receives those of all processes.
    compares_batch: ClassVar[bool] = False

    @abstractmethod
    def forward(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss before weighting, a scalar, and scalars to log, which become columns of train.csv.

        Args:
            embeddings: (B, embedding_dim).
            targets: (B,) int64 labels; or float ages, or float genders, 0 for f and 1 for m, with NaN for unknown ones;
                see ``target``.
        """
