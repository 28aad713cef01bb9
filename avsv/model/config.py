"""A system's configuration: what a file of ``conf/systems`` may say, and nothing else.

A file names networks and their options, how clips are cut and augmented, and how the system is trained and embeds::

    audio: {name: ecapa_tdnn, channels: 512, embedding_dim: 192}
    loss: {classifier: {name: aam_softmax, margin: 0.5, scale: 30}}
    train: {epochs: 50, batch_size: 320, optimizer: {name: sgd, lr: 0.01}, schedule: {name: step, every: 5}}

Reading is strict: an unknown key, a wrong type or two options that contradict each other is a DataError.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from avsv.config.extension import is_outside
from avsv.config.sections import DataConfig, EmbedConfig, InitFrom, Pretrained, TrainConfig, not_negative
from avsv.config.strict import check_keys, convert, read_dataclass, read_fields, read_yaml
from avsv.errors import DataError
from avsv.model.registry import ROLES, check_options, find_class
from avsv.nnet.pooling import find_pooling


@dataclass(frozen=True)
class NetworkConfig:
    """A network or loss of :mod:`avsv.model.registry` by its name, with all its options, defaults filled in.

    In the file, options stand beside the name: ``{name: ecapa_tdnn, channels: 512}``.
    """

    role: ClassVar[str]
    name: str
    options: dict[str, Any]

    @classmethod
    def from_mapping(cls, mapping: Any, where: str) -> "NetworkConfig":
        """Check a mapping of ``name`` and options; see :func:`avsv.config.strict.read_dataclass`."""
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
class AuxiliaryConfig(NetworkConfig):
    """A further term of the loss, with its weight: see :class:`avsv.losses.auxiliary.AuxiliaryLoss`.

    In the file, its name is a key of ``loss``, with the weight alone or with options: ``orthogonality: 0.5`` or
    ``orthogonality: {weight: 0.5, negative_weight: 0.3}``.
    """

    role = "auxiliary"
    weight: float

    @classmethod
    def from_entry(cls, name: str, value: Any, where: str) -> "AuxiliaryConfig":
        """Check one entry of ``loss``; ``where`` is 'FILE: loss.NAME'."""
        options = dict(value) if isinstance(value, dict) else {"weight": value}
        weight = convert(options.pop("weight", None), float, f"{where}.weight" if options else where)
        if not weight >= 0:
            raise DataError(f"{where}: {weight}: must not be negative")
        return cls(name, check_options(cls.role, name, options, where), weight)

    def to_entry(self) -> Any:
        """The inverse of :meth:`from_entry`, with options where they are not the defaults."""
        if self.options == check_options(self.role, self.name, {}, self.name):
            return self.weight
        return {"weight": self.weight, **self.options}


@dataclass(frozen=True)
class LossConfig:
    """What training minimizes.

    Args:
        classifier: the classification loss on the system's embedding (the fused one in an audio-visual system).
        audio_weight: weight of another such loss on the audio embedding of an audio-visual system.
        visual_weight: the same on the visual embedding.
        auxiliary: further terms on the system's embedding: every one of the registry, with weight 0 where the file does
            not name it, then those from outside the package.
    """

    classifier: ClassifierConfig
    audio_weight: float = 0.0
    visual_weight: float = 0.0
    auxiliary: tuple[AuxiliaryConfig, ...] = ()

    @classmethod
    def from_mapping(cls, mapping: Any, where: str) -> "LossConfig":
        """Check the section ``loss``; see :func:`avsv.config.strict.read_dataclass`."""
        names = list(ROLES["auxiliary"].known)
        entries = mapping if isinstance(mapping, dict) else {}
        names += [key for key in entries if is_outside(str(key))]
        terms = tuple(AuxiliaryConfig.from_entry(key, entries.get(key, 0.0), f"{where}.{key}") for key in names)
        return read_fields(cls, mapping, where, names, auxiliary=terms)

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of :meth:`from_mapping`."""
        mapping = {
            "classifier": self.classifier,
            "audio_weight": self.audio_weight,
            "visual_weight": self.visual_weight,
        }
        return {**mapping, **{term.name: term.to_entry() for term in self.auxiliary}}

    def __post_init__(self) -> None:
        not_negative(audio_weight=self.audio_weight, visual_weight=self.visual_weight)

    @property
    def terms(self) -> tuple[AuxiliaryConfig, ...]:
        """The auxiliary losses whose weight is not 0."""
        return tuple(term for term in self.auxiliary if term.weight > 0)

    def needs(self, target: str) -> bool:
        """Whether a term is told this of each utterance: see ``target`` of an auxiliary loss."""
        return any(find_class("auxiliary", term.name).target == target for term in self.terms)


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
        self._check_networks()
        if self.embed.speeds and self.audio is None:
            raise ValueError("embed.speeds: the system has a visual network only: remove this key")
        if self.data.speed_perturb and self.visual is not None:
            raise ValueError("data.speed_perturb: at another speed voice and face are out of step: audio systems only")
        self._check_batches()
        self._check_supervision()

    def _check_networks(self) -> None:
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

    def _check_batches(self) -> None:
        name = self.loss.classifier.name
        if not find_class("classifier", name).compares_batch:
            return
        if (self.data.utterances_per_speaker or 1) < 2:
            raise ValueError(
                f"data.utterances_per_speaker: {name} compares utterances of a speaker: set it to 2 or more"
            )
        if self.train.batch_size < 2 * self.data.utterances_per_speaker:
            raise ValueError(
                f"train.batch_size: {self.train.batch_size}: {name} compares two speakers or more, with"
                f" {self.data.utterances_per_speaker} utterances each (data.utterances_per_speaker): raise it"
            )
        if self.data.speed_perturb:
            raise ValueError(
                f"data.speed_perturb: it splits a speaker's utterances, which {name} needs: set it to false"
            )

    def _check_supervision(self) -> None:
        if self.supervision is None:
            return
        if self.data.av_mixup:
            raise ValueError("supervision: needs voice and face of the same moment: set data.av_mixup to false")
        for role in ("audio", "visual"):
            pooling = getattr(self, role).options.get("pooling")
            if pooling is None or not find_pooling(pooling, f"{role}.pooling").gives_weights:
                raise ValueError(f"supervision: {role}.pooling has no temporal weights: make it we_asp")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modes in which the system embeds: ("A",), ("V",) or ("AV", "A", "V").

        Example:
            >>> from avsv.config.sections import ConstantSchedule, SGDConfig
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
    if isinstance(value, (NetworkConfig, LossConfig)):
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
