"""Cycle supervision: two perceptrons map the temporal weights of one modality to those of the other and back."""

from torch import Tensor
from torch.nn import functional

from avsv.nnet.generative.pairs import PairedMLP
from avsv.nnet.generative.supervision import GenerativeSupervision, Learner, check_size, check_weight


def cosine_distances(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The :func:`cosine_distance` of two (2, B, T_c), and the part (2,) of either modality in it, detached."""
    cosines = functional.cosine_similarity(one, other, dim=2).mean(dim=1)
    return 2.0 - cosines.sum(), 1.0 - cosines.detach()


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """2 minus the sum over both modalities of the cosines between two (2, B, T_c), averaged over the batch: in [0, 4].

    Example:
        >>> import torch
        >>> series = torch.tensor([[[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]]])
        >>> round(cosine_distance(series, series.flip(0)).item(), 6)
        0.571429
    """
    return cosine_distances(one, other)[0]


class CycleSupervision(GenerativeSupervision):
    """Cycle consistency of f, which maps audio to visual weights, and g, which maps them back.

    The loss is ``mapping_weight (2 - cos(v, f(a)) - cos(a, g(v))) + cycle_weight (2 - cos(v, f(g(v))) -
    cos(a, g(f(a))))``. Nothing is detached, since the loss is meant to change the pooling of both modalities.

    Source: Sun et al. 2022, equations 8-11 (weights 1 and 0.5, the defaults); Sun et al. 2023, equations 8-10 (both
    0.5). The outer network in equation 9 of 2023 is interpreted as that of the other modality, so that it maps back.

    Args:
        frames: T_c, number of frames of a series.
        mapping_weight: weight of the mapping loss.
        cycle_weight: weight of the cycle loss.
        hidden: width of the hidden layers.
        layers: layers of each network; None means 3 for up to 64 frames and 4 for more.
        learner: the modality that learns, or both; see :class:`GenerativeSupervision`.

    Shape:
        - audio, visual: (B, T_c)
        - output: the weighted loss, a scalar, and detached figures; mapping and cycle are in [0, 4]. Mapping is the sum
          of mapping_a_to_v, which compares f(a) with v, and mapping_v_to_a; cycle that of cycle_a and cycle_v

    Raises:
        ValueError: an option is out of range, there are too few frames, or series have another shape.

    Example:
        >>> import torch
        >>> supervision = CycleSupervision(50)
        >>> loss, figures = supervision(torch.rand(8, 50), torch.rand(8, 50))
        >>> sum(p.numel() for p in supervision.parameters()), sorted(figures)[:4]
        (58980, ['audio_kurtosis', 'centered_cosine', 'cosine', 'cycle'])
    """

    def __init__(
        self,
        frames: int,
        *,
        mapping_weight: float = 1.0,
        cycle_weight: float = 0.5,
        hidden: int = 128,
        layers: int | None = None,
        learner: Learner = "both",
    ) -> None:
        super().__init__(frames, learner)
        self.mapping_weight = check_weight("mapping_weight", mapping_weight)
        self.cycle_weight = check_weight("cycle_weight", cycle_weight)
        layers = (3 if frames <= 64 else 4) if layers is None else check_size("layers", layers, 2)
        check_size("hidden", hidden)
        # The first network is f, with audio as input; the second is g, with video as input.
        self.generators = PairedMLP((frames, *[hidden] * (layers - 1), frames))

    def losses(self, series: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the figures of series (2, B, T_c), audio first, then visual."""
        generated = self.generators(series).flip(0)
        back = self.generators(generated).flip(0)
        (mapping, mappings), (cycle, cycles) = cosine_distances(series, generated), cosine_distances(series, back)
        loss = self.mapping_weight * mapping + self.cycle_weight * cycle
        figures = {"mapping": mapping, "cycle": cycle}
        # What is compared with the audio series is made of video, or of audio there and back.
        figures |= {"mapping_v_to_a": mappings[0], "mapping_a_to_v": mappings[1]}
        return loss, figures | {"cycle_a": cycles[0], "cycle_v": cycles[1]}
