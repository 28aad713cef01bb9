"""A system's configuration: what a file of ``conf/systems`` may say, and nothing else.

A file names networks and their options, how clips are cut and augmented, and how the system is trained and embeds::

    audio: {name: ecapa_tdnn, channels: 512, embedding_dim: 192}
    loss: {classifier: {name: aam_softmax, margin: 0.5, scale: 30}}
    train: {epochs: 50, batch_size: 320, optimizer: {name: sgd, lr: 0.01}, schedule: {name: step, every: 5}}

Reading is strict: an unknown key, a wrong type or two options that contradict each other is a DataError. This module
does not import torch.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from avsv.errors import DataError
from avsv.system.registry import check_options
from avsv.system.strict import check_keys, convert, read_dataclass, read_yaml


def _positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}: {value}: must be larger than 0")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name}: {value}: must not be negative")


@dataclass(frozen=True)
class NetworkConfig:
    """A network or loss of :mod:`avsv.system.registry` by its name, with all its options, defaults filled in.

    In the file, options stand beside the name: ``{name: ecapa_tdnn, channels: 512}``.
    """

    role: ClassVar[str]
    name: str
    options: dict[str, Any]

    @classmethod
    def from_mapping(cls, mapping: Any, where: str) -> "NetworkConfig":
        """Check a mapping of ``name`` and options; see :func:`avsv.system.strict.read_dataclass`."""
        if not isinstance(mapping, dict) or "name" not in mapping:
            raise DataError(f"{where}: expected 'name: ...' and its options")
        name = convert(mapping["name"], str, f"{where}.name")
        options = {key: value for key, value in mapping.items() if key != "name"}
        return cls(name, check_options(cls.role, name, options, where))

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of :meth:`from_mapping`."""
        return {"name": self.name, **self.options}


class AudioConfig(NetworkConfig):
    """The audio backbone, its pooling and its embedding layer included."""

    role = "audio"


class VisualConfig(NetworkConfig):
    """The visual backbone, its pooling and its embedding layer included."""

    role = "visual"


class FusionConfig(NetworkConfig):
    """How an audio and a visual embedding become one."""

    role = "fusion"


class ClassifierConfig(NetworkConfig):
    """The loss on embeddings and identities, used in training only."""

    role = "classifier"


class SupervisionConfig(NetworkConfig):
    """Generative supervision of the two poolings by each other, used in training only."""

    role = "supervision"


@dataclass(frozen=True)
class LossConfig:
    """What training minimises.

    Args:
        classifier: the classification loss on the system's embedding (the fused one in an audio-visual system).
        audio_weight: weight of another such loss on the audio embedding of an audio-visual system.
        visual_weight: the same on the visual embedding.
        orthogonality: weight of the orthogonality constraint on the system's embedding.
        age: weight of the classification of the speaker's age; the ages stand in utt2age or spk2age.
    """

    classifier: ClassifierConfig
    audio_weight: float = 0.0
    visual_weight: float = 0.0
    orthogonality: float = 0.0
    age: float = 0.0

    def __post_init__(self) -> None:
        _not_negative(
            audio_weight=self.audio_weight,
            visual_weight=self.visual_weight,
            orthogonality=self.orthogonality,
            age=self.age,
        )


@dataclass(frozen=True)
class SpecAugmentConfig:
    """One mask of each kind a clip, its width drawn uniformly from 0 to the value given; masked cells are 0, the mean.

    Args:
        time: largest width in frames.
        frequency: largest width in bins.
    """

    time: int = 5
    frequency: int = 10

    def __post_init__(self) -> None:
        _not_negative(time=self.time, frequency=self.frequency)


