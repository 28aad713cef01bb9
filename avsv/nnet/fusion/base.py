"""The base class of fusions, and functions that they share.

Every fusion is called with a batch of both embeddings and with a mask of those that are present. The embedding of a
missing modality is zero; its values do not affect the result.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

# How transforms and weights of the modalities start: as PyTorch initializes layers, or so that the first fused cosine
# is about the mean of those of voice and face. A training of few epochs may never leave the latter.
Start = Literal["random", "averaging"]


class Fusion(nn.Module, ABC):
    """Base class of fusions, which combine an audio and a visual embedding.

    The constructor of a subclass takes the sizes of both embeddings, ``(audio_dim, visual_dim)``, and its options as
    keyword-only arguments, and sets ``embedding_dim``. The subclass defines :meth:`forward`.

    Example (the sum of two embeddings of equal size):
        >>> class Sum(Fusion):
        ...     def __init__(self, audio_dim: int, visual_dim: int) -> None:
        ...         super().__init__()
        ...         self.embedding_dim = audio_dim
        ...     def forward(self, audio, visual, present=None):
        ...         return sum(zero_missing(audio, visual, present))
        >>> Sum(1, 1)(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([[True, False]]))
        tensor([[1.]])
    """

    embedding_dim: int

    @abstractmethod
    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        """The fused embeddings (B, embedding_dim).

        Args:
            audio: (B, audio_dim).
            visual: (B, visual_dim).
            present: (B, 2) boolean, whether audio and video are present; None if both always are. The values of a
                missing modality must not change the result.

        Raises:
            ValueError: an utterance has neither modality.
        """

    def views(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor] | None:
        """Two views (B, embedding_dim) of each identity, from the voice and the face, to be classified separately.

        Returns:
            The views, which training classifies instead of the fused embedding, each with half of the loss; None (the
            default) for a fusion whose fused embedding is classified.
        """
        return None

    def figures(self, audio: Tensor, visual: Tensor, present: Tensor) -> dict[str, Tensor]:
        """What shows how it weighs the modalities, scalars by name for the log of a training; none by default.

        Args:
            audio, visual, present: as in :meth:`forward`.
        """
        return {}


def weight_figures(weights: Tensor) -> dict[str, Tensor]:
    """Mean and standard deviation over utterances of the weight (B,) of the voice, where they have both modalities.

    Example:
        >>> {name: value.item() for name, value in weight_figures(torch.tensor([0.5, 1.0])).items()}
        {'audio_weight': 0.75, 'audio_weight_std': 0.25}
    """
    if not len(weights):
        return {}
    return {"audio_weight": weights.mean(), "audio_weight_std": weights.std(correction=0)}


def make_dropout(share: float) -> nn.Dropout:
    """Dropout of a share of the values; ValueError if the share is not in [0, 1)."""
    if not 0 <= share < 1:
        raise ValueError(f"dropout: {share}: must be in [0, 1)")
    return nn.Dropout(share)


def start_as_averaging(audio: nn.Linear, visual: nn.Linear, scores: nn.Linear) -> None:
    """Initialize the layers of a fusion so that the first fused cosine is the mean of the cosines of voice and face.

    Training then starts from a score fusion instead of noise.

    Args:
        audio, visual: transforms of both embeddings; together one isometry, as far as their output size allows.
        scores: the layer whose output decides the weights of the modalities; these are equal.
    """
    joint = nn.init.orthogonal_(torch.empty(audio.out_features, audio.in_features + visual.in_features))
    with torch.no_grad():
        audio.weight.copy_(joint[:, : audio.in_features])
        visual.weight.copy_(joint[:, audio.in_features :])
    for zeros in (audio.bias, visual.bias, scores.weight, scores.bias):
        nn.init.zeros_(zeros)


def check_present(present: Tensor | None) -> None:
    """Raise ValueError if an utterance has neither modality."""
    if present is not None and not present.any(dim=1).all():
        raise ValueError("fusion: an utterance has neither audio nor video")


def zero_missing(audio: Tensor, visual: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both embeddings with zeros in place of missing ones."""
    if present is None:
        return audio, visual
    return audio.masked_fill(~present[:, :1], 0.0), visual.masked_fill(~present[:, 1:], 0.0)


def unit(audio: Tensor, visual: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both embeddings scaled to length 1, with zeros in place of missing ones."""
    audio, visual = zero_missing(audio, visual, present)
    return functional.normalize(audio), functional.normalize(visual)


def mask_at_random(audio: Tensor, present: Tensor | None) -> Tensor:
    """Randomly remove one modality or none from each utterance that has both; returns ``present`` (B, 2)."""
    if present is None:
        present = torch.ones(len(audio), 2, dtype=torch.bool, device=audio.device)
    removed = torch.randint(3, (len(audio), 1), device=audio.device)
    removed = removed == torch.arange(2, device=audio.device)
    return present & ~(removed & present.all(dim=1, keepdim=True))
