"""Which sweeps to make, and the files that keep what was measured: one per system and condition."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avsv.config.strict import nearest
from avsv.corruption.kinds import Level, conditions, format_level, read_sweeps, why_impossible
from avsv.corruption.sound import Noises
from avsv.corruption.table import CLEAN
from avsv.errors import DataError

Sweeps = Mapping[str, tuple[Level, ...]]
Condition = tuple[str, Level] | None
"""Kind and level; None without corruption."""


class Plan(NamedTuple):
    """Which sweeps to make.

    Attributes:
        sweeps: those of the file that can be made here, and their possible levels.
        reasons: per kind of the file, why levels are left out.
        wanted: the requested kinds; empty means all.
    """

    sweeps: Sweeps
    reasons: Mapping[str, Sequence[str]]
    wanted: Sequence[str]

    @classmethod
    def read(cls, config: Path, wanted: Sequence[str], noises: Noises | None) -> "Plan":
        """The plan of a file such as ``conf/sweeps.yaml``.

        Raises:
            DataError: as :func:`avsv.corruption.kinds.read_sweeps`; the file has no such sweep, or none of those wanted
                can be made.
        """
        sweeps, reasons = {}, {}
        for kind, levels in read_sweeps(config).items():
            why = {level: why_impossible(kind, level, noises) for level in levels}
            reasons[kind] = [f"{kind} {format_level(level)} is left out: {text}" for level, text in why.items() if text]
            if possible := tuple(level for level, text in why.items() if text is None):
                sweeps[kind] = possible
        kinds = list(wanted or reasons)
        for kind in kinds:
            if kind not in reasons:
                raise DataError(f"{config} has no sweep '{kind}': {nearest(kind, reasons)}")
        if not any(kind in sweeps for kind in kinds):
            raise DataError(f"no sweep is left: {reasons[kinds[0]][0]}")
        return cls(sweeps, reasons, wanted)

    @property
    def chosen(self) -> Sweeps:
        """The sweeps to make."""
        return {kind: self.sweeps[kind] for kind in self.wanted or self.reasons if kind in self.sweeps}

    def left_out(self, shown: Sweeps) -> list[str]:
        """Why levels of these sweeps, and of the requested ones, are left out."""
        kinds = [kind for kind in self.reasons if kind in shown or kind in self.wanted or not self.wanted]
        return [reason for kind in kinds for reason in self.reasons[kind]]


class Share:
    """The rates of one system under one corruption, in a file that appears complete or not at all.

    Args:
        folder: of all such files.
        system: its name.
        stamp: changes when anything changes that the system's rates depend on.
        condition: kind and level; None without corruption.
    """

    def __init__(self, folder: Path, system: str, stamp: str, condition: Condition) -> None:
        self.system, self.condition = system, condition
        self.name = CLEAN if condition is None else f"{condition[0]} {format_level(condition[1])}"
        digest = hashlib.md5(f"{stamp} {self.name}".encode(), usedforsecurity=False).hexdigest()[:12]
        self.path = folder / system / f"{self.name.replace(' ', '_')}.{digest}.json"

    def read(self) -> list[dict[str, Any]]:
        """The rates: the fields of :class:`avsv.corruption.sweep.Measured`, and the revision ``git`` of the code."""
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such file: run the sweep again")
        return json.loads(self.path.read_text())


class Shares:
    """The shares of some systems.

    Args:
        folder: of all files.
        stamps: of each system; rates measured under another stamp are not used.
    """

    def __init__(self, folder: Path, stamps: Mapping[str, str]) -> None:
        self.folder, self.stamps = folder, stamps

    def of(self, sweeps: Sweeps) -> list[Share]:
        """Every system without corruption, then under all conditions of sweeps."""
        wanted = [None, *conditions(sweeps)]
        return [
            Share(self.folder, name, stamp, condition) for condition in wanted for name, stamp in self.stamps.items()
        ]

    def measured(self, sweeps: Sweeps) -> Sweeps:
        """The sweeps whose shares all exist."""
        return {
            kind: levels
            for kind, levels in sweeps.items()
            if all(share.path.is_file() for share in self.of({kind: levels}))
        }

    def remove_others(self, sweeps: Sweeps) -> None:
        """Remove shares of these systems that have other stamps or belong to other sweeps."""
        current = {share.path for share in self.of(sweeps)}
        for system in self.stamps:
            for path in (self.folder / system).glob("*.json"):
                if path not in current:
                    path.unlink()
