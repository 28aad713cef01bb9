"""Auxiliary classification of age."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.losses.auxiliary import AuxiliaryLoss
from avsv.losses.common import accuracy, at_least_float32


class AgeClassifier(AuxiliaryLoss):
    """Auxiliary age classification: a linear layer to one score per age class, and cross entropy.

    Source: the auxiliary task of REPTAR, arXiv:2309.07115, which does not publish its age classes. Used in training
    only. Embeddings without an age are ignored. Computed at least in float32, also under autocast.

    Args:
        embedding_dim: size D of the embeddings.
        edges: the largest age in years of each class except the last, in increasing order.

    Shape:
        - embeddings: (B, D)
        - targets: (B,) ages in years; negative or NaN if the age is unknown
        - output: the loss, a scalar, and the figures age_loss and age_accuracy, the share of known ages whose class has
          the largest score; if no age is known, the loss is 0 without gradient and there are no figures

    Example (all scores 0 with 7 classes: ln 7):
        >>> classifier = AgeClassifier(4)
        >>> _ = nn.init.zeros_(classifier.weight)
        >>> round(classifier(torch.randn(3, 4), torch.tensor([25.0, -1.0, float("nan")]))[0].item(), 4)
        1.9459
    """

    target = "age"

    def __init__(self, embedding_dim: int, *, edges: tuple[int, ...] = (20, 30, 40, 50, 60, 70)) -> None:
        super().__init__()
        if len(edges) == 0 or list(edges) != sorted(set(edges)):
            raise ValueError(f"edges: {list(edges)}: must be one or more ages in increasing order")
        self.edges = tuple(edges)
        self.weight = nn.Parameter(torch.empty(len(edges) + 1, embedding_dim))
        self.bias = nn.Parameter(torch.zeros(len(edges) + 1))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        classes = age_class(targets, self.edges)
        known = classes >= 0
        with torch.autocast(embeddings.device.type, enabled=False):
            scores = functional.linear(at_least_float32(embeddings), self.weight, self.bias)
            # A mean over no rows would be NaN.
            loss = functional.cross_entropy(scores, classes, ignore_index=-1, reduction="sum") / known.sum().clamp(
                min=1
            )
        if not known.any():
            return loss, {}
        return loss, {"age_loss": loss, "age_accuracy": accuracy(scores[known], classes[known])}


def age_class(ages: Tensor, edges: tuple[int, ...]) -> Tensor:
    """The class of each age: 0 up to and including the first edge, and so on; -1 if the age is unknown.

    Args:
        ages: (B,) in years; negative or NaN if unknown.
        edges: in increasing order.

    Returns:
        (B,) int64.

    Example:
        >>> age_class(torch.tensor([20.0, 21.0, 30.0, 71.0, -1.0, float("nan")]), (20, 30, 40, 50, 60, 70)).tolist()
        [0, 1, 1, 6, -1, -1]
    """
    classes = torch.bucketize(ages, torch.tensor(edges, dtype=ages.dtype, device=ages.device))
    return torch.where(ages >= 0, classes, -1)
