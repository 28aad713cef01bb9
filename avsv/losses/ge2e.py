"""Generalised end-to-end loss: embeddings against the centroids of the speakers of their batch."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.losses.classifier import Classifier
from avsv.losses.common import accuracy, at_least_float32


class GE2E(Classifier):
    """Generalised end-to-end loss (GE2E): an embedding is pulled to the centroid of its speaker, and from the others.

    Source: Wan et al. 2018, arXiv:1710.10467, equations 5-10. With w and b learnt and c_k the mean of speaker k's
    embeddings, without the embedding itself in its own centroid, the similarities S_k = w cos(e, c_k) + b give the loss
    of an embedding: ``logsumexp_k S_k - S_own`` (softmax) or ``1 - sigmoid(S_own) + max_{k != own} sigmoid(S_k)``
    (contrast). The paper sums over the batch; this is the mean. On fused embeddings the contrast form is GE2E-MM of
    REPTAR, arXiv:2309.07115.

    It needs batches of several speakers with the same number of utterances each. Computed in float32 at least, also
    under autocast.

    Args:
        embedding_dim: size D of the embeddings; nothing depends on it.
        num_classes: number of identities; nothing depends on it.
        variant: see above.
        scale: w at first; it is kept above 0.
        offset: b at first.
        gradient_scale: the gradients of w and b are multiplied by this; an optimizer that divides gradients by their
            size, such as Adam, undoes it.

    Shape:
        - embeddings: (B, D)
        - labels: (B,) int64, in any order
        - output: the loss, a scalar, and the share of embeddings whose nearest centroid is that of their speaker

    Raises:
        ValueError: the batch has fewer than two speakers, or they do not all have the same number of utterances, two or
            more.

    Example (four speakers at right angles: ln(1 + 3 exp(-10))):
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
            # The optimizer's last step may have passed 0, where the loss would reward confusion.
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
    """The cosine of each embedding with the centroid of each speaker of the batch.

    A centroid is the mean of embeddings of length 1; an embedding is left out of that of its own speaker.

    Args:
        embeddings: (B, D).
        labels: (B,) int64, N different ones.

    Returns:
        (B, N) cosines in the order of the labels, and (B,) the column of each embedding's own speaker.

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
    speakers, own, counts = labels.unique(return_inverse=True, return_counts=True)
    fewest, most = (int(count) for count in counts.aminmax())
    if len(speakers) < 2 or fewest < 2 or fewest != most:
        numbers = str(most) if fewest == most else f"{fewest} to {most}"
        raise ValueError(
            f"GE2E: a batch of {len(speakers)} speakers with {numbers} utterances each: it needs two speakers or more, "
            "with the same number of utterances each, two or more: use batches of N speakers x M utterances"
        )
    embeddings = functional.normalize(embeddings)
    sums = embeddings.new_zeros(len(speakers), embeddings.shape[1]).index_add(0, own, embeddings)
    # Opposite embeddings cancel each other; a larger eps than the usual one bounds the gradient there.
    centroids, others = (functional.normalize(x, eps=1e-6) for x in (sums, sums[own] - embeddings))
    own_cosines = (embeddings * others).sum(dim=1, keepdim=True)
    return (embeddings @ centroids.T).scatter(1, own.unsqueeze(1), own_cosines), own
