"""The configuration of a system, as read from a file of ``conf/systems``.

A file contains the networks and their options, and how clips are cut and augmented, how the system is trained and how
it embeds utterances::

    audio: {name: ecapa_tdnn, channels: 512, embedding_dim: 192}
    loss: {classifier: {name: aam_softmax, margin: 0.5, scale: 30}}
    train: {epochs: 50, batch_size: 320, optimizer: {name: sgd, lr: 0.01}, schedule: {name: step, every: 5}}

Reading is strict: unknown keys, wrong types and contradicting options raise DataError.
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
from avsv.nnet.fusion.base import Fusion
from avsv.nnet.pooling import find_pooling


@dataclass(frozen=True)
class NetworkConfig:
    """The name of a network or loss of :mod:`avsv.model.registry`, with all its options including defaults.

    In the file, the options follow the name: ``{name: ecapa_tdnn, channels: 512}``.
    """

    role: ClassVar[str]
    name: str
    options: dict[str, Any]

    @classmethod
    def from_mapping(cls, mapping: Any, where: str) -> "NetworkConfig":
        """Check a mapping with ``name`` and options; see :func:`avsv.config.strict.read_dataclass`."""
        if not isinstance(mapping, dict) or "name" not in mapping:
            raise DataError(f"{where}: expected 'name: ...' and its options")
        name = convert(mapping["name"], str, f"{where}.name")
        options = {key: value for key, value in mapping.items() if key != "name"}
        return cls(name, check_options(cls.role, name, options, where))

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of :meth:`from_mapping`."""
        return {"name": self.name, **self.options}


class AudioConfig(NetworkConfig):
    """The audio backbone, including its pooling and embedding layer."""

    role = "audio"


class VisualConfig(NetworkConfig):
    """The visual backbone, including its pooling and embedding layer."""

    role = "visual"


class FusionConfig(NetworkConfig):
    """The fusion of an audio and a visual embedding."""

    role = "fusion"


class ClassifierConfig(NetworkConfig):
    """The classification loss, used in training only."""

    role = "classifier"


class SupervisionConfig(NetworkConfig):
    """The generative supervision between the two poolings, used in training only."""

    role = "supervision"


