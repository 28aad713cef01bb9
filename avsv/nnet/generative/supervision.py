"""What every generative supervision has in common."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

# Fewest frames of a series: the correlation of shorter ones says nothing.
MIN_FRAMES = 4


def series_figures(audio: Tensor, visual: Tensor) -> dict[str, Tensor]:
    """How alike two series are, and how spiky each is: means over the batch, of (B, T_c) each.

    Of weights 1 + tanh z the plain cosine says little: at 50 frames it is 0.72 between unrelated series. The centered
    one is 0 there. A kurtosis far above 3 means that a few isolated frames carry the weight.

    Example:
        >>> figures = series_figures(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]]))
        >>> {name: round(value.item(), 3) for name, value in figures.items()}
        {'cosine': 0.714, 'centred_cosine': -1.0, 'audio_kurtosis': 1.5, 'visual_kurtosis': 1.5}
    """
    figures = {"cosine": functional.cosine_similarity(audio, visual, dim=1).mean()}
    audio, visual = (x - x.mean(dim=1, keepdim=True) for x in (audio, visual))
    figures["centred_cosine"] = functional.cosine_similarity(audio, visual, dim=1).mean()
    for name, centered in (("audio_kurtosis", audio), ("visual_kurtosis", visual)):
        variance = (centered**2).mean(dim=1).clamp(min=1e-12)
        figures[name] = ((centered**4).mean(dim=1) / variance**2).mean()
    return figures


class GenerativeSupervision(nn.Module, ABC):
    """Temporal weights of two modalities to a loss that is 0 where each can be generated from the other.

    It exists in training only: the pooling does not know it, so embeddings are the same without it.

    A subclass defines :meth:`losses`. What must not learn from the loss itself, but by an optimizer of its own (a
    discriminator, a noise predictor), it puts into ``auxiliary`` and says how it is optimized; the returned loss
    includes the auxiliary networks' own losses, and its gradient with respect to their parameters comes from those
    alone, so one backward pass serves both optimizers.

    Args:
        frames: T_c, the length of the common grid, at least :data:`MIN_FRAMES`.

    Shape:
        - audio, visual: (B, T_c), the weights of utterances that have both modalities
        - output: the weighted loss, a scalar, and detached figures for the log

    Raises:
        ValueError: too few frames, or series of another shape.
    """

    auxiliary_lr: float = 0.0
    auxiliary_betas: tuple[float, float] = (0.9, 0.999)

    def __init__(self, frames: int) -> None:
        super().__init__()
        if frames < MIN_FRAMES:
            raise ValueError(f"generative supervision: {frames} frames a clip, at least {MIN_FRAMES} are needed")
        self.frames = frames
        self.auxiliary: nn.Module | None = None
        # The training time in epochs, fractions allowed; the training loop sets it.
        self.epoch: float = 0.0

    @abstractmethod
    def losses(self, series: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the figures of (2, B, T_c), audio first then visual."""

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if audio.ndim != 2 or audio.shape[1] != self.frames or visual.shape != audio.shape:
            raise ValueError(
                f"generative supervision: series of shapes {tuple(audio.shape)} and {tuple(visual.shape)}, "
                f"expected (B, {self.frames}) both"
            )
        # The networks are tiny, and losses below a hundredth need all digits.
        with torch.autocast(audio.device.type, enabled=False):
            series = torch.stack([audio, visual])
            series = series.to(torch.promote_types(series.dtype, torch.float32))
            loss, figures = self.losses(series)
            figures = figures | series_figures(*series.detach())
        return loss, {name: figure.detach() for name, figure in figures.items()}


def check_weight(name: str, value: float) -> float:
    """A weight of a loss, once it is known not to be negative."""
    if not value >= 0:
        raise ValueError(f"{name}: {value}: must not be negative")
    return value


def check_size(name: str, value: int, smallest: int = 1) -> int:
    """A size or count, once it is known to be large enough."""
    if value < smallest:
        raise ValueError(f"{name}: {value}: must be at least {smallest}")
    return value
