"""Lay a preset over the configuration files, check everything, and write one plain file per step and system.

Reads CONF/fbank.yaml, CONF/faces.yaml, CONF/presets/PRESET.yaml and CONF/systems/SYSTEM.yaml. Writes OUT/fbank.yaml,
OUT/faces.yaml and OUT/systems/SYSTEM.yaml, defaults included: each only when it changes, none when anything is wrong.
Systems that a named one starts from (init_from) are added. Prints the systems in the order of training, those of one
modality first, one a line: its name, `single` or `fused`, and the systems it starts from, as in
`ssa fused audio=ecapa visual=iresnet18`.

Sections of a preset, later ones over earlier ones:
  fbank, faces      over conf/fbank.yaml, conf/faces.yaml
  all               over every system
  fusion_systems    over the systems that have a fusion
  networks          NAME: options, over every network and loss of this name
  systems           NAME: over this system

`--weights-dir DIR` looks for the published weights that the systems start from as well.
`--set KEY=VALUE` is laid over all that: KEY is dotted, and starts with one of these sections or means `all.KEY`.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from avsv.audio.config import FbankConfig
from avsv.bin.command import run_command
from avsv.config.strict import check_keys, nearest, overlay, read_dataclass, read_yaml
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import check_system
from avsv.model.config import SystemConfig, parse_config
from avsv.model.pretrained import resolve_weights
from avsv.model.registry import ROLES, find_class
from avsv.nnet.generative.supervision import MIN_FRAMES
from avsv.video.config import FacesConfig

SECTIONS = ("fbank", "faces", "all", "fusion_systems", "networks", "systems")
# Layers change what a system has; they never give it a network that it does not have.
STRUCTURE = ("audio", "visual", "fusion", "supervision", "init_from")
# What the section networks is about.
NETWORK_ROLES = ("audio", "visual", "fusion", "supervision", "classifier")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A preset, or the --set options, in the same form; ``source`` names it in messages."""

    source: str
    sections: Mapping[str, Any]


def read_layer(source: str, content: Mapping[str, Any], known_systems: Sequence[str]) -> Layer:
    """Check the outline of a preset.

    Raises:
        DataError: an unknown section, network or system, or a section that is not a mapping.
    """
    check_keys(content, SECTIONS, f"{source}: ")
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
    """The --set options as a preset.

    Raises:
        DataError: no KEY=VALUE, an empty part in KEY, or a VALUE that is no YAML.

    Example:
        >>> parse_settings(["train.epochs=3", "fbank.dither=0", "networks.iresnet.channels=8"])
        {'all': {'train': {'epochs': 3}}, 'fbank': {'dither': 0}, 'networks': {'iresnet': {'channels': 8}}}
    """
    content: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        parts = key.split(".")
        if not equals or not all(parts):
            raise DataError(f"--set {setting}: expected KEY=VALUE with a dotted key, as in train.epochs=3")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise DataError(f"--set {setting}: the value is not valid YAML") from None
        if parts[0] not in SECTIONS:
            parts.insert(0, "all")
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

    Raises:
        DataError: anything missing, unknown or wrong.
    """

    def __init__(self, conf: Path, preset: str, settings: Sequence[str] = ()) -> None:
        self.conf = conf
        self.known = _names(conf / "systems")
        presets = _names(conf / "presets")
        if preset not in presets:
            raise DataError(f"preset {preset}: no file {conf}/presets/{preset}.yaml: {nearest(preset, presets)}")
        path = conf / "presets" / f"{preset}.yaml"
        self.layers = [
            read_layer(str(path), read_yaml(path), self.known),
            read_layer("--set", parse_settings(settings), self.known),
        ]
        self.fbank = read_dataclass(FbankConfig, *self._merged_file("fbank"))
        self.faces = read_dataclass(FacesConfig, *self._merged_file("faces"))
        self._mappings: dict[str, dict[str, Any]] = {}

    def _merged_file(self, section: str) -> tuple[dict[str, Any], str]:
        path = self.conf / f"{section}.yaml"
        merged = read_yaml(path)
        for layer in self.layers:
            merged = overlay(merged, layer.sections.get(section, {}))
        return merged, self._where(path)

    def _where(self, path: Path) -> str:
        used = [layer.source for layer in self.layers if layer.sections]
        return f"{path} with {' and '.join(used)}" if used else str(path)

    def _over(self, name: str, mapping: dict[str, Any]) -> dict[str, Any]:
        """The system's own mapping with both layers over it."""
        for layer in self.layers:
            parts = [("all", layer.sections.get("all", {}))]
            if "fusion" in mapping:
                parts.append(("fusion_systems", layer.sections.get("fusion_systems", {})))
            # Of a system that is trained on, the networks have been sized with the system that it starts from.
            roles = () if "system" in mapping.get("init_from", {}) else ("audio", "visual", "fusion", "supervision")
            networks = layer.sections.get("networks", {})
            parts.extend(("networks", part) for part in _network_options(mapping, networks, roles))
            parts.append((f"systems.{name}", layer.sections.get("systems", {}).get(name, {})))
            for section, part in parts:
                for key in STRUCTURE:
                    if key in part and key not in mapping:
                        raise DataError(f"{layer.source}: {section}.{key}: {name} has no {key}: it would be added")
                mapping = overlay(mapping, part)
        return mapping

    def mapping(self, name: str, dependents: tuple[str, ...] = ()) -> dict[str, Any]:
        """The merged mapping of a system, with the networks of the systems that it starts from filled in."""
        if name in self._mappings:
            return self._mappings[name]
        if name not in self.known:
            needed = f" (init_from of {dependents[-1]})" if dependents else ""
            raise DataError(
                f"system {name}{needed}: no file {self.conf}/systems/{name}.yaml: {nearest(name, self.known)}"
            )
        if name in dependents:
            raise DataError(f"system {name}: its init_from leads back to itself: {' > '.join([*dependents, name])}")
        path = self.conf / "systems" / f"{name}.yaml"
        mapping = read_yaml(path)
        for role, source in _sources(mapping, path):
            there = self.mapping(source, (*dependents, name))
            if role == "system":
                # The same system, trained on: what this file says is laid over all that it was.
                there = {key: value for key, value in there.items() if key not in ("init_from", "pretrained")}
                mapping = overlay(there, mapping)
                continue
            if role not in there:
                raise DataError(f"{path}: init_from.{role}: {source} has no {role} network")
            if role in mapping:
                raise DataError(f"{path}: {role}: given by init_from.{role} ({source}): remove one of the two")
            mapping = {role: there[role], **mapping}
        self._mappings[name] = self._over(name, mapping)
        return self._mappings[name]

    def configs(self, names: Sequence[str]) -> dict[str, SystemConfig]:
        """Checked configurations of the named systems and of those they start from, in the order of training."""
        for name in names:
            self.mapping(name)
        configs = {name: self._check(name, mapping) for name, mapping in self._mappings.items()}
        # A system's sources are in the mapping before it; the sort is stable.
        return dict(sorted(configs.items(), key=lambda item: item[1].fusion is not None))

    def _check(self, name: str, mapping: dict[str, Any]) -> SystemConfig:
        where = self._where(self.conf / "systems" / f"{name}.yaml")
        config = parse_config(mapping, where)
        for role, source in dataclasses.asdict(config.init_from).items():
            if role != "system" and source is not None and mapping[role] != self._mappings[source][role]:
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
    """For the networks of some roles and the loss that ``networks`` names: their options at their places."""
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


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    return sorted(check_system(path.stem, str(folder)) for path in folder.glob("[!.]*.yaml"))


