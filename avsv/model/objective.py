"""The training loss: classifiers, generative supervision and auxiliary losses."""

import torch
from torch import Tensor, nn

from avsv.data.batch import Batch
from avsv.losses.classifier import Classifier
from avsv.losses.common import gather_batch
from avsv.losses.margin import warm_margin
from avsv.model.build import build_network
from avsv.model.config import SystemConfig
from avsv.model.embedder import Embedder, Outputs
from avsv.nnet.generative.align import to_common_grid
from avsv.nnet.generative.supervision import GenerativeSupervision

# The input of each network in a batch.
_IN_BATCH = {"audio": "audio", "visual": "video"}


class Objective(nn.Module):
    """The loss of a system: a weighted sum of classification losses, auxiliary losses and generative supervision.

    With ``loss.uncertainty``, the classification loss on the system's embedding and every auxiliary term L with the
    weight w adds ``exp(-s) w L + s / 2`` with a learned s, which starts at 0, the logarithm of a variance; source:
    Kendall et al. 2018, arXiv:1705.07115, section 3.2.

    It is used in training only. Weights are named ``classifiers.*``, ``supervision.*``, ``auxiliary.*``
    and ``log_variances.*``.

    Args:
        config: the configuration; initial weights are drawn from torch's current seed.
        embedder: the embedder to train; only its sizes are read.
        num_classes: number of identities.
        clip_frames: face frames of a training clip, the length of the series that a supervision compares.

    Raises:
        DataError: a loss does not accept its options.

    Example:
        >>> from avsv.model.config import parse_config
        >>> config = parse_config({
        ...     "audio": {"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 32},
        ...     "loss": {"classifier": {"name": "aam_softmax"}, "orthogonality": 0.5},
        ...     "train": {"epochs": 1, "batch_size": 2, "optimizer": {"name": "sgd"}, "schedule": {"name": "constant"}},
        ... }, "example")
        >>> embedder = Embedder(config)
        >>> objective = Objective(config, embedder, num_classes=10)
        >>> batch = Batch(["a", "b"], torch.tensor([0, 1]), torch.randn(2, 50, 80), torch.ones(2, 50).bool())
        >>> loss, figures = objective(embedder(batch), batch)
        >>> loss.shape, sorted(figures)
        (torch.Size([]), ['accuracy', 'loss', 'orthogonality'])
    """

    def __init__(
        self, config: SystemConfig, embedder: Embedder, num_classes: int, clip_frames: int | None = None
    ) -> None:
        super().__init__()
        self.single_weight = config.loss.single_weight
        # Losses on the outputs of the single networks, by name.
        self.network_weights = {
            name: weight
            for name, weight in (("audio", config.loss.audio_weight), ("visual", config.loss.visual_weight))
            if weight > 0
        }
        sizes = {"main": embedder.embedding_dim}
        sizes |= {name: getattr(embedder, name).embedding_dim for name in self.network_weights}
        self.classifiers = nn.ModuleDict(
            {name: build_network(config.loss.classifier, size, num_classes) for name, size in sizes.items()}
        )
        self.margin, self.margin_warmup = self.main.margin, config.train.margin_warmup
        self.clip_frames = clip_frames
        self.supervision: GenerativeSupervision | None = build_network(config.supervision, clip_frames)
        # The name of a module must not contain a dot, but that of a class outside the package does.
        terms = {term.name.replace(".", "/"): term for term in config.loss.terms}
        self.auxiliary = nn.ModuleDict(
            {name: build_network(term, embedder.embedding_dim) for name, term in terms.items()}
        )
        self.auxiliary_weights = {name: term.weight for name, term in terms.items()}
        weighed = ("main", *terms) if config.loss.uncertainty else ()
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in weighed})

    @property
    def main(self) -> Classifier:
        """The classifier of the system's embedding."""
        return self.classifiers["main"]

    def forward(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the training loss of a batch and the figures to log.

        Args:
            outputs: the outputs of the embedder for the batch, with temporal weights if there is a supervision.
            batch: contains the labels, and the ages if a loss needs them.

        Returns:
            The loss, a scalar, and detached scalars: loss and accuracy (of the system's embedding, without margin),
            audio_accuracy and visual_accuracy if these embeddings are classified too, audio_single_accuracy and
            visual_single_accuracy if the fused embeddings of one modality are, and the figures of the other losses.
        """
        total, figures = self._classify(outputs, batch)
        total = self._weigh("main", total, figures)
        for name, weight in self.network_weights.items():
            rows = batch.there(_IN_BATCH[name])
            if rows is not None:
                loss, figures[f"{name}_accuracy"] = self.classifiers[name](
                    outputs.networks[name][rows], batch.label[rows]
                )
                total = total + weight * loss
        for name, embeddings in outputs.single.items():
            rows = batch.there(_IN_BATCH[name])
            loss, figures[f"{name}_single_accuracy"] = self.main(embeddings, batch.label[rows])
            total = total + self.single_weight * loss
        for name, term in self.auxiliary.items():
            pairs = outputs.embedding, getattr(batch, term.target)
            loss, found = term(*(gather_batch(*pairs) if term.compares_batch else pairs))
            total = total + self._weigh(name, self.auxiliary_weights[name] * loss, figures)
            figures.update(found)
        if self.supervision is not None:
            # Only clips that fill the whole window in both modalities have the same time grid.
            complete: Tensor | slice = slice(None)
            if not batch.complete.issuperset(("audio", "video")):
                complete = batch.audio_mask.all(dim=1) & batch.video_mask.all(dim=1)
            if isinstance(complete, slice) or complete.any():
                series = [self._series(outputs, name, complete) for name in ("audio", "visual")]
                if self.supervision.needs_worth:
                    series.append(self._worth(batch, complete))
                loss, found = self.supervision(*series)
                total = total + loss
                figures.update(found)
        return total, {"loss": total.detach(), **{name: value.detach() for name, value in figures.items()}}

    def accuracy(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The share of a batch whose identity is recognized, without margin; a scalar."""
        return self._classify(outputs, batch)[1]["accuracy"]

    def _classify(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and accuracy of the system's embedding, or of both views of a fusion, each with weight 0.5."""
        if outputs.views is None:
            pairs = outputs.embedding, batch.label
            loss, accuracy = self.main(*(gather_batch(*pairs) if self.main.compares_batch else pairs))
            return loss, {"accuracy": accuracy}
        total, accuracies = 0.0, []
        for view, name in zip(outputs.views, ("audio", "video"), strict=True):
            rows = batch.there(name)
            if rows is not None:
                loss, accuracy = self.main(view[rows], batch.label[rows])
                total = total + 0.5 * loss
                accuracies.append(accuracy)
        return total, {"accuracy": torch.stack(accuracies).mean()}

    def _weigh(self, name: str, loss: Tensor, figures: dict[str, Tensor]) -> Tensor:
        """A term of the loss weighed by its uncertainty, if that is learned; its weight becomes a figure."""
        if name not in self.log_variances:
            return loss
        log_variance = self.log_variances[name]
        figures[f"{name}_uncertainty_weight"] = (-log_variance).exp()
        return (-log_variance).exp() * loss + 0.5 * log_variance

    def _series(self, outputs: Outputs, name: str, rows: Tensor | slice) -> Tensor:
        """The temporal weights of a network for some utterances, on the grid of the supervision: (N, clip_frames)."""
        weights = outputs.weights[name]
        return to_common_grid(weights.values[rows], weights.mask[rows], self.clip_frames)

    def _worth(self, batch: Batch, rows: Tensor | slice) -> Tensor:
        """The true worth of the moments of voice and face, on the grid of the supervision: (2, N, clip_frames)."""
        series = (worth[rows] for worth in (batch.audio_worth, batch.video_worth))
        return torch.stack([to_common_grid(worth, worth >= 0, self.clip_frames) for worth in series])

    def at_epoch(self, epoch: float) -> float:
        """Set the options that change during training for a time in epochs (may be a fraction); return the margin.

        The margin is that of the configuration, from the start or after ``train.margin_warmup``; 0 for a loss without
        margin.
        """
        if self.supervision is not None:
            self.supervision.epoch = epoch
        margin = self.margin
        if self.margin_warmup is not None:
            margin = warm_margin(margin, epoch, self.margin_warmup.start, self.margin_warmup.end)
        for classifier in self.classifiers.values():
            classifier.margin = margin
        return margin
