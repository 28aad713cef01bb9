"""Softmax losses: classification of identities with and without a margin."""

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.losses.classifier import Classifier
from avsv.losses.common import accuracy, at_least_float32


class Softmax(Classifier):
    """Softmax loss: a linear layer to one score per identity, and cross entropy.

    Computed at least in float32, also under autocast.

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

    @property
    def class_weights(self) -> nn.Parameter:
        return self.weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(embeddings.device.type, enabled=False):
            scores = functional.linear(at_least_float32(embeddings), self.weight, self.bias)
            loss = functional.cross_entropy(scores, labels)
        return loss, accuracy(scores, labels)


class _MarginSoftmax(Classifier):
    """Cross entropy over scaled cosines to class centers, with a penalty on the score of the own class."""

    def __init__(
        self, embedding_dim: int, num_classes: int, margin: float, largest_margin: float, scale: float
    ) -> None:
        super().__init__()
        if not 0 <= margin < largest_margin:
            raise ValueError(f"margin: {margin}: must be in [0, {largest_margin:.4g})")
        if not scale > 0:
            raise ValueError(f"scale: {scale}: must be larger than 0")
        self.margin = margin
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_dim))
        nn.init.xavier_uniform_(self.weight)

    @property
    def class_weights(self) -> nn.Parameter | None:
        return self.weight

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, margin={self.margin}, scale={self.scale}"

    @abstractmethod
    def margin_cosine(self, cosine: Tensor) -> Tensor:
        """The cosine to the own class, of any shape, after the margin."""

    def cosines(self, embeddings: Tensor) -> Tensor:
        """The cosine of each embedding with each class: (B, D) to (B, K)."""
        return functional.linear(functional.normalize(embeddings), functional.normalize(self.weight))

    def penalized(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """The cosines (B, K) with the margin for the labels (B,)."""
        own = labels.unsqueeze(1)
        return cosines.scatter(1, own, self.margin_cosine(cosines.gather(1, own)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = self.cosines(at_least_float32(embeddings))
            loss = functional.cross_entropy(self.scale * self.penalized(cosines, labels), labels)
        return loss, accuracy(cosines, labels)


class AMSoftmax(_MarginSoftmax):
    """Additive margin softmax (CosFace): cross entropy in which the score of the own class is cos(theta) - m.

    Source: Wang et al. 2018, arXiv:1801.05599, equation 6; Wang et al. 2018, arXiv:1801.09414, equation 4.

    Computed at least in float32, also under autocast.

    Args:
        embedding_dim: size D of the embeddings.
        num_classes: number K of identities.
        margin: m; :attr:`margin` can be changed during training.
        scale: s, the factor of the cosines.

    Shape:
        - embeddings: (B, D)
        - labels: (B,) int64 in [0, K)
        - output: the loss, a scalar, and the share of embeddings nearest to their own class, without margin

    Example (all cosines 0 with 5994 classes: ln(1 + 5993 exp(30 * 0.2))):
        >>> loss = AMSoftmax(2, 5994, margin=0.2, scale=30.0)
        >>> _ = nn.init.zeros_(loss.weight)
        >>> round(loss(torch.ones(1, 2), torch.tensor([0]))[0].item(), 4)
        14.6983
    """

    def __init__(self, embedding_dim: int, num_classes: int, *, margin: float = 0.2, scale: float = 30.0) -> None:
        super().__init__(embedding_dim, num_classes, margin, 1.0, scale)

    def margin_cosine(self, cosine: Tensor) -> Tensor:
        """The cosine to the own class, of any shape, after the margin.

        Example:
            >>> AMSoftmax(2, 2, margin=0.25).margin_cosine(torch.tensor([0.5])).tolist()
            [0.25]
        """
        return cosine - self.margin


class AAMSoftmax(_MarginSoftmax):
    """Additive angular margin softmax (ArcFace): cross entropy in which the score of the own class is cos(theta + m).

    Source: Deng et al. 2019, arXiv:1801.07698, equation 3. Where theta + m exceeds pi (cos theta <= cos(pi - m)),
    cos(theta + m) would increase again and is replaced by ``cos theta - m sin(pi - m)`` (fallback arcface) or
    ``cos theta - (1 + cos(pi - m))``, which continues it without a step (fallback continuous). With ``easy_margin``
    the margin applies only where cos theta > 0, and no fallback is needed.

    Sub-centers (Deng et al. 2020, ECCV, "Sub-center ArcFace") give each class several centers, of which only the
    nearest is used, so that mislabeled utterances collect around a center of their own. The inter-top-k penalty (Zhao
    et al. 2021, arXiv:2110.05042) raises the scores of the nearest other classes to cos(theta - m'), where m' is
    ``inter_topk_margin`` times m / 0.2, so that it follows the warm-up of the margin. Large-margin fine-tuning omits
    the penalty.

    Computed at least in float32, also under autocast.

    Args:
        embedding_dim: size D of the embeddings.
        num_classes: number K of identities.
        margin: m in radians; :attr:`margin` can be changed during training.
        scale: s, the factor of the cosines.
        easy_margin: see above.
        fallback: see above.
        sub_centers: number C of centers per class; :attr:`weight` has the shape (K C, D), with the centers of a class
            in consecutive rows.
        inter_topk: number of other classes that are penalized (at most K - 1); 0 for none.
        inter_topk_margin: see above, in radians.

    Shape:
        - embeddings: (B, D)
        - labels: (B,) int64 in [0, K)
        - output: the loss, a scalar, and the share of embeddings nearest to their own class, without margin

    Example (all cosines 0 with 5994 classes: ln(1 + 5993 exp(30 sin 0.5))):
        >>> loss = AAMSoftmax(2, 5994, margin=0.5, scale=30.0)
        >>> _ = nn.init.zeros_(loss.weight)
        >>> round(loss(torch.ones(1, 2), torch.tensor([0]))[0].item(), 4)
        23.0811
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        margin: float = 0.2,
        scale: float = 30.0,
        easy_margin: bool = False,
        fallback: Literal["arcface", "continuous"] = "arcface",
        sub_centers: int = 1,
        inter_topk: int = 0,
        inter_topk_margin: float = 0.06,
    ) -> None:
        if sub_centers < 1:
            raise ValueError(f"sub_centers: {sub_centers}: must be 1 or more")
        if inter_topk < 0:
            raise ValueError(f"inter_topk: {inter_topk}: must not be negative")
        if not 0 <= inter_topk_margin < math.pi / 2:
            raise ValueError(f"inter_topk_margin: {inter_topk_margin}: must be in [0, pi / 2)")
        super().__init__(embedding_dim, num_classes * sub_centers, margin, math.pi / 2, scale)
        self.easy_margin = easy_margin
        self.fallback = fallback
        self.sub_centers = sub_centers
        self.inter_topk = inter_topk
        self.inter_topk_margin = inter_topk_margin

    @property
    def class_weights(self) -> nn.Parameter | None:
        return self.weight if self.sub_centers == 1 else None

    def margin_cosine(self, cosine: Tensor) -> Tensor:
        """phi: the cosine to the own class, of any shape, after the margin.

        Example:
            >>> AAMSoftmax(2, 2, margin=0.5).margin_cosine(torch.tensor([0.9, -0.88])).tolist()
            [0.58084..., -1.11971...]
        """
        phi = cosine * math.cos(self.margin) - _sine(cosine) * math.sin(self.margin)
        if self.easy_margin:
            return torch.where(cosine > 0, phi, cosine)
        threshold = math.cos(math.pi - self.margin)
        shift = self.margin * math.sin(math.pi - self.margin) if self.fallback == "arcface" else 1.0 + threshold
        return torch.where(cosine > threshold, phi, cosine - shift)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """The cosine of each embedding with the nearest center of each class: (B, D) to (B, K)."""
        cosines = super().cosines(embeddings)
        if self.sub_centers == 1:
            return cosines
        return cosines.unflatten(1, (-1, self.sub_centers)).max(dim=2).values

    def penalized(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """The cosines (B, K) with the penalties for the labels (B,): lower for the own class, higher for others."""
        penalized = super().penalized(cosines, labels)
        count = min(self.inter_topk, cosines.shape[1] - 1)
        angle = self.inter_topk_margin * self.margin / 0.2
        if count == 0 or angle == 0:
            return penalized
        nearest = cosines.detach().scatter(1, labels.unsqueeze(1), -math.inf).topk(count, dim=1).indices
        near = cosines.gather(1, nearest)
        return penalized.scatter(1, nearest, near * math.cos(angle) + _sine(near) * math.sin(angle))


def _sine(cosine: Tensor) -> Tensor:
    # Without the clamp, the gradient of the square root is NaN at cosine 1 or -1.
    return (1.0 - cosine.clamp(-1.0 + 1e-7, 1.0 - 1e-7) ** 2).sqrt()


def warm_margin(margin: float, epoch: float, start: float, end: float) -> float:
    """The margin during its warm-up: 0 before ``start``, then rising as 1 - 0.001 ** x, ``margin`` from ``end`` on.

    Source: the margin scheduler of wespeaker, with increase type "exp".

    Args:
        margin: full margin.
        epoch: time in epochs, counted from 0; may be a fraction.
        start: epoch at which the margin starts to rise.
        end: epoch at which it reaches ``margin``; x goes from 0 to 1 between the two.

    Example:
        >>> [round(warm_margin(0.2, epoch, 20, 40), 4) for epoch in (19, 20, 25, 30, 40, 50)]
        [0.0, 0.0, 0.1644, 0.1937, 0.2, 0.2]
    """
    if epoch >= end:
        return margin
    if epoch <= start:
        return 0.0
    return margin * (1.0 - 0.001 ** ((epoch - start) / (end - start)))
