"""The base class of generative supervisions."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

# Smallest number of frames of a series: the correlation of shorter ones is meaningless.
MIN_FRAMES = 4

# The poolings that a supervision changes: those of both modalities, or one by the other, which is not changed.
Learner = Literal["both", "audio", "visual"]


def series_figures(audio: Tensor, visual: Tensor) -> dict[str, Tensor]:
    """Similarity of two series and kurtosis of each, averaged over the batch; both series are (B, T_c).

    For weights 1 + tanh z the plain cosine is not informative: for 50 frames it is 0.72 between unrelated series. The
    centered cosine is 0 for these. A kurtosis far above 3 means that a few isolated frames have most of the weight.

    Example:
        >>> figures = series_figures(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]]))
        >>> {name: round(value.item(), 3) for name, value in figures.items()}
        {'cosine': 0.714, 'centered_cosine': -1.0, 'audio_kurtosis': 1.5, 'visual_kurtosis': 1.5}
    """
    figures = {"cosine": functional.cosine_similarity(audio, visual, dim=1).mean()}
    audio, visual = (x - x.mean(dim=1, keepdim=True) for x in (audio, visual))
    figures["centered_cosine"] = functional.cosine_similarity(audio, visual, dim=1).mean()
    for name, centered in (("audio_kurtosis", audio), ("visual_kurtosis", visual)):
        variance = (centered**2).mean(dim=1).clamp(min=1e-12)
        figures[name] = ((centered**4).mean(dim=1) / variance**2).mean()
    return figures


class GenerativeSupervision(nn.Module, ABC):
    """Base class of losses on two series of temporal weights that are 0 if each can be generated from the other.

    A supervision is used in training only: the pooling does not depend on it, so embeddings are the same without it.

    A subclass defines :meth:`losses`. Networks that are trained by their own optimizer instead of the loss (a
    discriminator, a noise predictor) are put into ``auxiliary`` together with the options of the optimizer. The
    returned loss includes the losses of these networks, and its gradient with respect to their parameters comes only
    from those losses, so that one backward pass serves both optimizers.

    Args:
        frames: T_c, the length of the common grid, at least :data:`MIN_FRAMES`.
        learner: the modality whose pooling learns from the other; the loss has no gradient to the weights of the other.

    Shape:
        - audio, visual: (B, T_c), the weights of utterances that have both modalities
        - worth: (2, B, T_c), the true worth of the moments of voice and face, if :attr:`needs_worth` is set
        - output: the weighted loss, a scalar, and detached figures for the log

    Raises:
        ValueError: there are too few frames, or series have another shape.
    """

    # Whether losses() takes the true worth of the moments as a second argument.
    needs_worth: ClassVar[bool] = False

    auxiliary_lr: float = 0.0
    auxiliary_betas: tuple[float, float] = (0.9, 0.999)

    def __init__(self, frames: int, learner: Learner = "both") -> None:
        super().__init__()
        if frames < MIN_FRAMES:
            raise ValueError(f"generative supervision: {frames} frames per clip, at least {MIN_FRAMES} are needed")
        self.frames = frames
        self.learner = learner
        self.auxiliary: nn.Module | None = None
        # The training time in epochs, which may be a fraction; set by the training loop.
        self.epoch: float = 0.0

    @abstractmethod
    def losses(self, series: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the figures of series (2, B, T_c), audio first, then visual."""

    def forward(self, audio: Tensor, visual: Tensor, worth: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        if audio.ndim != 2 or audio.shape[1] != self.frames or visual.shape != audio.shape:
            raise ValueError(
                f"generative supervision: series of shapes {tuple(audio.shape)} and {tuple(visual.shape)}, "
                f"expected (B, {self.frames}) both"
            )
        if self.learner != "both":
            audio, visual = (audio, visual.detach()) if self.learner == "audio" else (audio.detach(), visual)
        # The networks are tiny, and losses below 0.01 need full precision.
        with torch.autocast(audio.device.type, enabled=False):
            series = torch.stack([audio, visual])
            series = series.to(torch.promote_types(series.dtype, torch.float32))
            loss, figures = self.losses(series, worth) if self.needs_worth else self.losses(series)
            figures = figures | series_figures(*series.detach())
        return loss, {name: figure.detach() for name, figure in figures.items()}


def check_weight(name: str, value: float) -> float:
    """Return the weight of a loss, after checking that it is not negative."""
    if not value >= 0:
        raise ValueError(f"{name}: {value}: must not be negative")
    return value


def check_size(name: str, value: int, smallest: int = 1) -> int:
    """Return a size or count, after checking that it is large enough."""
    if value < smallest:
        raise ValueError(f"{name}: {value}: must be at least {smallest}")
    return value
