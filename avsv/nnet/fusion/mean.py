"""Mean fusion."""

from torch import Tensor, nn

from avsv.nnet.fusion.base import Fusion, check_present, make_dropout, mask_at_random, zero_missing


class MeanFusion(Fusion):
    """Mean fusion: both embeddings are transformed to the same size and averaged.

    Source: Claborne et al. 2023, arXiv:2311.05071, section IV and the appendix on fusion. The embedding of a single
    modality is its mean with the null representation of the other, the transform of zeros, which the network learns by
    masking.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        dropout: share of the values of both embeddings that are dropped in training.
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
        >>> sum(p.numel() for p in MeanFusion(356, 2048).parameters())
        615936
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        *,
        dim: int = 256,
        dropout: float = 0.1,
        modality_masking: bool = True,
    ) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.modality_masking = modality_masking
        self.dropout = make_dropout(dropout)
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        check_present(present)
        if self.training and self.modality_masking:
            present = mask_at_random(audio, present)
        audio, visual = zero_missing(audio, visual, present)
        return 0.5 * (self.audio(self.dropout(audio)) + self.visual(self.dropout(visual)))
