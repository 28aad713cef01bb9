"""Mean fusion."""

from torch import Tensor, nn

from avsv.nnet.fusion.base import Fusion, check_present, make_dropout, mask_at_random, zero_missing


class MeanFusion(Fusion):
    """Mean fusion: both embeddings are transformed to one size and averaged.

    Source: Claborne et al. 2023, arXiv:2311.05071, section IV and the appendix on fusion. The embedding of one modality
    is its mean with the other's null representation, the transform of zeros, which masking teaches the network.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        dropout: share of the values of both embeddings that are dropped in training.
        modality_masking: in training, treat each modality of an utterance that has both as missing in a third of the
            cases, and keep both in another third.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether there is audio and whether there is video; None means both everywhere
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
