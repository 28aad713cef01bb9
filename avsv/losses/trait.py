"""The base class of auxiliary classifications of traits: properties that identities share."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.losses.auxiliary import AuxiliaryLoss
from avsv.losses.common import accuracy, at_least_float32


class TraitClassifier(AuxiliaryLoss, ABC):
    """Base class of auxiliary classifications: a linear layer to one score per class, and cross entropy.

    Used in training only. Embeddings whose class is unknown are ignored. Computed at least in float32, also under
    autocast. A subclass sets ``target`` and defines :meth:`classes`.

    Args:
        embedding_dim: size D of the embeddings.
        num_classes: number of classes.

    Shape:
        - embeddings: (B, D)
        - targets: (B,)
        - output: the loss, a scalar, and the figures TARGET_loss and TARGET_accuracy, the share of known classes that
          have the largest score; if none is known, the loss is 0 without gradient and there are no figures
    """

    def __init__(self, embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_dim))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.xavier_uniform_(self.weight)

    @abstractmethod
    def classes(self, targets: Tensor) -> Tensor:
        """The class (B,) int64 of each target; -1 if it is unknown."""

    def forward(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        classes = self.classes(targets)
        known = classes >= 0
        with torch.autocast(embeddings.device.type, enabled=False):
            scores = functional.linear(at_least_float32(embeddings), self.weight, self.bias)
            # A mean over no rows would be NaN.
            loss = functional.cross_entropy(scores, classes, ignore_index=-1, reduction="sum") / known.sum().clamp(
                min=1
            )
        if not known.any():
            return loss, {}
        return loss, {f"{self.target}_loss": loss, f"{self.target}_accuracy": accuracy(scores[known], classes[known])}
