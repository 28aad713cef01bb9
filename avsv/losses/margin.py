"""Margin softmax losses: classification of identities by angles."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class AAMSoftmax(nn.Module):
    """Additive angular margin softmax (ArcFace): cross entropy with cos(theta + m) in the place of the own class.

    Source: Deng et al. 2019, arXiv:1801.07698, equation 3. Where theta + m would pass pi (cos theta <= cos(pi - m)),
    cos(theta + m) would rise again and is replaced: by ``cos theta - m sin(pi - m)`` (fallback arcface) or
    ``cos theta - (1 + cos(pi - m))``, which continues it without a step (fallback continuous). With ``easy_margin``
    the margin applies only where cos theta > 0, and no fallback is needed.

    Computed in float32 at least, also under autocast.

    Args:
        embedding_dim: size D of the embeddings.
        num_classes: number K of identities.
        margin: m in radians; :attr:`margin` may be changed in training.
        scale: s, by which cosines are multiplied.
        easy_margin: see above.
        fallback: see above.

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
    ) -> None:
        super().__init__()
        if not 0 <= margin < math.pi / 2:
            raise ValueError(f"margin: {margin}: must be in [0, pi / 2)")
        if not scale > 0:
            raise ValueError(f"scale: {scale}: must be larger than 0")
        self.margin = margin
        self.scale = scale
        self.easy_margin = easy_margin
        self.fallback = fallback
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_dim))
        nn.init.xavier_uniform_(self.weight)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, margin={self.margin}, scale={self.scale}"

    def margin_cosine(self, cosine: Tensor) -> Tensor:
        """phi: the cosine to the own class, of any shape, after the margin.

        Example:
            >>> AAMSoftmax(2, 2, margin=0.5).margin_cosine(torch.tensor([0.9, -0.88])).tolist()
            [0.58084..., -1.11971...]
        """
        # Without the clamp the gradient of the square root at cosine 1 or -1 is not a number.
        sine = (1.0 - cosine.clamp(-1.0 + 1e-7, 1.0 - 1e-7) ** 2).sqrt()
        phi = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            return torch.where(cosine > 0, phi, cosine)
        threshold = math.cos(math.pi - self.margin)
        shift = self.margin * math.sin(math.pi - self.margin) if self.fallback == "arcface" else 1.0 + threshold
        return torch.where(cosine > threshold, phi, cosine - shift)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
            cosines = functional.linear(functional.normalize(embeddings), functional.normalize(self.weight))
            own = labels.unsqueeze(1)
            logits = cosines.scatter(1, own, self.margin_cosine(cosines.gather(1, own)))
            loss = functional.cross_entropy(self.scale * logits, labels)
        return loss, (cosines.argmax(dim=1) == labels).float().mean()


def warm_margin(margin: float, epoch: float, start: float, end: float) -> float:
    """The margin during its warm-up: 0 before ``start``, ``margin`` from ``end`` on, rising as 1 - 0.001 ** x between.

    Source: wespeaker's margin scheduler (its increase type "exp").

    Args:
        margin: full value.
        epoch: time in epochs from 0, fractions allowed.
        start: epoch at which it leaves 0.
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
