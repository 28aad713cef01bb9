"""Orthogonality constraint on embeddings."""

import torch
from torch import Tensor
from torch.nn import functional

from avsv.losses.auxiliary import AuxiliaryLoss
from avsv.losses.common import at_least_float32


class OrthogonalityLoss(AuxiliaryLoss):
    """Orthogonality constraint: parallel embeddings of the same identity, orthogonal ones of different identities.

    The loss is ``1 - s + negative_weight * d``, where s is the mean cosine of all pairs of the same identity and d the
    mean absolute cosine of all pairs of different identities; s is 0 if no identity occurs twice in the batch.

    Source: Ranasinghe et al. 2021, arXiv:2103.14021, in the form of Saeed et al. 2022, arXiv:2112.10483: as in their
    published code, absolute values are taken before the mean. Sun et al. 2022, section 2.3, apply it to fused
    embeddings.

    Few random batches contain two utterances of one identity; use batches with several utterances of each identity.

    Computed at least in float32, also under autocast.

    Args:
        embedding_dim: size D of the embeddings; unused.
        negative_weight: weight of the pairs of different identities.

    Shape:
        - embeddings: (B, D)
        - targets: (B,) int64 labels
        - output: the loss, a scalar, and the same loss under the name orthogonality

    Example (two identities in opposite directions):
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
