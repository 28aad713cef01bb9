"""An embedder with the objective that trains it."""

import torch
from torch import Tensor, nn

from avsv.data.batch import Batch
from avsv.model.config import SystemConfig
from avsv.model.embedder import Embedder
from avsv.model.objective import Objective
from avsv.nnet.generative.supervision import GenerativeSupervision


class TrainableSystem(nn.Module):
    """A single module from a batch to its training loss, as distributed training requires.

    Args:
        config: the configuration; initial weights are drawn from torch's current seed.
        num_classes: number of identities.
        clip_frames: face frames of a training clip, which a supervision needs.

    Raises:
        DataError: a network or loss does not accept its options.
    """

    def __init__(self, config: SystemConfig, num_classes: int, clip_frames: int | None = None) -> None:
        super().__init__()
        self.embedder = Embedder(config)
        self.objective = Objective(config, self.embedder, num_classes, clip_frames)
        self.frozen = config.train.freeze
        for part in self.frozen:
            getattr(self.embedder, part).requires_grad_(False)

    def train(self, mode: bool = True) -> "TrainableSystem":
        """Set training or evaluation mode; parts that ``train.freeze`` names stay in evaluation mode."""
        super().train(mode)
        for part in self.frozen:
            getattr(self.embedder, part).eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the training loss of a batch and the figures to log; see :class:`avsv.model.objective.Objective`.

        Raises:
            DataError: an utterance has neither modality.
        """
        outputs = self.embedder(
            batch, with_weights=self.supervision is not None, with_single=self.objective.single_weight > 0
        )
        return self.objective(outputs, batch)

    def accuracy(self, batch: Batch) -> Tensor:
        """The share of a batch whose identity is recognized, without margin; a scalar."""
        return self.objective.accuracy(self.embedder(batch), batch)

    @property
    def supervision(self) -> GenerativeSupervision | None:
        """The generative supervision, or None."""
        return self.objective.supervision

    def figures(self, batch: Batch) -> dict[str, float]:
        """What shows how the system works on a batch, in evaluation mode; see :meth:`Embedder.figures`.

        It leaves the system in evaluation mode and changes nothing else.
        """
        self.eval()
        with torch.inference_mode():
            return {name: float(value) for name, value in self.embedder.figures(batch).items()}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of the networks, the fusion, the classifiers, the supervision and the auxiliary losses.

        A supervision's own networks, which learn by an optimizer of their own, are left out.
        """
        modules = {"audio": self.embedder.audio, "visual": self.embedder.visual, "fusion": self.embedder.fusion}
        modules |= {"classifiers": self.objective.classifiers}
        modules["losses"] = nn.ModuleList([self.objective.auxiliary, self.objective.log_variances])
        modules["supervision"] = self.supervision
        apart: set[int] = set()
        if self.supervision is not None and self.supervision.auxiliary is not None:
            apart = set(map(id, self.supervision.auxiliary.parameters()))
        found = {
            name: [parameter for parameter in module.parameters() if id(parameter) not in apart]
            for name, module in modules.items()
            if module is not None
        }
        return {name: parameters for name, parameters in found.items() if parameters}

    @property
    def lacks_gradients(self) -> bool:
        """Whether a batch may leave parameters without a gradient: those of the network of a modality that it lacks."""
        return self.embedder.fusion is not None

    def backbone_parameters(self) -> list[nn.Parameter]:
        """The parameters of the audio and visual networks."""
        networks = [network for network in (self.embedder.audio, self.embedder.visual) if network is not None]
        return [parameter for network in networks for parameter in network.parameters()]

    def at_epoch(self, epoch: float) -> float:
        """Set the options that change during training; see :meth:`avsv.model.objective.Objective.at_epoch`."""
        return self.objective.at_epoch(epoch)
