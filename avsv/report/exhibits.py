"""Tables and pictures of other steps in the folder of a run: corruption sweeps and other analyses."""

import base64
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from avsv.errors import DataError
from avsv.scoring.modes import MODES

_DIFFERENCE_COLUMNS = ("difference", "difference_low", "difference_high")
SWEEP_COLUMNS = (
    *("system", "trials", "mode", "sweep", "level", "eer", "low", "high", "seed", "single"),
    *_DIFFERENCE_COLUMNS,
)
"""A table with these columns, rates in percent, is a sweep: error rates over the levels of a corruption.

``single`` is the best single modality for a fused system, otherwise empty; ``difference`` is the rate of the fused
system minus that of the single modality, followed by the limits of its interval.
"""
MAX_PICTURES = 3_000_000  # total bytes of all pictures, so that the page stays below 8 MB
MAX_ROWS = 200  # rows of a table in the page
_SHOWN_ELSEWHERE = (
    *("results.csv", "differences.csv", "conditions.csv", "thresholds.csv"),
    *("geometry.csv", "projection.csv", "cost.csv", "worth.csv", "averaging.csv", "null.csv", "identities.csv"),
)
_DRAWN_ELSEWHERE = ("det", "training", "angles", "projection")


class Exhibit(NamedTuple):
    """A CSV table, a PNG picture, or both under one name.

    Attributes:
        name: folder and file without suffix, as in ``sweeps/noise``.
        columns, rows: content of the table; empty if there is only a picture.
        picture: data URI; None if there is only a table, or no space is left for the picture.
        left_out: why a picture is missing; empty if none is missing.
        command: the command that made it, from the file ``command.txt`` next to it; None if that is missing.
    """

    name: str
    columns: list[str]
    rows: list[list[str]]
    picture: str | None
    left_out: str
    command: str | None


class Rate(NamedTuple):
    """An equal error rate and its interval, in percent."""

    eer: float
    low: float
    high: float


class Difference(NamedTuple):
    """EER of a fused system minus that of the best single modality and its interval, in percentage points."""

    single: str
    value: float
    low: float
    high: float


class Sweep(NamedTuple):
    """Error rates on one trial list over the levels of a corruption.

    Attributes:
        name: name of the sweep.
        trials: name of the list.
        levels: levels in the order of the file.
        lines: for each system and mode, the rate at each level or None.
        differences: for each fused system and mode, the difference from the best single modality at each level or None.
        command: the command that made it.
        seed: its seed.
    """

    name: str
    trials: str
    levels: list[str]
    lines: dict[tuple[str, str], list[Rate | None]]
    differences: dict[tuple[str, str], list[Difference | None]]
    command: str | None
    seed: str

    def helps(self, key: tuple[str, str], level: int) -> bool:
        """Whether the whole interval of the difference of a system is below 0."""
        difference = self.differences[key][level] if key in self.differences else None
        return difference is not None and difference.high < 0


def read_exhibits(exp: Path, systems: Sequence[str]) -> list[Exhibit]:
    """Read the tables and pictures in ``results``, ``sweeps`` and ``analysis`` of a run and ``analysis`` of systems.

    Those that the page shows elsewhere are omitted.

    Args:
        exp: folder of the systems.
        systems: their names.

    Raises:
        DataError: a file is not a table.
    """
    folders = [exp / "results", exp / "sweeps", exp / "analysis", *(exp / system / "analysis" for system in systems)]
    space, exhibits = MAX_PICTURES, []
    for folder in folders:
        command = folder / "command.txt"
        words = command.read_text(encoding="utf-8").strip() if command.is_file() else None
        for stem, files in _by_stem(folder):
            table = _read_table(files[".csv"]) if ".csv" in files else ([], [])
            picture, left_out = None, ""
            if ".png" in files and not is_sweep(table[0]):
                content = files[".png"].read_bytes()
                if len(content) <= space:
                    space -= len(content)
                    picture = "data:image/png;base64," + base64.b64encode(content).decode()
                else:
                    left_out = (
                        f"{stem}.png is not shown: the page would become too large. It is in the folder of the run."
                    )
            name = (folder / stem).relative_to(exp).as_posix()
            exhibits.append(Exhibit(name, *table, picture, left_out, words))
    return exhibits


def _by_stem(folder: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """The tables and pictures of a folder by name."""
    files = [*folder.glob("*.csv"), *folder.glob("*.png")]
    files = [file for file in files if file.name not in _SHOWN_ELSEWHERE and not file.name.startswith(".")]
    files = [file for file in files if file.suffix != ".png" or file.stem.rstrip("0123456789") not in _DRAWN_ELSEWHERE]
    for stem in sorted({file.stem for file in files}):
        yield stem, {file.suffix: file for file in files if file.stem == stem}


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV table: {error}") from error
    if not lines:
        raise DataError(f"{path}: the table is empty: make it again or remove it")
    for number, row in enumerate(lines, 1):
        if len(row) != len(lines[0]):
            raise DataError(f"{path}:{number}: {len(row)} fields, the header has {len(lines[0])}")
    return lines[0], lines[1:]


def is_sweep(columns: Sequence[str]) -> bool:
    """Whether a table is a sweep.

    Example:
        >>> is_sweep([*SWEEP_COLUMNS, "git"]), is_sweep(["system", "trials", "mode", "eer"])
        (True, False)
    """
    return set(SWEEP_COLUMNS) <= set(columns)


def sweeps_of(exhibit: Exhibit) -> list[Sweep]:
    """The sweeps of a table, by name and by trial list.

    Raises:
        DataError: a rate is not a number.
    """
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in exhibit.rows:
        record = dict(zip(exhibit.columns, row, strict=True))
        groups.setdefault((record["sweep"], record["trials"]), []).append(record)
    found = []
    for (name, trials), records in groups.items():
        levels = list(dict.fromkeys(record["level"] for record in records))
        lines: dict[tuple[str, str], list[Rate | None]] = {}
        differences: dict[tuple[str, str], list[Difference | None]] = {}
        for record in records:
            key, place = (record["system"], record["mode"]), levels.index(record["level"])
            try:
                rate = Rate(*(float(record[column]) for column in Rate._fields))
                if record["single"]:
                    values = (float(record[column]) for column in _DIFFERENCE_COLUMNS)
                    difference = Difference(record["single"], *values)
                    differences.setdefault(key, [None] * len(levels))[place] = difference
            except ValueError as error:
                raise DataError(f"{exhibit.name}.csv: {name}, level {record['level']}: {error}") from error
            lines.setdefault(key, [None] * len(levels))[place] = rate
        order = sorted(lines, key=lambda key: MODES.index(key[1]) if key[1] in MODES else len(MODES))
        lines = {key: lines[key] for system in dict.fromkeys(s for s, _ in lines) for key in order if key[0] == system}
        seeds = " and ".join(dict.fromkeys(record["seed"] for record in records))
        found.append(Sweep(name, trials, levels, lines, differences, exhibit.command, seeds))
    return found