@dataclass(frozen=True)
class DataConfig:
    """What a training clip is. Evaluation always uses whole utterances, without augmentation.

    Args:
        window: seconds of a training clip; audio and video share its start. Shorter utterances are used whole.
        video_frames: face frames of the window that the network sees, evenly spread; null for all of them.
        noise_reverb: add noise, music, babble or a room to the audio, or nothing, each with equal probability.
        spec_augment: mask bands of the audio features; null for none.
        video_augment: augment the face frames, alike in the whole clip.
        speed_perturb: play the audio at 1, 0.9 or 1.1 times its speed, each with equal probability; a speaker at
            another speed is another class (audio systems only).
        av_mixup: the video of a clip is of another utterance of the same speaker, from another recording if possible.
        utterances_per_speaker: M of N x M batches: N distinct speakers with M utterances each; null for batches that
            take every utterance once an epoch.
    """

    window: float = 2.0
    video_frames: int | None = None
    noise_reverb: bool = True
    spec_augment: SpecAugmentConfig | None = field(default_factory=SpecAugmentConfig)
    video_augment: bool = True
    speed_perturb: bool = False
    av_mixup: bool = False
    utterances_per_speaker: int | None = None

    def __post_init__(self) -> None:
        _positive(
            window=self.window, video_frames=self.video_frames, utterances_per_speaker=self.utterances_per_speaker
        )


