"""Generalized end-to-end loss: embeddings against the centroids of the identities of their batch."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.losses.classifier import Classifier
from avsv.losses.common import accuracy, at_least_float32


class GE2E(Classifier):
    """Generalized end-to-end loss (GE2E), which moves embeddings toward the centroid of their identity.

    Source: Wan et al. 2018, arXiv:1710.10467, equations 5-10. The similarity of an embedding e and identity k is
    S_k = w cos(e, c_k) + b, where w and b are learned and c_k is the mean of the embeddings of identity k; e itself is
    left out of its own centroid. The loss of an embedding is ``logsumexp_k S_k - S_own`` (softmax) or
    ``1 - sigmoid(S_own) + max_{k != own} sigmoid(S_k)`` (contrast). The paper sums over the batch; this is the mean.
    Applied to fused embeddings, the contrast form is GE2E-MM of REPTAR, arXiv:2309.07115.

    A batch must contain several identities with the same number of utterances each. Computed at least in float32, also
    under autocast.

    Args:
        embedding_dim: size D of the embeddings; unused.
        num_classes: number of identities; unused.
        variant: see above.
        scale: initial value of w, which is kept above 0.
        offset: initial value of b.
        gradient_scale: the gradients of w and b are multiplied by this; it has no effect with an optimizer that
            normalizes gradients, such as Adam.

    Shape:
        - embeddings: (B, D)
        - labels: (B,) int64, in any order
        - output: the loss, a scalar, and the share of embeddings whose nearest centroid is that of their identity

    Raises:
        ValueError: the batch has fewer than two identities, or they do not all have the same number of utterances, two
            or more.

    Example (four orthogonal identities: ln(1 + 3 exp(-10))):
        >>> loss, accuracy = GE2E(4, 100)(torch.eye(4).repeat(2, 1), torch.arange(4).repeat(2))
        >>> f"{loss:.2e}", accuracy
        ('1.36e-04', tensor(1.))
    """

    compares_batch = True

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        variant: Literal["softmax", "contrast"] = "softmax",
        scale: float = 10.0,
        offset: float = -5.0,
        gradient_scale: float = 0.01,
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale: {scale}: must be larger than 0")
        if not gradient_scale >= 0:
            raise ValueError(f"gradient_scale: {gradient_scale}: must not be negative")
        self.variant = variant
        self.gradient_scale = gradient_scale
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.offset = nn.Parameter(torch.tensor(float(offset)))

    def extra_repr(self) -> str:
        return f"{self.variant}, scale={self.scale.item():.4g}, offset={self.offset.item():.4g}"

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines, own = centroid_cosines(at_least_float32(embeddings), labels)
            # The last optimizer step may have made the scale negative; the loss would then reward confusion.
            with torch.no_grad():
                self.scale.clamp_(min=1e-6)
            scores = self._slowed(self.scale) * cosines + self._slowed(self.offset)
            if self.variant == "softmax":
                loss = functional.cross_entropy(scores, own)
            else:
                right = scores.gather(1, own.unsqueeze(1)).squeeze(1).sigmoid()
                wrong = scores.scatter(1, own.unsqueeze(1), float("-inf")).amax(dim=1).sigmoid()
                loss = (1.0 - right + wrong).mean()
        return loss, accuracy(cosines, own)

    def _slowed(self, value: Tensor) -> Tensor:
        """The same value, with a scaled gradient."""
        return value.detach() + self.gradient_scale * (value - value.detach())


def centroid_cosines(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine of each embedding with the centroid of each identity of the batch.

    A centroid is the mean of length-normalized embeddings; an embedding is left out of the centroid of its own
    identity.

    Args:
        embeddings: (B, D).
        labels: (B,) int64, with N different values.

    Returns:
        (B, N) cosines in the order of the labels, and (B,) the column of the identity of each embedding.

    Raises:
        ValueError: as :class:`GE2E`.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
        >>> centroid_cosines(embeddings, torch.tensor([7, 3, 7, 3]))
        (tensor([[0.0000, 0.0000],
                [1.0000, 0.7071],
                [1.0000, 0.0000],
                [1.0000, 0.7071]]), tensor([1, 0, 1, 0]))
    """
    identities, own, counts = labels.unique(return_inverse=True, return_counts=True)
    fewest, most = (int(count) for count in counts.aminmax())
    if len(identities) < 2 or fewest < 2 or fewest != most:
        numbers = str(most) if fewest == most else f"{fewest} to {most}"
        raise ValueError(
            f"GE2E: a batch of {len(identities)} identities with {numbers} utterances each: it needs two or more"
            " identities with the same number of utterances each, two or more: use batches of N identities x M"
            " utterances"
        )
    embeddings = functional.normalize(embeddings)
    sums = embeddings.new_zeros(len(identities), embeddings.shape[1]).index_add(0, own, embeddings)
    # Opposite embeddings cancel each other out; a larger eps than the default bounds the gradient there.
    centroids, others = (functional.normalize(x, eps=1e-6) for x in (sums, sums[own] - embeddings))
    own_cosines = (embeddings * others).sum(dim=1, keepdim=True)
    return (embeddings @ centroids.T).scatter(1, own.unsqueeze(1), own_cosines), own
