"""Functions shared by the losses on embeddings."""

import torch
from torch import Tensor, distributed


def at_least_float32(embeddings: Tensor) -> Tensor:
    """The embeddings in float32, or in their own type if that is more precise.

    Example:
        >>> at_least_float32(torch.zeros(1).bfloat16()).dtype, at_least_float32(torch.zeros(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def gather_batch(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the embeddings and labels of the whole batch from all processes, which have shares of the same size.

    This is for losses that compare the embeddings of a batch with each other: every process then computes the same
    loss. The gradient of its own share is multiplied by the number of processes, so that the mean of their gradients,
    which DistributedDataParallel computes, equals that of one process with the whole batch.

    Example (one process has the whole batch):
        >>> gather_batch(torch.ones(2, 1), torch.tensor([0, 1]))[1]
        tensor([0, 1])
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return embeddings, labels
    shares = [torch.empty_like(labels) for _ in range(distributed.get_world_size())]
    distributed.all_gather(shares, labels.contiguous())
    return _Gather.apply(at_least_float32(embeddings)), torch.cat(shares)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, embeddings: Tensor) -> Tensor:
        shares = [torch.empty_like(embeddings) for _ in range(distributed.get_world_size())]
        distributed.all_gather(shares, embeddings.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        world = distributed.get_world_size()
        return gradient.chunk(world)[distributed.get_rank()] * world


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """The share of rows whose label has the largest score, a scalar; NaN if there are no rows.

    Args:
        scores: (B, K).
        labels: (B,) int64 in [0, K).

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        tensor(0.5000)
    """
    return (scores.argmax(dim=1) == labels).float().mean()
