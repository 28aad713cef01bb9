"""One trainable audio-visual system made from a configuration."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from avsv.data.batch import Batch
from avsv.errors import DataError
from avsv.losses.margin import warm_margin
from avsv.nnet.backbone import Backbone
from avsv.system.config import NetworkConfig, SystemConfig
from avsv.system.registry import find_class


class AVSystem(nn.Module):
    """An audio network, a visual one, or both and their fusion, with the losses that train them.

    Weights are named ``audio.*``, ``visual.*``, ``fusion.*`` and, needed in training only, ``classifiers.*``.

    Args:
        config: what to build.
        num_classes: identities to classify in training; None for a system that only embeds.

    Raises:
        DataError: a network refuses its options.

    Example:
        >>> from avsv.system.config import parse_config
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

    def __init__(self, config: SystemConfig, num_classes: int | None) -> None:
        super().__init__()
        self.config = config
        self.modalities = config.modalities
        self.audio: Backbone | None = _build("audio", config.audio)
        self.visual: Backbone | None = _build("visual", config.visual)
        self.fusion = None
        sizes = {name: getattr(self, name).embedding_dim for name in ("audio", "visual") if getattr(self, name)}
        if config.fusion is not None:
            self.fusion = _build("fusion", config.fusion, sizes["audio"], sizes["visual"])
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
        """:meth:`embed` in several modes, where every network runs only once: mode to (B, embedding_dim)."""
        if self.fusion is None:
            return {mode: self.embed(batch, mode) for mode in modes}
        present = {mode: self._present(batch, mode) for mode in modes}
        embeddings = {}
        for name in ("audio", "visual"):
            rows = torch.stack([found[name] for found in present.values()]).any(dim=0)
            embeddings[name] = self._present_rows(batch, name, rows)
        return {mode: self._fuse(embeddings, found) for mode, found in present.items()}

    def _embed(self, batch: Batch, mode: str) -> dict[str, Tensor]:
        present = self._present(batch, mode)
        if self.fusion is None:
            network, inputs, mask = self._inputs(batch, "audio" if mode == "A" else "visual")
            return {"main": network(inputs, mask)}
        embeddings = {name: self._present_rows(batch, name, rows) for name, rows in present.items()}
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

    def _present_rows(self, batch: Batch, name: str, rows: Tensor) -> Tensor:
        """One modality's embeddings (B, D), zeros where the modality is missing: there the network is not run."""
        network, inputs, mask = self._inputs(batch, name)
        if rows.all():
            return network(inputs, mask)
        if not rows.any():
            return torch.zeros(len(batch), network.embedding_dim, device=batch.label.device)
        # Batch normalisation cannot take statistics of one utterance: it goes by those that it has gathered.
        alone = network.training and int(rows.sum()) == 1
        if alone:
            network.eval()
        found = network(inputs[rows], mask[rows])
        if alone:
            network.train()
        embeddings = found.new_zeros(len(batch), network.embedding_dim)
        embeddings[rows] = found
        return embeddings

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss of a batch and what to log.

        Returns:
            The loss, a scalar, and detached scalars: loss and accuracy (of the system's embedding, without margin), and
            audio_accuracy and visual_accuracy where these embeddings are classified as well.

        Raises:
            DataError: as :meth:`embed`.
            ValueError: the system was built without classes.
        """
        if not self.classifiers:
            raise ValueError("the system was built without classes: it only embeds")
        embeddings = self._embed(batch, self.modalities[0])
        total, figures = 0.0, {}
        for name, weight in self.weights.items():
            rows = slice(None)
            if name != "main":
                rows = (batch.audio_mask if name == "audio" else batch.video_mask).any(dim=1)
                if not rows.any():
                    continue
            loss, accuracy = self.classifiers[name](embeddings[name][rows], batch.label[rows])
            total = total + weight * loss
            figures["accuracy" if name == "main" else f"{name}_accuracy"] = accuracy.detach()
        return total, {"loss": total.detach(), **figures}

    def warm_margin(self, epoch: float) -> float:
        """Set the margin of all classifiers for a time in epochs (fractions allowed) and return it.

        The margin is the configuration's, from the start or after its ``train.margin_warmup``.
        """
        margin, warmup = self.config.loss.classifier.options["margin"], self.config.train.margin_warmup
        if warmup is not None:
            margin = warm_margin(margin, epoch, warmup.start, warmup.end)
        for classifier in self.classifiers.values():
            classifier.margin = margin
        return margin

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
        centres, weight = self.fusion(audio, visual), self.classifiers["main"].weight
        if centres.shape != weight.shape:
            raise ValueError(f"class centres {tuple(centres.shape)}, the classifier has {tuple(weight.shape)}")
        weight.copy_(centres)

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load this system's own weights; classifiers in them are skipped where the system was built without classes.

        Raises:
            DataError: a weight is missing, unknown or of another shape.
        """
        if not self.classifiers:
            state = {key: value for key, value in state.items() if not key.startswith("classifiers.")}
        _load(self, state, "the system")


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


def build_system(config: SystemConfig, num_classes: int | None) -> AVSystem:
    """An :class:`AVSystem` with fresh weights drawn from torch's current seed.

    Args:
        config: what to build; see :func:`avsv.system.config.load_config`.
        num_classes: training identities; None for a system that only embeds.

    Raises:
        DataError: a network refuses its options.
    """
    return AVSystem(config, num_classes)
