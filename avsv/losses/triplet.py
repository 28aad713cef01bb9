"""Triplet loss with the hardest positive and negative of the batch."""

import torch
from torch import Tensor
from torch.nn import functional

from avsv.losses.classifier import Classifier
from avsv.losses.common import at_least_float32


class BatchHardTriplet(Classifier):
    """Triplet loss: each embedding is nearer to the farthest of its identity than to the nearest of any other.

    The loss of an embedding is ``max(0, margin + largest distance to one of its identity - smallest distance to one of
    another identity)``, with Euclidean distances between embeddings of length 1, and the mean is taken over the batch.

    Source: Hermans et al. 2017, arXiv:1703.07737, equation 5 ("batch hard").

    A batch must contain several identities with several utterances each. Computed at least in float32, also under
    autocast.

    Args:
        embedding_dim: size D of the embeddings; unused.
        num_classes: number of identities; unused.
        margin: by how much it is to be nearer.

    Shape:
        - embeddings: (B, D)
        - labels: (B,) int64, in any order
        - output: the loss, a scalar, and the share of embeddings whose nearest other embedding is of their identity

    Raises:
        ValueError: the batch has fewer than two identities, or one with a single utterance.

    Example (at right angles to the others, all of an identity alike: 0.2 + 0 - 2 ** 0.5 < 0):
        >>> BatchHardTriplet(2, 9)(torch.eye(2).repeat(2, 1), torch.tensor([4, 7, 4, 7]))
        (tensor(0.), tensor(1.))
    """

    compares_batch = True

    def __init__(self, embedding_dim: int, num_classes: int, *, margin: float = 0.2) -> None:
        super().__init__()
        if not margin >= 0:
            raise ValueError(f"margin: {margin}: must not be negative")
        self.margin = margin

    def extra_repr(self) -> str:
        return f"margin={self.margin}"

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        same = labels.unsqueeze(1) == labels
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        if not ((same & ~itself).any(dim=1) & (~same).any(dim=1)).all():
            raise ValueError("triplet: a batch needs two or more identities, with two or more utterances each")
        with torch.autocast(embeddings.device.type, enabled=False):
            units = functional.normalize(at_least_float32(embeddings))
            # The root has no derivative at 0, the distance between equal embeddings.
            distances = (2.0 - 2.0 * units @ units.T).clamp(min=1e-12).sqrt()
            farthest = distances.masked_fill(~same | itself, float("-inf")).amax(dim=1)
            nearest = distances.masked_fill(same, float("inf")).amin(dim=1)
            loss = (self.margin + farthest - nearest).clamp(min=0.0).mean()
            own = distances.detach().masked_fill(~same | itself, float("inf")).amin(dim=1)
        return loss, (own < nearest).float().mean()
