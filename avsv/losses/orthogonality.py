"""Orthogonality constraint on embeddings."""

import torch
from torch import Tensor
from torch.nn import functional

from avsv.losses.auxiliary import AuxiliaryLoss
from avsv.losses.common import at_least_float32


class OrthogonalityLoss(AuxiliaryLoss):
    """Orthogonality constraint: embeddings of one person in one direction, those of different persons at right angles.

    With s the mean cosine of all pairs of one person and d the mean absolute cosine of all pairs of different persons,
    the loss is ``1 - s + negative_weight * d``; s is 0 where the batch has no two embeddings of one person.

    Source: Ranasinghe et al. 2021, arXiv:2103.14021, in the form of Saeed et al. 2022, arXiv:2112.10483: as in the
    latter's published code, absolute values are taken before the mean. Sun et al. 2022, section 2.3, put it on fused
    embeddings.

    Few random batches have two utterances of a person, so batches of several utterances of each make the most of it.
    Computed in float32 at least, also under autocast.

    Args:
        embedding_dim: size D of the embeddings; nothing depends on it.
        negative_weight: weight of the pairs of different persons.

    Shape:
        - embeddings: (B, D)
        - targets: (B,) int64 labels
        - output: the loss, a scalar, and the same under the name orthogonality

    Example (two persons in opposite directions):
        >>> embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
        >>> OrthogonalityLoss(2)(embeddings, torch.tensor([0, 0, 1, 1]))[0]
        tensor(0.7000)
    """

    compares_batch = True

    def __init__(self, embedding_dim: int, *, negative_weight: float = 0.7) -> None:
        super().__init__()
        if not negative_weight >= 0:
            raise ValueError(f"negative_weight: {negative_weight}: must not be negative")
        self.negative_weight = negative_weight

    def forward(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = functional.normalize(at_least_float32(embeddings))
            cosines = embeddings @ embeddings.T
            same = targets.unsqueeze(1) == targets
            different = ~same
            same.fill_diagonal_(False)
            mean_same = (cosines * same).sum() / same.sum().clamp(min=1)
            mean_different = (cosines.abs() * different).sum() / different.sum().clamp(min=1)
            loss = 1.0 - mean_same + self.negative_weight * mean_different
        return loss, {"orthogonality": loss}
