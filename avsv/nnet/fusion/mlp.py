"""Fusion with a multilayer perceptron."""

import torch
from torch import Tensor, nn

from avsv.nnet.fusion.base import Fusion, check_present, make_dropout, mask_at_random, zero_missing
from avsv.nnet.normalization import RowBatchNorm


class MLPFusion(Fusion):
    """MLP fusion: the concatenated embeddings pass through three linear layers.

    Each layer is followed by a leaky ReLU and batch normalization, the first two also by dropout.

    Source: Claborne et al. 2023, arXiv:2311.05071, section IV and the appendix on fusion. A missing modality is
    represented by zeros, the null representation, which the network learns by masking.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        hidden_dim: width of the first two layers.
        dropout: share of the values that are dropped in training.
        modality_masking: in training, an utterance with both modalities keeps both, only the audio or only the video,
            with a probability of one third each.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether audio and video are present; None if both always are
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> sum(p.numel() for p in MLPFusion(356, 2048).parameters())
        5315448
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        *,
        dim: int = 256,
        hidden_dim: int = 1330,
        dropout: float = 0.1,
        modality_masking: bool = True,
    ) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.modality_masking = modality_masking
        self.layers = nn.Sequential(
            make_dropout(dropout),
            nn.Linear(audio_dim + visual_dim, hidden_dim),
            nn.LeakyReLU(),
            RowBatchNorm(hidden_dim),
            make_dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim),
            nn.LeakyReLU(),
            RowBatchNorm(hidden_dim),
            make_dropout(dropout),
            nn.Linear(hidden_dim, dim),
            nn.LeakyReLU(),
            RowBatchNorm(dim),
        )

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        check_present(present)
        if self.training and self.modality_masking:
            present = mask_at_random(audio, present)
        audio, visual = zero_missing(audio, visual, present)
        # The paper puts the video first.
        return self.layers(torch.cat([visual, audio], dim=1))
