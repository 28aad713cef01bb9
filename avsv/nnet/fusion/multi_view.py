"""Multi-view fusion."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.fusion.base import Fusion, check_present, make_dropout


class MultiViewFusion(Fusion):
    """Multi-view fusion: a shared layer maps each modality to a view of the identity in a common space.

    Source: Sari et al. 2021, arXiv:2102.06291, in the form of Claborne et al. 2023, arXiv:2311.05071, section IV and
    the appendix on fusion. It is trained through :meth:`views`: one classifier takes each view, and the two losses are
    weighted 0.5 each. Claborne et al. do not define the embedding of an utterance with both modalities; here it is the
    mean of the two views after scaling each to length 1. Views have no negative values.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the views.
        dropout: share of the values of a view that are dropped in training.
        private_layers: whether a layer of each modality of its own follows the shared layer.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether audio and video are present; None if both always are
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> fusion = MultiViewFusion(356, 2048)
        >>> sum(p.numel() for p in fusion.parameters())
        681728
        >>> audio, visual = fusion.views(torch.randn(3, 356), torch.randn(3, 2048))
        >>> audio.shape, visual.shape
        (torch.Size([3, 256]), torch.Size([3, 256]))
    """

    def __init__(
        self, audio_dim: int, visual_dim: int, *, dim: int = 256, dropout: float = 0.1, private_layers: bool = False
    ) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)
        self.shared = _layer(dim, dropout)
        self.private = nn.ModuleList(_layer(dim, dropout) if private_layers else nn.Identity() for _ in range(2))

    def views(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """The audio and visual views, each (B, dim); the view of a missing modality has no meaning."""
        heard, seen = self.private
        return heard(self.shared(self.audio(audio))), seen(self.shared(self.visual(visual)))

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        check_present(present)
        views = torch.stack([functional.normalize(view) for view in self.views(audio, visual)], dim=1)
        if present is None:
            return views.mean(dim=1)
        return views.masked_fill(~present.unsqueeze(2), 0.0).sum(dim=1) / present.sum(dim=1, keepdim=True)


def _layer(dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), make_dropout(dropout))
