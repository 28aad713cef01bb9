"""Lay a preset and settings of the command line over the configuration files of a recipe, and check the result.

Sections of a preset, later ones over earlier ones:
  fbank, faces      over conf/fbank.yaml, conf/faces.yaml
  all               over every system
  fusion_systems    over the systems that have a fusion
  networks          NAME: options, over every network and loss of this name
  systems           NAME: over this system

``run`` names the systems that run.sh runs unless it is told others.

A system file overrides a preset in the dotted keys that it lists under ``keep``, as in
``keep: [train.epochs, train.optimizer]``. Settings of the command line override both.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avsv.audio.config import FbankConfig
from avsv.config.strict import check_keys, nearest, overlay, parse_yaml, read_dataclass, read_yaml
from avsv.errors import DataError
from avsv.io.names import check_system
from avsv.model.config import SystemConfig, parse_config
from avsv.model.registry import ROLES, find_class
from avsv.model.study import nested, read_study
from avsv.nnet.generative.supervision import MIN_FRAMES
from avsv.video.config import FacesConfig

RUN = "run"
SECTIONS = ("fbank", "faces", "all", "fusion_systems", "networks", "systems")
# Layers change what a system has; they never give it a network that it does not have.
STRUCTURE = ("audio", "visual", "fusion", "supervision", "init_from")
TRAINING = ("loss", "train", "data")
# The files of a finished system.
_CONFIG, _WEIGHTS = "config.yaml", "final.pt"
# What the section networks is about.
NETWORK_ROLES = ("audio", "visual", "fusion", "supervision", "classifier")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A preset, or the --set options, in the same form; ``source`` names it in messages."""

    source: str
    sections: Mapping[str, Any]


def read_layer(source: str, content: Mapping[str, Any], known_systems: Sequence[str]) -> Layer:
    """Check the structure of a preset.

    Raises:
        DataError: an unknown section, network or system, or a section that is not a mapping.
    """
    check_keys(content, (RUN, *SECTIONS), f"{source}: ")
    named = str(content.get(RUN, "")).split()
    for name in named:
        if name not in known_systems:
            raise DataError(f"{source}: {RUN}: no system {name}: {nearest(name, known_systems)}")
    content = {section: value for section, value in content.items() if section != RUN}
    for section, value in content.items():
        if not isinstance(value, Mapping):
            raise DataError(f"{source}: {section}: expected 'key: value' lines")
    networks = [name for role in NETWORK_ROLES for name in ROLES[role].known]
    check_keys(content.get("networks", {}), networks, f"{source}: networks.")
    check_keys(content.get("systems", {}), known_systems, f"{source}: systems.")
    for section in ("networks", "systems"):
        for name, value in content.get(section, {}).items():
            if not isinstance(value, Mapping):
                raise DataError(f"{source}: {section}.{name}: expected 'key: value' lines")
    return Layer(source, content)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """The --set options of the command line in the form of a preset.

    Raises:
        DataError: a setting is not KEY=VALUE, has an empty part in KEY, or a VALUE that is not YAML.

    Example:
        >>> parse_settings(["train.epochs=3", "fbank.dither=0", "networks.iresnet.channels=8"])
        {'all': {'train': {'epochs': 3}}, 'fbank': {'dither': 0}, 'networks': {'iresnet': {'channels': 8}}}
        >>> parse_settings(["ecapa:train.epochs=3"])
        {'systems': {'ecapa': {'train': {'epochs': 3}}}}
    """
    content: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        parts = key.split(".")
        value = parse_yaml(text, f"--set {key}")
        system, colon, rest = parts[0].partition(":")
        if colon:
            parts[:1] = ["systems", system, rest]
        elif parts[0] not in SECTIONS:
            parts.insert(0, "all")
        if not equals or not all(parts):
            raise DataError(f"--set {setting}: expected KEY=VALUE with a dotted key, as in train.epochs=3")
        for part in reversed(parts):
            value = {part: value}
        content = overlay(content, value)
    return content