@dataclass(frozen=True)
class SGDConfig:
    """Stochastic gradient descent with (not Nesterov's) momentum; weight decay on every parameter.

    The learning rate of the audio and visual networks is ``backbone_factor`` times that of the rest.
    """

    name: Literal["sgd"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    backbone_factor: float = 1.0

    def __post_init__(self) -> None:
        _positive(lr=self.lr, backbone_factor=self.backbone_factor)
        _not_negative(momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW with betas 0.9 and 0.999 and epsilon 1e-8; ``backbone_factor`` as in :class:`SGDConfig`."""

    name: Literal["adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    backbone_factor: float = 1.0

    def __post_init__(self) -> None:
        _positive(lr=self.lr, backbone_factor=self.backbone_factor)
        _not_negative(weight_decay=self.weight_decay)


@dataclass(frozen=True)
class StepSchedule:
    """lr * factor ** floor(epoch / every), with epoch counted from 0."""

    name: Literal["step"] = "step"
    every: int = 5
    factor: float = 0.5

    def __post_init__(self) -> None:
        _positive(every=self.every, factor=self.factor)


@dataclass(frozen=True)
class ExponentialSchedule:
    """lr * (final_lr / lr) ** x, updated every optimizer step, where x goes from 0 to 1 over the training."""

    name: Literal["exponential"] = "exponential"
    final_lr: float = 1e-5

    def __post_init__(self) -> None:
        _positive(final_lr=self.final_lr)


@dataclass(frozen=True)
class CosineSchedule:
    """final_lr + (lr - final_lr) * (1 + cos(pi * x)) / 2, updated every optimizer step, x from 0 to 1 over training."""

    name: Literal["cosine"] = "cosine"
    final_lr: float = 1e-5

    def __post_init__(self) -> None:
        _not_negative(final_lr=self.final_lr)


@dataclass(frozen=True)
class PlateauSchedule:
    """lr, multiplied by ``factor`` after each epoch whose development EER is not lower than all before it."""

    name: Literal["plateau"] = "plateau"
    factor: float = 0.95

    def __post_init__(self) -> None:
        _positive(factor=self.factor)


@dataclass(frozen=True)
class ConstantSchedule:
    """lr throughout."""

    name: Literal["constant"] = "constant"


@dataclass(frozen=True)
class MarginWarmup:
    """Margin 0 before epoch ``start``, then rising as 1 - 0.001 ** x to its full value at epoch ``end``.

    Epochs are counted from 0 and may be fractions; x goes from 0 to 1 between the two.
    :func:`avsv.losses.margin.warm_margin` computes it.
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _not_negative(start=self.start)
        if self.end < self.start:
            raise ValueError(f"end: {self.end}: must not come before start {self.start}")


@dataclass(frozen=True)
class TrainConfig:
    """How the system is trained. The seed and the number of devices and loader workers come from the command line.

    Args:
        epochs: passes over the training list, one clip of every utterance in each.
        batch_size: clips in one optimizer step, over all devices.
        optimizer: sgd or adamw with its options.
        schedule: of the learning rate: step, exponential, cosine, plateau or constant.
        warmup_epochs: the learning rate is multiplied by a line from 0 to 1 over this time (fractions allowed).
        clip_norm: largest L2 norm of the gradient; null for no clipping.
        precision: fp32, or bf16 or fp16 by autocast; losses are in float32 always.
        margin_warmup: null for the full margin from the start.
        num_threads: CPU threads of a training process; sums depend on it in their last bits.
        checkpoint_minutes: save for resuming this often, and at the end of each epoch.
        keep: final.pt has the weights of the last epoch, or of the best one by development EER.
        average_last: final.pt averages the weights after each of the last n epochs (with keep: last).
        evaluate_every: epochs between two development EERs; the last epoch always has one.
    """

    epochs: int
    batch_size: int
    optimizer: SGDConfig | AdamWConfig
    schedule: StepSchedule | ExponentialSchedule | CosineSchedule | PlateauSchedule | ConstantSchedule
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    margin_warmup: MarginWarmup | None = None
    num_threads: int = 2
    checkpoint_minutes: float = 10.0
    keep: Literal["last", "best"] = "last"
    average_last: int = 1
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        _positive(
            epochs=self.epochs,
            batch_size=self.batch_size,
            clip_norm=self.clip_norm,
            num_threads=self.num_threads,
            checkpoint_minutes=self.checkpoint_minutes,
            average_last=self.average_last,
            evaluate_every=self.evaluate_every,
        )
        _not_negative(warmup_epochs=self.warmup_epochs)
        if self.average_last > self.epochs:
            raise ValueError(f"average_last: {self.average_last}: more than the {self.epochs} epochs")
        if self.average_last > 1 and self.keep == "best":
            raise ValueError("average_last: averaging the last epochs contradicts keep: best")
        if self.evaluate_every > 1 and isinstance(self.schedule, PlateauSchedule):
            raise ValueError("evaluate_every: schedule plateau goes by the development EER of every epoch")


@dataclass(frozen=True)
class EmbedConfig:
    """How whole utterances are embedded.

    Args:
        batch_size: utterances in one forward pass, sorted by length; results do not depend on it beyond rounding.
        video_frames: face frames of an utterance, evenly spread over it; null for all of them.
        mirror: the visual network sees every one of them a second time, left and right exchanged.
        speeds: the audio network hears the utterance at 0.9 and 1.1 times its speed too. A network that was trained
            with ``data.speed_perturb`` takes these for other speakers, and so judges two utterances at each speed anew.
            The embeddings, scaled to one length, stand end to end: a cosine is the mean of those at equal speeds.
    """

    batch_size: int = 16
    video_frames: int | None = None
    mirror: bool = False
    speeds: bool = False

    def __post_init__(self) -> None:
        _positive(batch_size=self.batch_size, video_frames=self.video_frames)


@dataclass(frozen=True)
class InitFrom:
    """The systems whose trained weights a system starts from.

    Args:
        audio: the audio network, pooling included.
        visual: the visual network, pooling included.
        system: everything, classes included; alone. The networks are those of that system, with what this file changes.
    """

    audio: str | None = None
    visual: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if self.system is not None and (self.audio is not None or self.visual is not None):
            raise ValueError("system: the whole system is loaded: remove audio and visual")


@dataclass(frozen=True)
class Pretrained:
    """Published weights that a network starts from: names of ``conf/weights.yaml`` or files; null for none."""

    audio: str | None = None
    visual: str | None = None


@dataclass(frozen=True)
class SystemConfig:
    """One system: an audio backbone, a visual one, or both and their fusion; its loss, data and training.

    Args:
        loss: see :class:`LossConfig`; likewise for the others.
        train: see :class:`TrainConfig`.
        audio: null in a visual system.
        visual: null in an audio system.
        fusion: given exactly when both backbones are.
        supervision: audio-visual systems whose poolings have temporal weights only.
        init_from: see :class:`InitFrom`; likewise for the others.
        pretrained: see :class:`Pretrained`.
        data: see :class:`DataConfig`.
        embed: see :class:`EmbedConfig`.
    """

    loss: LossConfig
    train: TrainConfig
    audio: AudioConfig | None = None
    visual: VisualConfig | None = None
    fusion: FusionConfig | None = None
    supervision: SupervisionConfig | None = None
    init_from: InitFrom = field(default_factory=InitFrom)
    pretrained: Pretrained = field(default_factory=Pretrained)
    data: DataConfig = field(default_factory=DataConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)

    def __post_init__(self) -> None:
        if self.audio is None and self.visual is None:
            raise ValueError("audio: a system needs an audio or a visual network, or both")
        both = self.audio is not None and self.visual is not None
        if both and self.fusion is None:
            raise ValueError("fusion: missing: the system has an audio and a visual network")
        if not both:
            alone = "an audio" if self.visual is None else "a visual"
            for key, given in (
                ("fusion", self.fusion is not None),
                ("supervision", self.supervision is not None),
                ("init_from.audio", self.init_from.audio is not None),
                ("init_from.visual", self.init_from.visual is not None),
                ("data.av_mixup", self.data.av_mixup),
                ("loss.audio_weight", self.loss.audio_weight > 0),
                ("loss.visual_weight", self.loss.visual_weight > 0),
            ):
                if given:
                    raise ValueError(f"{key}: the system has {alone} network only: remove this key")
        for role in ("audio", "visual"):
            if getattr(self.pretrained, role) is not None:
                if getattr(self, role) is None:
                    raise ValueError(f"pretrained.{role}: the system has no such network: remove this key")
                if getattr(self.init_from, role) is not None or self.init_from.system is not None:
                    raise ValueError(
                        f"pretrained.{role}: the network starts from another system: remove one of the two"
                    )
        if self.embed.speeds and self.audio is None:
            raise ValueError("embed.speeds: the system has a visual network only: remove this key")
        if self.data.speed_perturb and self.visual is not None:
            raise ValueError("data.speed_perturb: at another speed voice and face are out of step: audio systems only")
        if self.loss.classifier.name == "ge2e":
            if (self.data.utterances_per_speaker or 1) < 2:
                raise ValueError(
                    "data.utterances_per_speaker: ge2e compares utterances of a speaker: set it to 2 or more"
                )
            if self.train.batch_size < 2 * self.data.utterances_per_speaker:
                raise ValueError(
                    f"train.batch_size: {self.train.batch_size}: ge2e compares two speakers or more, with"
                    f" {self.data.utterances_per_speaker} utterances each (data.utterances_per_speaker): raise it"
                )
            if self.data.speed_perturb:
                raise ValueError(
                    "data.speed_perturb: it splits a speaker's utterances, which ge2e needs: set it to false"
                )
        if self.supervision is not None:
            if self.data.av_mixup:
                raise ValueError("supervision: needs voice and face of the same moment: set data.av_mixup to false")
            for role in ("audio", "visual"):
                if not str(getattr(self, role).options.get("pooling")).startswith("we_asp"):
                    raise ValueError(f"supervision: {role}.pooling has no temporal weights: make it we_asp")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modes in which the system embeds: ("A",), ("V",) or ("AV", "A", "V").

        Example:
            >>> train = TrainConfig(epochs=1, batch_size=2, optimizer=SGDConfig(), schedule=ConstantSchedule())
            >>> classifier = ClassifierConfig.from_mapping({"name": "aam_softmax"}, "example: loss.classifier")
            >>> audio = AudioConfig.from_mapping({"name": "ecapa_tdnn"}, "example: audio")
            >>> SystemConfig(LossConfig(classifier), train, audio=audio).modalities
            ('A',)
        """
        if self.fusion is not None:
            return ("AV", "A", "V")
        return ("A",) if self.visual is None else ("V",)

    def to_mapping(self) -> dict[str, Any]:
        """The whole configuration, defaults included, as plain values in the layout of the file."""
        return _plain(self)

    def to_yaml(self) -> str:
        """:meth:`to_mapping` as YAML text, which :func:`load_config` reads back."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, default_flow_style=None, width=120)


def _plain(value: Any) -> Any:
    if isinstance(value, NetworkConfig):
        return _plain(value.to_mapping())
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def parse_config(mapping: dict[str, Any], where: str) -> SystemConfig:
    """A SystemConfig from a mapping; ``where`` is the file that error messages name.

    Raises:
        DataError: ``FILE: dotted.key: what is wrong``.
    """
    check_keys(mapping, [item.name for item in dataclasses.fields(SystemConfig)], f"{where}: ")
    return read_dataclass(SystemConfig, mapping, where)


def load_config(path: str | Path) -> SystemConfig:
    """Read and check a system's configuration file.

    Raises:
        DataError: no such file, or anything in it that is unknown, missing or wrong.
    """
    return parse_config(read_yaml(path), str(path))
