"""Simple soft attention over the two embeddings."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.fusion.base import (
    Fusion,
    Start,
    check_present,
    start_as_averaging,
    unit,
    weight_figures,
)


class SimpleSoftAttention(Fusion):
    """Simple soft attention (SSA): a softmax over two scores weighs the transformed audio and visual embeddings.

    Source: Shon et al. 2019, arXiv:1811.10813, equations 1-4; Sun et al. 2022, section 2.3. Embeddings are scaled to
    length 1 first, because their lengths differ greatly.

    A missing modality has a zero embedding and a weight of exactly 0, so the result is the transform of the other one.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        normalize: scale the fused embedding to length 1.
        start: see :data:`avsv.nnet.fusion.base.Start`.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether audio and video are present; None if both always are
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> fusion = SimpleSoftAttention(192, 512)
        >>> sum(p.numel() for p in fusion.parameters())
        362882
        >>> fusion(torch.zeros(3, 192), torch.zeros(3, 512)).shape
        torch.Size([3, 512])
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        *,
        dim: int = 512,
        normalize: bool = False,
        start: Start = "random",
    ) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.normalize = normalize
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)
        self.attention = nn.Linear(audio_dim + visual_dim, 2)
        if start == "averaging":
            start_as_averaging(self.audio, self.visual, self.attention)

    def weights(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        """The attention (B, 2): the weights of the audio and the visual embedding, whose sum is 1."""
        audio, visual = unit(audio, visual, present)
        logits = self.attention(torch.cat([audio, visual], dim=1))
        if present is not None:
            logits = logits.masked_fill(~present, float("-inf"))
        return logits.softmax(dim=1)

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        check_present(present)
        weights = self.weights(audio, visual, present)
        audio, visual = unit(audio, visual, present)
        fused = weights[:, :1] * self.audio(audio) + weights[:, 1:] * self.visual(visual)
        return functional.normalize(fused) if self.normalize else fused

    def figures(self, audio: Tensor, visual: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Those of :func:`avsv.nnet.fusion.base.weight_figures` for the attention."""
        return weight_figures(self.weights(audio, visual, present)[present.all(dim=1), 0])