class Configurator:
    """Merges and checks the configuration of one preset.

    Args:
        conf: folder with fbank.yaml, faces.yaml, systems/ and presets/.
        preset: name of a file in presets/.
        settings: KEY=VALUE texts laid over the preset.
        study: a file of conf/studies whose variants are systems too.

    Raises:
        DataError: anything missing, unknown or wrong.
    """

    def __init__(self, conf: Path, preset: str, settings: Sequence[str] = (), study: Path | None = None) -> None:
        self.conf = conf
        self.known = _names(conf / "systems")
        self.study = read_study(study, self.known) if study is not None else None
        presets = _names(conf / "presets")
        if preset not in presets:
            raise DataError(f"preset {preset}: no file {conf}/presets/{preset}.yaml: {nearest(preset, presets)}")
        path = conf / "presets" / f"{preset}.yaml"
        systems = [*self.known, *(self.study.variants if self.study else ())]
        self.layers = [
            read_layer(str(path), read_yaml(path), systems),
            read_layer("--set", parse_settings(settings), systems),
        ]
        self.fbank = read_dataclass(FbankConfig, *self._merged_file("fbank"))
        self.faces = read_dataclass(FacesConfig, *self._merged_file("faces"))
        self._mappings: dict[str, dict[str, Any]] = {}
        self.overridden: dict[str, list[tuple[str, Any, Any]]] = {}  # keys of system files, their values, the preset's
        self._sources: dict[str, dict[str, Any]] = {}  # of init_from, by system or folder

    @property
    def trained(self) -> list[Path]:
        """The files of finished systems that the systems read so far start from."""
        folders = [Path(source) for source in self._sources if "/" in source]
        return [folder / name for folder in folders for name in (_CONFIG, _WEIGHTS)]

    def _merged_file(self, section: str) -> tuple[dict[str, Any], str]:
        path = self.conf / f"{section}.yaml"
        merged = read_yaml(path)
        for layer in self.layers:
            merged = overlay(merged, layer.sections.get(section, {}))
        return merged, self._where(path)

    def _where(self, path: Path) -> str:
        used = [layer.source for layer in self.layers if layer.sections]
        return f"{path} with {' and '.join(used)}" if used else str(path)

    def _file(self, name: str) -> tuple[str, Path]:
        """The system of ``conf/systems`` that a system is, or is a variant of, and its file."""
        base = self.study.variants[name].base if self._is_variant(name) else name
        return base, self.conf / "systems" / f"{base}.yaml"

    def _is_variant(self, name: str) -> bool:
        return self.study is not None and name in self.study.variants

    def _own(self, name: str) -> dict[str, Any]:
        """What the file of a system says; a variant of a study lays its changes over that, and insists on them."""
        own = read_yaml(self._file(name)[1])
        if self._is_variant(name):
            changes = self.study.variants[name].set
            own = overlay(own, nested(changes)) | {"keep": [*(own.get("keep") or []), *changes]}
        return own

    def _over(self, name: str, mapping: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """Lay both layers over the mapping of a system, and between them the keys that its ``own`` file keeps."""
        keep = own.get("keep") or []
        base, path = self._file(name)
        if not isinstance(keep, list) or not all(isinstance(key, str) for key in keep):
            raise DataError(f"{path}: keep: expected a list of dotted keys, as in [train.epochs]")
        for number, layer in enumerate(self.layers):
            parts = [("all", layer.sections.get("all", {}))]
            if "fusion" in mapping:
                parts.append(("fusion_systems", layer.sections.get("fusion_systems", {})))
            # The networks of a fine-tuned system have the sizes of the system that it starts from.
            roles = () if "system" in mapping.get("init_from", {}) else ("audio", "visual", "fusion", "supervision")
            networks = layer.sections.get("networks", {})
            parts.extend(("networks", part) for part in _network_options(mapping, networks, roles))
            for system in dict.fromkeys((base, name)):
                parts.append((f"systems.{system}", layer.sections.get("systems", {}).get(system, {})))
            for section, part in parts:
                if section == "all" and "train" not in mapping:
                    # The settings of training are none of a system that is not trained.
                    part = {key: value for key, value in part.items() if key not in TRAINING}
                for key in STRUCTURE:
                    if key in part and key not in mapping:
                        raise DataError(f"{layer.source}: {section}.{key}: {name} has no {key}: it would be added")
                mapping = overlay(mapping, part)
            if number == 0:
                for key in keep:
                    mapping = overlay(mapping, _part(own, key, f"{path}: keep"))
                self.overridden[name] = _changes(own, mapping)
        return mapping

    def mapping(self, name: str, dependents: tuple[str, ...] = ()) -> dict[str, Any]:
        """The merged mapping of a system, with the networks of the systems that it starts from filled in."""
        if name in self._mappings:
            return self._mappings[name]
        if name not in self.known and not self._is_variant(name):
            needed = f" (init_from of {dependents[-1]})" if dependents else ""
            raise DataError(
                f"system {name}{needed}: no file {self.conf}/systems/{name}.yaml: {nearest(name, self.known)}"
            )
        if name in dependents:
            raise DataError(f"system {name}: its init_from leads back to itself: {' > '.join([*dependents, name])}")
        path = self._file(name)[1]
        own = self._own(name)
        mapping = {key: value for key, value in own.items() if key != "keep"}
        for role, source in _sources(mapping, path):
            there = _trained(source, path) if "/" in source else self.mapping(source, (*dependents, name))
            self._sources[source] = there
            if role == "system":
                # Fine-tuning: this file is laid over all settings of the finished system.
                there = {key: value for key, value in there.items() if key not in ("init_from", "pretrained")}
                mapping = overlay(there, mapping)
                continue
            if role not in there:
                raise DataError(f"{path}: init_from.{role}: {source} has no {role} network")
            if role in mapping:
                raise DataError(f"{path}: {role}: given by init_from.{role} ({source}): remove one of the two")
            mapping = {role: there[role], **mapping}
        self._mappings[name] = self._over(name, mapping, own)
        if self._mappings[name].get("init_from", {}) != mapping.get("init_from", {}):
            raise DataError(
                f"{self._where(path)}: init_from: a file names the systems that its networks come from: change it there"
            )
        return self._mappings[name]

    def configs(self, names: Sequence[str]) -> dict[str, SystemConfig]:
        """Checked configurations of the named systems and of those they start from, in the order of training."""
        for name in names:
            self.mapping(name)
        configs = {name: self._check(name, mapping) for name, mapping in self._mappings.items()}
        # A system's sources are in the mapping before it; the sort is stable.
        return dict(sorted(configs.items(), key=lambda item: item[1].fusion is not None))

    def _check(self, name: str, mapping: dict[str, Any]) -> SystemConfig:
        where = self._where(self._file(name)[1])
        config = parse_config(mapping, where)
        for role, source in dataclasses.asdict(config.init_from).items():
            if role != "system" and source is not None and mapping[role] != self._sources[source][role]:
                raise DataError(f"{where}: {role}: differs from that of {source}, whose weights it starts from")
        if config.audio is not None and find_class("audio", config.audio.name).takes == "fbank":
            wanted, made = config.audio.options.get("feature_dim"), self.fbank.num_mel_bins
            if wanted != made:
                raise DataError(
                    f"{where}: audio.feature_dim: {wanted}, but fbank: num_mel_bins is {made}: make them equal"
                )
        frames = config.data.video_frames or round(config.data.window * self.faces.fps)
        if config.supervision is not None and frames < MIN_FRAMES:
            raise DataError(
                f"{where}: data.video_frames: a training clip shows {frames}, and the supervision compares series of at"
                f" least {MIN_FRAMES}: raise it, or data.window"
            )
        return config


def _network_options(
    mapping: Mapping[str, Any], networks: Mapping[str, Any], roles: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Place the options of ``networks`` where a network of some roles, or the loss, has the name."""
    for role in roles:
        name = _name(mapping.get(role))
        if name in networks:
            yield {role: networks[name]}
    loss = mapping.get("loss")
    name = _name(loss.get("classifier")) if isinstance(loss, Mapping) else None
    if name in networks:
        yield {"loss": {"classifier": networks[name]}}


def _name(network: Any) -> str | None:
    return network.get("name") if isinstance(network, Mapping) else None


def _sources(mapping: Mapping[str, Any], path: Path) -> list[tuple[str, str]]:
    sources = mapping.get("init_from", {})
    if not isinstance(sources, Mapping):
        raise DataError(f"{path}: init_from: expected 'audio: SYSTEM' and 'visual: SYSTEM', or 'system: SYSTEM'")
    check_keys(sources, ("audio", "visual", "system"), f"{path}: init_from.")
    return [(role, str(source)) for role, source in sources.items() if source is not None]


def _part(mapping: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """The value of a dotted key alone, in the shape of the mapping.

    Example:
        >>> _part({"train": {"epochs": 3, "batch_size": 8}}, "train.epochs", "x.yaml")
        {'train': {'epochs': 3}}
    """
    value: Any = mapping
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise DataError(f"{where}: {key}: the file does not give this key: remove it from the list")
        value = value[part]
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _changes(own: Mapping[str, Any], merged: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Keys of a system file whose values a preset has changed: dotted key, the file's value, the final value.

    Example:
        >>> _changes({"train": {"epochs": 3, "lr": 1}}, {"train": {"epochs": 5, "lr": 1}, "data": 2})
        [('train.epochs', 3, 5)]
    """
    found = []
    for key, value in own.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            found += _changes(value, merged[key], f"{prefix}{key}.")
        elif key in merged and merged[key] != value:
            found.append((f"{prefix}{key}", value, merged[key]))
    return found


def _trained(folder: str, path: Path) -> dict[str, Any]:
    """The mapping of a trained system in the folder that ``path`` starts from."""
    config = Path(folder) / _CONFIG
    for file in (config, Path(folder) / _WEIGHTS):
        if not file.is_file():
            raise DataError(f"{path}: init_from: {file}: no such file: name the folder of a finished system")
    return {key: value for key, value in read_yaml(config).items() if value is not None}


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    return sorted(check_system(path.stem, str(folder)) for path in folder.glob("[!.]*.yaml"))
