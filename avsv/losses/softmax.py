"""Softmax loss: classification of identities, and what all losses on embeddings share."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Softmax(nn.Module):
    """Softmax loss: a linear layer to one score for each identity, and cross entropy.

    Computed in float32 at least, also under autocast.

    Args:
        embedding_dim: size D of the embeddings.
        num_classes: number K of identities.

    Shape:
        - embeddings: (B, D)
        - labels: (B,) int64 in [0, K)
        - output: the loss, a scalar, and the share of embeddings whose own class has the largest score

    Example (all scores 0 with 4 classes: ln 4):
        >>> loss = Softmax(2, 4)
        >>> _ = nn.init.zeros_(loss.weight)
        >>> round(loss(torch.ones(1, 2), torch.tensor([0]))[0].item(), 4)
        1.3863
    """

    def __init__(self, embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_dim))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(embeddings.device.type, enabled=False):
            scores = functional.linear(at_least_float32(embeddings), self.weight, self.bias)
            loss = functional.cross_entropy(scores, labels)
        return loss, accuracy(scores, labels)


def at_least_float32(embeddings: Tensor) -> Tensor:
    """The embeddings in float32, or in their own type where that is more precise.

    Example:
        >>> at_least_float32(torch.zeros(1).bfloat16()).dtype, at_least_float32(torch.zeros(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """The share of rows whose label has the largest score, a scalar; not a number where there are no rows.

    Args:
        scores: (B, K).
        labels: (B,) int64 in [0, K).

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        tensor(0.5000)
    """
    return (scores.argmax(dim=1) == labels).float().mean()
