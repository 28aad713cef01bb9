"""A study: variants of systems that differ in chosen settings, and the contrasts between them that it was made for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsv.config.strict import check_keys, nearest, read_dataclass, read_yaml
from avsv.errors import DataError
from avsv.io.names import check_system


@dataclass(frozen=True)
class Variant:
    """One system of a study.

    Args:
        base: the system of ``conf/systems`` that it is a variant of.
        set: its changes: dotted keys and their values.
    """

    base: str
    set: Mapping[str, Any]


@dataclass(frozen=True)
class _File:
    """What a study's file says besides its variants."""

    question: str
    contrasts: tuple[str, ...]
    base: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        name: of the file; a system's name is that of the study and that of the variant, as in ``pooling-mean``.
        question: what it asks, in words.
        variants: by the name of their system.
        contrasts: pairs of systems A and B, chosen before the study: each asks whether A is better than B.
        seeds: of the trainings.
    """

    name: str
    question: str
    variants: Mapping[str, Variant]
    contrasts: Sequence[tuple[str, str]]
    seeds: Sequence[int] = field(default=(0, 1, 2))


def read_study(path: Path, systems: Sequence[str]) -> Study:
    """Read ``conf/studies/NAME.yaml``.

    Args:
        path: the file.
        systems: the known systems.

    Raises:
        DataError: an unknown key or system, a wrong type, or a contrast of something that is no variant.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no such study: {nearest(path.stem, [file.stem for file in path.parent.glob('*.yaml')])}"
        )
    content = read_yaml(path)
    entries = content.pop("variants", None)
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path}: variants: expected 'NAME: {{base: SYSTEM, set: {{KEY: VALUE}}}}' lines")
    common = _changes(content.pop("set", {}), f"{path}: set")
    file = read_dataclass(_File, content, str(path))
    variants = {}
    for name, entry in entries.items():
        where = f"{path}: variants.{name}"
        entry = {} if entry is None else entry
        if not isinstance(entry, dict):
            raise DataError(f"{where}: expected 'base: SYSTEM' and 'set: {{KEY: VALUE}}', or nothing")
        check_keys(entry, ("base", "set"), f"{where}.")
        base, changes = entry.get("base", file.base), _changes(entry.get("set", {}), f"{where}.set")
        if base not in systems:
            raise DataError(f"{where}: base: {base}: {nearest(str(base), systems)}")
        changes = common | changes
        for key in changes:
            inside = next((other for other in changes if other.startswith(f"{key}.")), None)
            if inside is not None:
                raise DataError(
                    f"{path}: variants.{name}: sets {key} and {inside}, which is a part of it: set one of them"
                )
        variants[check_system(f"{path.stem}-{name}", str(path))] = Variant(base, changes)
    contrasts = [_contrast(text, path, entries) for text in file.contrasts]
    if not contrasts:
        raise DataError(f"{path}: contrasts: a study needs at least one, as in 'asp:mean'")
    return Study(path.stem, file.question, variants, contrasts, file.seeds)


def _changes(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected dotted keys and their values")
    return value


def _contrast(text: str, path: Path, variants: Mapping[str, Any]) -> tuple[str, str]:
    """The two systems, each with its mode if the contrast names one, of ``VARIANT[/MODE]:VARIANT[/MODE]``."""
    sides = text.split(":")
    if len(sides) != 2:
        raise DataError(f"{path}: contrasts: {text}: expected VARIANT:VARIANT, as in asp:mean")
    for side in sides:
        name = side.partition("/")[0]
        if name not in variants:
            raise DataError(f"{path}: contrasts: {text}: {name}: {nearest(name, list(variants))}")
    return tuple(f"{path.stem}-{side}" for side in sides)


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings.

    Example:
        >>> nested({"audio.pooling": "tap", "audio.channels": 8, "seed": 1})
        {'audio': {'pooling': 'tap', 'channels': 8}, 'seed': 1}
    """
    result: dict[str, Any] = {}
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result