@dataclass(frozen=True)
class AuxiliaryConfig(NetworkConfig):
    """An additional term of the loss and its weight; see :class:`avsv.losses.auxiliary.AuxiliaryLoss`.

    In the file, its name is a key of ``loss``, with only the weight or with options: ``orthogonality: 0.5`` or
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
        """The inverse of :meth:`from_entry`; options are included if they differ from the defaults."""
        if self.options == check_options(self.role, self.name, {}, self.name):
            return self.weight
        return {"weight": self.weight, **self.options}


@dataclass(frozen=True)
class LossConfig:
    """The training loss.

    Args:
        classifier: the classification loss on the system's embedding (the fused one in an audio-visual system).
        audio_weight: weight of another such loss on the audio embedding of an audio-visual system.
        visual_weight: weight of another such loss on the visual embedding.
        single_weight: weight of the same loss, with the same class centers, on the fused embeddings of voice alone and
            face alone.
        uncertainty: weigh the loss of the classifier and the auxiliary terms by learned uncertainties too; see
            :class:`avsv.model.objective.Objective`.
        auxiliary: additional terms on the system's embedding: all terms of the registry, with weight 0 for those that
            the file does not name, then those from outside the package.
    """

    classifier: ClassifierConfig
    audio_weight: float = 0.0
    visual_weight: float = 0.0
    single_weight: float = 0.0
    uncertainty: bool = False
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
            "single_weight": self.single_weight,
            "uncertainty": self.uncertainty,
        }
        return {**mapping, **{term.name: term.to_entry() for term in self.auxiliary}}

    def __post_init__(self) -> None:
        not_negative(audio_weight=self.audio_weight, visual_weight=self.visual_weight, single_weight=self.single_weight)

    @property
    def terms(self) -> tuple[AuxiliaryConfig, ...]:
        """The auxiliary losses whose weight is not 0."""
        return tuple(term for term in self.auxiliary if term.weight > 0)

    def needs(self, target: str) -> bool:
        """Whether a term needs this target of each utterance; see ``target`` of auxiliary losses."""
        return any(find_class("auxiliary", term.name).target == target for term in self.terms)


@dataclass(frozen=True)
class SystemConfig:
    """A system: an audio backbone, a visual backbone, or both with their fusion; loss, data and training.

    Args:
        loss: see :class:`LossConfig`; null, as is ``train``, in a system that is not trained: a network that keeps the
            published weights that ``pretrained`` names.
        train: see :class:`TrainConfig`.
        audio: null in a visual system.
        visual: null in an audio system.
        fusion: required if there are two backbones, not allowed otherwise.
        supervision: for audio-visual systems whose poolings have temporal weights; null for none.
        init_from: see :class:`InitFrom`.
        pretrained: see :class:`Pretrained`.
        data: see :class:`DataConfig`.
        embed: see :class:`EmbedConfig`.
    """

    loss: LossConfig | None = None
    train: TrainConfig | None = None
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
            raise ValueError("embed.speeds: the system has only a visual network: remove this key")
        if self.data.speed_perturb and self.visual is not None:
            raise ValueError(
                "data.speed_perturb: at another speed, voice and face are not in sync: use it for audio systems only"
            )
        if self.trained:
            self._check_batches()
        self._check_supervision()

    @property
    def trained(self) -> bool:
        """Whether the system is trained, or keeps published weights."""
        return self.train is not None

    def _check_training(self) -> None:
        """Check that a system is trained or has published weights."""
        for key, given, other in (("loss", self.loss, self.train), ("train", self.train, self.loss)):
            if given is None and other is not None:
                raise ValueError(f"{key}: missing: a system that is trained needs it")
        if self.trained:
            return
        if self.fusion is not None:
            raise ValueError("train: missing: a fusion has no published weights: give loss and train")
        if self.pretrained.audio is None and self.pretrained.visual is None:
            raise ValueError("train: missing: give loss and train, or published weights in pretrained")

    def _check_networks(self) -> None:
        if self.audio is None and self.visual is None:
            raise ValueError("audio: a system needs an audio or a visual network, or both")
        self._check_training()
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
                ("data.modality_dropout", self.data.modality_dropout > 0),
                ("loss.audio_weight", self.trained and self.loss.audio_weight > 0),
                ("loss.visual_weight", self.trained and self.loss.visual_weight > 0),
                ("loss.single_weight", self.trained and self.loss.single_weight > 0),
            ):
                if given:
                    instead = (
                        "name its system in init_from.system" if key.startswith("init_from") else "remove this key"
                    )
                    raise ValueError(f"{key}: the system has only {alone} network: {instead}")
        for part in self.train.freeze if self.trained else ():
            if getattr(self, part) is None:
                raise ValueError(f"train.freeze: the system has no {part}: remove it")
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
        if self.data.held_out > 0:
            raise ValueError(
                f"data.held_out: {name} has no classes that a clip could be recognized as: remove this key"
            )
        if self.loss.single_weight > 0:
            raise ValueError(f"loss.single_weight: {name} compares the fused embeddings of a batch: remove this key")
        # An identity of the batch may have fewer voices or faces than utterances.
        for role in ("audio", "visual"):
            if getattr(self.loss, f"{role}_weight") > 0:
                raise ValueError(f"loss.{role}_weight: {name} compares whole identities of a batch: remove this key")
        if self.fusion is not None and find_class("fusion", self.fusion.name).views is not Fusion.views:
            raise ValueError(
                f"loss.classifier: {name} compares whole identities of a batch, but {self.fusion.name} classifies the"
                " views of voice and face: choose another"
            )
        if (self.data.utterances_per_speaker or 1) < 2:
            raise ValueError(
                f"data.utterances_per_speaker: {name} compares utterances of an identity: set it to 2 or more"
            )
        if self.train.batch_size < 2 * self.data.utterances_per_speaker:
            raise ValueError(
                f"train.batch_size: {self.train.batch_size}: {name} compares two or more identities with"
                f" {self.data.utterances_per_speaker} utterances each (data.utterances_per_speaker): increase it"
            )
        if self.data.speed_perturb:
            raise ValueError(
                f"data.speed_perturb: splits the utterances of an identity, but {name} compares them: set it to false"
            )

    def _check_supervision(self) -> None:
        if self.supervision is None:
            return
        if self.data.av_mixup:
            raise ValueError("supervision: needs synchronous voice and face: set data.av_mixup to false")
        for role in ("audio", "visual"):
            pooling = getattr(self, role).options.get("pooling")
            if pooling is None or not find_pooling(pooling, f"{role}.pooling").gives_weights:
                raise ValueError(f"supervision: {role}.pooling has no temporal weights: set it to we_asp")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modes in which the system can embed utterances: ("A",), ("V",) or ("AV", "A", "V").

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
        """The complete configuration, including defaults, as plain values in the layout of the file."""
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
    """Make a SystemConfig from a mapping; ``where`` is the file name in error messages.

    Raises:
        DataError: ``FILE: dotted.key: what is wrong``.
    """
    if not isinstance(mapping, dict):
        raise DataError(f"{where}: expected 'key: value' lines")
    check_keys(mapping, [item.name for item in dataclasses.fields(SystemConfig)], f"{where}: ")
    return read_dataclass(SystemConfig, mapping, where)


def load_config(path: str | Path) -> SystemConfig:
    """Read and check a system's configuration file.

    Raises:
        DataError: no such file, or an unknown, missing or wrong value in it.
    """
    return parse_config(read_yaml(path), str(path))
