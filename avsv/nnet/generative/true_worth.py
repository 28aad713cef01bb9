"""Supervision by the true worth of the moments, which only a made corpus knows: a positive control."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from avsv.nnet.generative.supervision import GenerativeSupervision, Learner, check_weight


class TrueWorthSupervision(GenerativeSupervision):
    """Temporal weights that follow the true worth of the moments: what the best supervision of this kind could teach.

    The loss is ``weight (2 - r(a, worth of voice) - r(v, worth of face))``, where r is the correlation over the frames
    of a clip, 0 where all moments are worth the same. Only a made corpus knows the worth, so this is no method for use:
    it shows in a study how much a supervision of the weights can gain.

    Args:
        frames: T_c, number of frames of a series.
        weight: weight of the loss.
        learner: the modality that learns, or both; see :class:`GenerativeSupervision`.

    Shape:
        - audio, visual: (B, T_c)
        - worth: (2, B, T_c)
        - output: the weighted loss, a scalar, and detached figures; worth_a and worth_v are 1 - r, in [0, 2]

    Raises:
        ValueError: an option is out of range, there are too few frames, or series have another shape.

    Example (weights that follow the worth, and weights that oppose it):
        >>> import torch
        >>> worth = torch.tensor([[[0.0, 0.0, 1.0, 1.0]], [[1.0, 0.0, 0.0, 1.0]]])
        >>> _, figures = TrueWorthSupervision(4)(2.0 * worth[0], 1.0 - worth[1], worth)
        >>> [round(figures[name].item(), 4) for name in ("worth_a", "worth_v")]
        [0.0, 2.0]
    """

    needs_worth: ClassVar[bool] = True

    def __init__(self, frames: int, *, weight: float = 1.0, learner: Learner = "both") -> None:
        super().__init__(frames, learner)
        self.weight = check_weight("weight", weight)

    def losses(self, series: Tensor, worth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the figures of series and worth (2, B, T_c), audio first, then visual."""
        series, worth = (x - x.mean(dim=2, keepdim=True) for x in (series, worth.to(series.dtype)))
        of_voice, of_face = 1.0 - functional.cosine_similarity(series, worth, dim=2, eps=1e-6).mean(dim=1)
        return self.weight * (of_voice + of_face), {"worth_a": of_voice, "worth_v": of_face}
