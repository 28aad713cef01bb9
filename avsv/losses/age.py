"""Auxiliary classification of age."""

import torch
from torch import Tensor

from avsv.losses.trait import TraitClassifier


class AgeClassifier(TraitClassifier):
    """Auxiliary classification of age in classes of years; see :class:`avsv.losses.trait.TraitClassifier`.

    Source: the auxiliary task of REPTAR, arXiv:2309.07115, which does not publish its age classes.

    Args:
        embedding_dim: size D of the embeddings.
        edges: the largest age in years of each class except the last, in increasing order.

    Shape:
        - embeddings: (B, D)
        - targets: (B,) ages in years; negative or NaN if the age is unknown
        - output: the loss, a scalar, and the figures age_loss and age_accuracy

    Example (all scores 0 with 7 classes: ln 7):
        >>> classifier = AgeClassifier(4)
        >>> _ = torch.nn.init.zeros_(classifier.weight)
        >>> round(classifier(torch.randn(3, 4), torch.tensor([25.0, -1.0, float("nan")]))[0].item(), 4)
        1.9459
    """

    target = "age"

    def __init__(self, embedding_dim: int, *, edges: tuple[int, ...] = (20, 30, 40, 50, 60, 70)) -> None:
        if len(edges) == 0 or list(edges) != sorted(set(edges)):
            raise ValueError(f"edges: {list(edges)}: must be one or more ages in increasing order")
        super().__init__(embedding_dim, len(edges) + 1)
        self.edges = tuple(edges)

    def classes(self, targets: Tensor) -> Tensor:
        """The class (B,) of each age."""
        return age_class(targets, self.edges)


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
