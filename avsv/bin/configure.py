"""Lay a preset over the configuration files, check everything, and write one plain file per step and system.

Reads CONF/fbank.yaml, CONF/faces.yaml, CONF/presets/PRESET.yaml and CONF/systems/SYSTEM.yaml. Writes OUT/fbank.yaml,
OUT/faces.yaml and OUT/systems/SYSTEM.yaml with all defaults filled in: each only if it changes, none if anything is
wrong. Adds the systems that a named one starts from (init_from). Prints the systems in training order, those of one
modality first, one a line: the name, `single` or `fused`, and the systems it starts from, as in
`ssa fused audio=ecapa visual=iresnet18`.

`--weights-dir DIR` also looks for the published weights that the systems start from.
`--set KEY=VALUE` overrides the preset. KEY is dotted and starts with a section of a preset (see avsv.model.presets), or
stands for `all.KEY`; `--set SYSTEM:KEY=VALUE` stands for `systems.SYSTEM.KEY=VALUE`.
`--study FILE` takes the variants of a study (see avsv.model.study) as the systems.
`--quality` and `--sweeps` are only checked.

If nothing has changed since the last call with these options, its output is printed again; the networks are not loaded.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.bin.command import run_command
from avsv.bin.remembered import Remembered, loaded_sources
from avsv.errors import DataError
from avsv.io.atomic import write_text

if TYPE_CHECKING:
    from avsv.model.config import SystemConfig
    from avsv.model.presets import Configurator


def check_later_options(quality: Sequence[str], sweeps: Sequence[str], file: Path) -> None:
    """Raise DataError for a quality measure or a sweep that does not exist: it would only be found in stage 9 or 10."""
    from avsv.config.strict import nearest
    from avsv.corruption.kinds import read_sweeps
    from avsv.scoring.quality import MEASURES

    for name in quality:
        if name not in MEASURES:
            raise DataError(f"--quality: '{name}' is not one of {' '.join(MEASURES)}")
    if sweeps and sweeps != ["all"]:
        known = read_sweeps(file)
        for name in sweeps:
            if name not in known:
                raise DataError(f"--sweeps: {file} has no sweep '{name}': {nearest(name, known)}")


def check_weights(configs: Mapping[str, "SystemConfig"], folder: Path) -> list[Path]:
    """Look for the published weights of all systems; return the files that were looked at.

    Raises:
        DataError: some are not there, or need packages that are not; all of them are named.
    """
    from avsv.model.pretrained import WEIGHTS_LIST, resolve_weights

    found = [WEIGHTS_LIST]
    missing: dict[str, list[str]] = {}
    for system, config in configs.items():
        for name in filter(None, (config.pretrained.audio, config.pretrained.visual)):
            try:
                path = resolve_weights(name, folder)
            except DataError as error:
                missing.setdefault(str(error), []).append(system)
                continue
            found.append(path)
            packages = {package: find_spec(package) for package in ("onnx", "onnxruntime")}
            lacking = [package for package, there in packages.items() if there is None]
            if path.suffix == ".onnx":
                found += [Path(there.origin) for there in packages.values() if there is not None]
            if path.suffix == ".onnx" and lacking:
                what = f"{path} needs packages: run 'pip install {' '.join(lacking)}' once"
                missing.setdefault(what, []).append(system)
    if missing:
        raise DataError("; ".join(f"pretrained weights of {', '.join(of)}: {what}" for what, of in missing.items()))
    return found


def trained_configs(configs: Mapping[str, "SystemConfig"]) -> dict[str, "SystemConfig"]:
    """The systems whose networks are trained: others need published weights, whatever the preset."""
    published = {name for name, config in configs.items() if not config.trained}
    return {
        name: config
        for name, config in configs.items()
        if name not in published and not published.intersection(dataclasses.asdict(config.init_from).values())
    }


def write_changed(path: Path, text: str) -> bool:
    """Write a file only when its text would change, so that its time says when it did; returns whether it did."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return True


def report_overridden(path: Path, configurator: "Configurator", preset: str) -> None:
    """List the keys of system files that a preset overrides; say so when the list is new."""
    lines = [
        f"{name} {key}: {own} in the file, {used} by the preset\n"
        for name, changes in configurator.overridden.items()
        for key, own, used in changes
    ]
    if write_changed(path, "".join(lines)) and lines:
        print(
            f"preset {preset} overrides {len(lines)} keys of system files: {path}; a file insists on those in its keep",
            file=sys.stderr,
        )


def _image_channels(config: "SystemConfig") -> int | None:
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
    parser.add_argument("--study", type=Path, metavar="FILE", help="conf/studies/NAME.yaml")
    parser.add_argument("--quality", default="", help="quality measures of the calibration")
    parser.add_argument("--sweeps", default="", help="sweeps of CONF/sweeps.yaml, or all")
    parser.add_argument(
        "systems",
        nargs="*",
        metavar="SYSTEM",
        help="name of a file in CONF/systems; all: those that need no weights",
    )
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(arguments)
    remembered = Remembered(options.out / ".configured", arguments)
    output = remembered.recall()
    if output is None:
        output, files = configure(options)
        remembered.store(output, files)
    for line in output["warnings"]:
        print(line, file=sys.stderr)
    for line in output["systems"]:
        print(line)


def _tree(folder: Path) -> list[Path]:
    """A folder and all files and folders in it; names in it may be links."""
    found = []
    for inner, _, names in os.walk(folder, followlinks=True):
        found += [Path(inner), *(Path(inner, name) for name in names)]
    return found


def configure(options: argparse.Namespace) -> tuple[dict[str, list[str]], list[Path]]:
    """Check and write everything; return the warnings and systems to print, and all files that were read or written."""
    import yaml

    from avsv.model.presets import Configurator

    check_later_options(options.quality.split(), options.sweeps.split(), options.conf / "sweeps.yaml")
    configurator = Configurator(options.conf, options.preset, options.settings, options.study)
    if options.study is not None:
        options.systems = list(configurator.study.variants)
    if not options.systems:
        raise DataError("no system is named: give names of files in CONF/systems, or all")
    configs = configurator.configs(configurator.known if options.systems == ["all"] else options.systems)
    if options.systems == ["all"]:
        configs = trained_configs(configs)
    files = [*_tree(options.conf), *configurator.trained, *filter(None, [options.study])]
    if options.weights_dir is not None:
        files += check_weights(configs, options.weights_dir)
    warnings = []
    sees_color = [name for name, config in configs.items() if _image_channels(config) == 3]
    if sees_color and configurator.faces.channels == 1:
        warnings.append(
            f"warning: {', '.join(sees_color)}: made for color, and the preset {options.preset} stores gray crops"
            " (faces.channels: 1)"
        )
    for name, config in (("fbank", configurator.fbank), ("faces", configurator.faces)):
        write_changed(options.out / f"{name}.yaml", yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))
    report_overridden(options.out / "overridden.txt", configurator, options.preset)
    systems = []
    for name, config in configs.items():
        write_changed(options.out / "systems" / f"{name}.yaml", config.to_yaml())
        sources = [f"{role}={source}" for role, source in dataclasses.asdict(config.init_from).items() if source]
        systems.append(" ".join([name, "single" if config.fusion is None else "fused", *sources]))
    written = [options.out / "fbank.yaml", options.out / "faces.yaml", options.out / "overridden.txt"]
    written += [options.out / "systems" / f"{name}.yaml" for name in configs]
    return {"warnings": warnings, "systems": systems}, [*files, *written, *loaded_sources()]


if __name__ == "__main__":
    run_command(main)
