"""What all losses on embeddings share."""

import torch
from torch import Tensor


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