def check_weights(configs: Mapping[str, SystemConfig], folder: Path) -> None:
    """Look for the published weights of all systems.

    Raises:
        DataError: some are not there; all of them are named.
    """
    missing: dict[str, list[str]] = {}
    for system, config in configs.items():
        for name in filter(None, (config.pretrained.audio, config.pretrained.visual)):
            try:
                resolve_weights(name, folder)
            except DataError as error:
                missing.setdefault(str(error), []).append(system)
    if missing:
        raise DataError("; ".join(f"pretrained weights of {', '.join(of)}: {what}" for what, of in missing.items()))


def write_changed(path: Path, text: str) -> None:
    """Write a file only when its text would change, so that its time says when it did."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def _image_channels(config: SystemConfig) -> int | None:
    return config.visual.options["image_channels"] if config.visual is not None else None


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="configure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder of the configuration files (conf)")
    parser.add_argument("--preset", required=True, help="name of a file in CONF/presets")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="see above")
    parser.add_argument("--weights-dir", type=Path, metavar="DIR", help="look there for published weights")
    parser.add_argument("systems", nargs="+", metavar="SYSTEM", help="name of a file in CONF/systems")
    options = parser.parse_args(arguments)

    configurator = Configurator(options.conf, options.preset, options.settings)
    configs = configurator.configs(options.systems)
    if options.weights_dir is not None:
        check_weights(configs, options.weights_dir)
    sees_colour = [name for name, config in configs.items() if _image_channels(config) == 3]
    if sees_colour and configurator.faces.channels == 1:
        print(
            f"warning: {', '.join(sees_colour)}: made for colour, and the preset {options.preset} stores gray crops"
            " (faces.channels: 1)",
            file=sys.stderr,
        )
    for name, config in (("fbank", configurator.fbank), ("faces", configurator.faces)):
        write_changed(options.out / f"{name}.yaml", yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))
    for name, config in configs.items():
        write_changed(options.out / "systems" / f"{name}.yaml", config.to_yaml())
    for name, config in configs.items():
        sources = [f"{role}={source}" for role, source in dataclasses.asdict(config.init_from).items() if source]
        print(name, "single" if config.fusion is None else "fused", *sources)


if __name__ == "__main__":
    run_command(main)
