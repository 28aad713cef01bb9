"""One trainable audio-visual system made from a configuration."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from avsv.audio.speed import SPEEDS
from avsv.data.batch import Batch
from avsv.errors import DataError
from avsv.losses.age import AgeClassifier
from avsv.losses.common import gather_batch
from avsv.losses.margin import warm_margin
from avsv.losses.orthogonality import OrthogonalityLoss
from avsv.model.config import NetworkConfig, SystemConfig
from avsv.model.registry import find_class
from avsv.nnet.backbone import Backbone
from avsv.nnet.generative.align import to_common_grid

# Weights that embedding does not need.
TRAINING_ONLY = ("classifiers.", "supervision.", "age.")


def join_speeds(embeddings: Sequence[Tensor]) -> Tensor:
    """Embeddings (B, D) of the same utterances at S speeds: scaled to one length and end to end, (B, S * D).

    The whole is as long as they were on average; those of one speed stay as they are.

    Example:
        >>> join_speeds([torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 1.0]])]).mul(2**0.5)
        tensor([[1.8000, 2.4000, 0.0000, 3.0000]])
    """
    if len(embeddings) == 1:
        return embeddings[0]
    lengths = torch.stack([one.norm(dim=1, keepdim=True) for one in embeddings]).mean(dim=0)
    parts = [nn.functional.normalize(one, dim=1) for one in embeddings]
    return torch.cat(parts, dim=1) * lengths / len(embeddings) ** 0.5


class AVSystem(nn.Module):
    """An audio network, a visual one, or both and their fusion, with the losses that train them.

    Weights are named ``audio.*``, ``visual.*``, ``fusion.*`` and, needed in training only, ``classifiers.*``,
    ``supervision.*`` and ``age.*``.

    Args:
        config: what to build.
        num_classes: identities to classify in training; None for a system that only embeds.
        clip_frames: face frames of a training clip, the length of the series that a supervision compares.

    Raises:
        DataError: a network refuses its options.

    Example:
        >>> from avsv.model.config import parse_config
        >>> config = parse_config({
        ...     "audio": {"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 32},
        ...     "loss": {"classifier": {"name": "aam_softmax"}},
        ...     "train": {"epochs": 1, "batch_size": 2, "optimizer": {"name": "sgd"}, "schedule": {"name": "constant"}},
        ... }, "example")
        >>> system = AVSystem(config, num_classes=10)
        >>> batch = Batch(["a", "b"], torch.tensor([0, 1]), torch.randn(2, 50, 80), torch.ones(2, 50).bool())
        >>> system.modalities, system.embed(batch, "A").shape
        (('A',), torch.Size([2, 192]))
        >>> loss, figures = system.loss(batch)
        >>> loss.shape, sorted(figures)
        (torch.Size([]), ['accuracy', 'loss'])
    """

    def __init__(self, config: SystemConfig, num_classes: int | None, clip_frames: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.modalities = config.modalities
        self.audio: Backbone | None = _build("audio", config.audio)
        self.visual: Backbone | None = _build("visual", config.visual)
        self.fusion = None
        sizes = {name: getattr(self, name).embedding_dim for name in ("audio", "visual") if getattr(self, name)}
        if config.fusion is not None:
            self.fusion = _build("fusion", config.fusion, sizes["audio"], sizes["visual"])
        self.speeds = len(SPEEDS) if config.embed.speeds else 1
        self.embedding_dim = self.fusion.embedding_dim if self.fusion else next(iter(sizes.values()))

        self.weights = {"main": 1.0}
        for name in ("audio", "visual"):
            weight = getattr(config.loss, f"{name}_weight")
            if weight > 0:
                self.weights[name] = weight
        self.classifiers = nn.ModuleDict()
        if num_classes is not None:
            for name in self.weights:
                size = self.embedding_dim if name == "main" else sizes[name]
                self.classifiers[name] = _build("classifier", config.loss.classifier, size, num_classes)
        training = num_classes is not None
        self.clip_frames = clip_frames
        self.supervision = _build("supervision", config.supervision, clip_frames) if training else None
        self.age = AgeClassifier(self.embedding_dim) if training and config.loss.age > 0 else None
        self.orthogonality = OrthogonalityLoss() if training and config.loss.orthogonality > 0 else None

    def embed(self, batch: Batch, mode: str) -> Tensor:
        """Embeddings (B, embedding_dim) of a batch.

        Args:
            batch: what the mode needs must be there.
            mode: one of :attr:`modalities`. In an audio-visual system all modes share one space: A and V embed as
                though the other modality were missing, AV uses whatever an utterance has.

        Raises:
            DataError: an utterance has nothing that the mode may use.
            ValueError: the system does not have this mode.
        """
        return self._embed(batch, mode)["main"]

    def embed_modes(self, batch: Batch, modes: Sequence[str]) -> dict[str, Tensor]:
        """:meth:`embed` in several modes, where every network runs only once: mode to (B, embedding_dim).

        A system that embeds at several speeds gives (B, speeds * embedding_dim): the embeddings at each speed, scaled
        to one length, end to end, so that a cosine is the mean of those at equal speeds. The video is the same at all.
        """
        # Without audio the utterance is the same at all speeds.
        views = [batch] * self.speeds if batch.audio is None else [batch, *batch.at_other_speeds()]
        if self.fusion is None:
            found = [{mode: self.embed(view, mode) for mode in modes} for view in views]
        else:
            present = {mode: self._present(batch, mode) for mode in modes}
            rows = {
                name: torch.stack([which[name] for which in present.values()]).any(dim=0)
                for name in ("audio", "visual")
            }
            visual = self._present_rows(batch, "visual", rows["visual"])
            found = []
            for view in views:
                embeddings = {"audio": self._present_rows(view, "audio", rows["audio"]), "visual": visual}
                found.append({mode: self._fuse(embeddings, which) for mode, which in present.items()})
        return {mode: join_speeds([embeddings[mode] for embeddings in found]) for mode in modes}

    def _embed(self, batch: Batch, mode: str, series: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Embeddings: main and, in an audio-visual system, audio and visual; ``series`` gets temporal weights."""
        present = self._present(batch, mode)
        if self.fusion is None:
            network, inputs, mask = self._inputs(batch, "audio" if mode == "A" else "visual")
            return {"main": network(inputs, mask)}
        embeddings = {name: self._present_rows(batch, name, rows, series) for name, rows in present.items()}
        return {"main": self._fuse(embeddings, present), **embeddings}

    def _present(self, batch: Batch, mode: str) -> dict[str, Tensor]:
        """Which utterances (B,) have audio and video that the mode may use."""
        if mode not in self.modalities:
            raise ValueError(f"mode {mode}: this system embeds in {', '.join(self.modalities)}")
        present = {}
        for name, letter in (("audio", "A"), ("visual", "V")):
            mask = batch.audio_mask if name == "audio" else batch.video_mask
            if letter in mode and mask is not None:
                present[name] = mask.any(dim=1)
            else:
                present[name] = torch.zeros(len(batch), dtype=torch.bool, device=batch.label.device)
        nothing = ~(present["audio"] | present["visual"])
        if nothing.any():
            keys = [key for key, lacks in zip(batch.keys, nothing.tolist(), strict=True) if lacks]
            wanted = {"A": "audio", "V": "video", "AV": "audio and no video"}[mode]
            raise DataError(f"{keys[0]}: the utterance has no {wanted}: drop it from the list (mode {mode})")
        return present

    def _fuse(self, embeddings: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """The fused embedding (B, embedding_dim) of what is present; the rest is passed as zeros."""
        audio, visual = (embeddings[name].masked_fill(~present[name].unsqueeze(1), 0) for name in ("audio", "visual"))
        return self.fusion(audio, visual, torch.stack([present["audio"], present["visual"]], dim=1))

    def _inputs(self, batch: Batch, name: str) -> tuple[Backbone, Tensor, Tensor]:
        if name == "audio":
            return self.audio, batch.audio, batch.audio_mask
        return self.visual, batch.video, batch.video_mask

    def _present_rows(self, batch: Batch, name: str, rows: Tensor, series: dict[str, Tensor] | None = None) -> Tensor:
        """One modality's embeddings (B, D), zeros where the modality is missing: there the network is not run.

        ``series`` gets the pooling's temporal weights on the common grid of the supervision, (B, clip_frames).
        """
        network, inputs, mask = self._inputs(batch, name)
        if rows.all():
            return _run(network, inputs, mask, name, series, self.clip_frames)
        if not rows.any():
            return torch.zeros(len(batch), network.embedding_dim, device=batch.label.device)
        # Batch normalisation cannot take statistics of one utterance: it goes by those that it has gathered.
        alone = network.training and int(rows.sum()) == 1
        if alone:
            network.eval()
        found = _run(network, inputs[rows], mask[rows], name, series, self.clip_frames)
        if alone:
            network.train()
        if series is not None:
            values = series[name]
            series[name] = values.new_zeros(len(batch), values.shape[1])
            series[name][rows] = values
        embeddings = found.new_zeros(len(batch), network.embedding_dim)
        embeddings[rows] = found
        return embeddings

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss of a batch and what to log.

        Returns:
            The loss, a scalar, and detached scalars: loss and accuracy (of the system's embedding, without margin),
            audio_accuracy and visual_accuracy where these embeddings are classified as well, and the figures of the
            other losses.

        Raises:
            DataError: as :meth:`embed`.
            ValueError: the system was built without classes.
        """
        if not self.classifiers:
            raise ValueError("the system was built without classes: it only embeds")
        series: dict[str, Tensor] | None = {} if self.supervision is not None else None
        embeddings = self._embed(batch, self.modalities[0], series)
        total, figures = 0.0, {}
        for name, weight in self.weights.items():
            if name == "main":
                loss, accuracy = self._main_loss(batch, embeddings)
            else:
                rows = (batch.audio_mask if name == "audio" else batch.video_mask).any(dim=1)
                if not rows.any():
                    continue
                loss, accuracy = self.classifiers[name](embeddings[name][rows], batch.label[rows])
            total = total + weight * loss
            figures["accuracy" if name == "main" else f"{name}_accuracy"] = accuracy
        if self.orthogonality is not None:
            figures["orthogonality"] = self.orthogonality(*gather_batch(embeddings["main"], batch.label))
            total = total + self.config.loss.orthogonality * figures["orthogonality"]
        if self.age is not None:
            loss, accuracy = self.age(embeddings["main"], batch.age)
            total = total + self.config.loss.age * loss
            if not accuracy.isnan():
                figures["age_loss"], figures["age_accuracy"] = loss, accuracy
        if series:
            complete = batch.audio_mask.all(dim=1) & batch.video_mask.all(dim=1)
            if complete.any():
                supervision, found = self.supervision(series["audio"][complete], series["visual"][complete])
                total = total + supervision
                figures.update(found)
        return total, {"loss": total.detach(), **{name: value.detach() for name, value in figures.items()}}

    def _main_loss(self, batch: Batch, embeddings: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of the system's embedding; a fusion of views has each view classified, with half weight."""
        classifier = self.classifiers["main"]
        if not hasattr(self.fusion, "views"):
            main = embeddings["main"], batch.label
            return classifier(*(gather_batch(*main) if hasattr(classifier, "whole_batch") else main))
        total, accuracies = 0.0, []
        views = self.fusion.views(embeddings["audio"], embeddings["visual"])
        for view, mask in zip(views, (batch.audio_mask, batch.video_mask), strict=True):
            rows = mask.any(dim=1)
            if rows.any():
                loss, accuracy = classifier(view[rows], batch.label[rows])
                total = total + 0.5 * loss
                accuracies.append(accuracy)
        return total, torch.stack(accuracies).mean()

    def at_epoch(self, epoch: float) -> float:
        """Set what changes in the course of training, for a time in epochs (fractions allowed), and return the margin.

        The margin is the configuration's, from the start or after its ``train.margin_warmup``; 0 for a loss without.
        """
        if self.supervision is not None:
            self.supervision.epoch = epoch
        margin, warmup = self.config.loss.classifier.options.get("margin", 0.0), self.config.train.margin_warmup
        if warmup is not None:
            margin = warm_margin(margin, epoch, warmup.start, warmup.end)
        for classifier in self.classifiers.values():
            classifier.margin = margin
        return margin

    def backbone_parameters(self) -> list[nn.Parameter]:
        """The parameters of the audio and the visual network."""
        networks = [network for network in (self.audio, self.visual) if network is not None]
        return [parameter for network in networks for parameter in network.parameters()]

    @property
    def auxiliary(self) -> nn.Module | None:
        """Networks of the supervision that have an optimizer of their own; None where there are none."""
        return None if self.supervision is None else self.supervision.auxiliary

    def load_backbones(self, sources: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load trained backbones, pooling included, from the weights of other systems.

        Args:
            sources: 'audio' and 'visual', or one of them, to a system's ``state_dict``; only the weights of that
                modality are read from each.

        Raises:
            DataError: a source lacks a weight, has an unknown one, or has one of another shape.
        """
        for name, state in sources.items():
            network = getattr(self, name, None)
            if name not in ("audio", "visual") or network is None:
                raise DataError(f"init_from.{name}: this system has no such network")
            _load(network, {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}, name)

    @torch.no_grad()
    def start_classes(self, audio: Tensor, visual: Tensor) -> None:
        """Start the fused embedding's class centres as the fusion of the centres that two systems have learnt.

        With random centres the first epochs would pull trained backbones towards noise.

        Args:
            audio: (K, audio embedding size), the class weights of the audio system.
            visual: (K, visual embedding size), those of the visual system, for the same classes in the same order.

        Raises:
            ValueError: these are not the centres of this system's classes.
        """
        was_training = self.fusion.training
        centres, weight = self.fusion.eval()(audio, visual), self.classifiers["main"].weight
        self.fusion.train(was_training)
        if centres.shape != weight.shape:
            raise ValueError(f"class centres {tuple(centres.shape)}, the classifier has {tuple(weight.shape)}")
        weight.copy_(centres)

    def load_weights(self, state: Mapping[str, Tensor], partly: tuple[str, ...] = ()) -> None:
        """Load this system's own weights; those for training are skipped where it was built without classes.

        Args:
            state: another system's ``state_dict``.
            partly: beginnings of names; weights that begin so may be missing, unknown or of another shape, and are then
                left as they are.

        Raises:
            DataError: a weight is missing, unknown or of another shape.
        """
        if not self.classifiers:
            state = {key: value for key, value in state.items() if not key.startswith(TRAINING_ONLY)}
        if partly:
            own = self.state_dict()
            loose = {key for key in (*own, *state) if key.startswith(partly)}
            fitting = {key for key in loose if key in own and key in state and own[key].shape == state[key].shape}
            state = {key: value for key, value in state.items() if key not in loose - fitting}
            state.update({key: own[key] for key in loose - fitting if key in own})
        _load(self, state, "the system")


def _run(
    network: Backbone,
    inputs: Tensor,
    mask: Tensor,
    name: str,
    series: dict[str, Tensor] | None,
    frames: int | None,
) -> Tensor:
    if series is None:
        return network(inputs, mask)
    embeddings, weights, weights_mask = network.forward_with_weights(inputs, mask)
    series[name] = to_common_grid(weights, weights_mask, frames)
    return embeddings


def _build(role: str, config: NetworkConfig | None, *sizes: int) -> nn.Module | None:
    if config is None:
        return None
    try:
        return find_class(role, config.name)(*sizes, **config.options)
    except ValueError as error:
        raise DataError(f"{role}: {config.name}: {error}") from None


def _load(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    wanted = network.state_dict()
    problems = [f"lacks {key}" for key in wanted if key not in state]
    problems += [f"has the unknown {key}" for key in state if key not in wanted]
    for key, value in state.items():
        if key in wanted and value.shape != wanted[key].shape:
            problems.append(f"{key} is {tuple(value.shape)} and not {tuple(wanted[key].shape)}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DataError(
            f"weights of {what} do not fit: the file {', '.join(problems[:3])}{more}: "
            "train again with the same network options"
        )
    network.load_state_dict(state)


def build_system(config: SystemConfig, num_classes: int | None, clip_frames: int | None = None) -> AVSystem:
    """An :class:`AVSystem` with fresh weights drawn from torch's current seed.

    Args:
        config: what to build; see :func:`avsv.model.config.load_config`.
        num_classes: training identities; None for a system that only embeds.
        clip_frames: face frames of a training clip, which a supervision needs.

    Raises:
        DataError: a network refuses its options.
    """
    return AVSystem(config, num_classes, clip_frames)
