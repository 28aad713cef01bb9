"""What the report shows: results, scores of the leading systems, histories and geometry, read from a run's files."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.lists import read_scores
from avsv.results.rates import Row, score_files
from avsv.results.tables import KINDS
from avsv.scoring.metrics import eer_threshold
from avsv.scoring.modes import MODES
from avsv.scoring.trials import TrialList, places_in

FUSED = KINDS[2:]
STAGES = ("asnorm", "cos")
"""Score stages that are looked at trial by trial, the preferred one first."""

Record = TypeVar("Record", bound=NamedTuple)


class System(NamedTuple):
    """A system in its widest mode.

    Attributes:
        name: of the system or ensemble.
        kind: one of :data:`avsv.results.tables.KINDS`.
        mode: its widest evaluation mode.
    """

    name: str
    kind: str
    mode: str


class ScoreSet(NamedTuple):
    """The scores of a system in a mode on a whole trial list of N trials.

    Attributes:
        system: name.
        mode, stage: which of its scores.
        values: (N,) NaN where it could not score a trial.
        is_target: (N,) the labels of the list.
        threshold: a trial is accepted above it; there the two error rates are nearest to each other.
    """

    system: str
    mode: str
    stage: str
    values: NDArray[np.float64]
    is_target: NDArray[np.bool_]
    threshold: float

    @property
    def margins(self) -> NDArray[np.float64]:
        """(N,) how far each score is on the right side of the threshold; negative for an error."""
        return np.where(self.is_target, 1, -1) * (self.values - self.threshold)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(N,) which trials have a score."""
        return ~np.isnan(self.values)


def read_rows(path: Path, kind: type[Record]) -> list[Record]:
    """Read a table such as ``results.csv``, written by :func:`avsv.results.rates.to_csv`.

    Args:
        path: the file.
        kind: named tuple of its columns: text, whole numbers, numbers, or numbers that may be missing.

    Raises:
        DataError: no such file, other columns, a field of another type.
    """
    types = kind.__annotations__
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file: make the results first") from error
    if not lines or tuple(lines[0]) != kind._fields:
        raise DataError(f"{path}:1: expected the columns {','.join(kind._fields)}")
    rows = []
    for number, fields in enumerate(lines[1:], 2):
        try:
            rows.append(kind(*(_value(f, t) for f, t in zip(fields, types.values(), strict=True))))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    return rows


def _value(field: str, of: type) -> object:
    options = get_args(of) or (of,)
    if not field and type(None) in options:
        return None
    return options[0](field)


def systems_of(rows: Sequence[Row], ensembles: Mapping[str, object]) -> list[System]:
    """All systems of a results table, by kind and, within a kind, by rising error rate on the first list."""
    first = rows[0].trials
    systems = []
    for name in dict.fromkeys(row.system for row in rows):
        modes = {row.mode for row in rows if row.system == name}
        widest = next(mode for mode in MODES if mode in modes)
        kind = {"AxA": "voice", "VxV": "face"}.get(widest, "voice and face")
        systems.append(System(name, "ensemble" if name in ensembles else kind, widest))

    def order(system: System) -> tuple:
        row = best_row(rows, first, system.name, system.mode)
        return KINDS.index(system.kind), row.eer if row else math.inf

    return sorted(systems, key=order)


def best_row(rows: Sequence[Row], trials: str, system: str, mode: str) -> Row | None:
    """The row of normalised scores, or of raw ones where there are no others."""
    found = {row.stage: row for row in rows if (row.trials, row.system, row.mode) == (trials, system, mode)}
    return next((found[stage] for stage in STAGES if stage in found), None)


def leaders(rows: Sequence[Row], systems: Sequence[System], trials: str) -> dict[str, System]:
    """The system of the lowest error rate of each kind that has one, and of ``fused`` systems and ``all``."""
    groups = {kind: [kind] for kind in KINDS} | {"fused": list(FUSED), "all": list(KINDS)}
    best = {}
    for group, kinds in groups.items():
        rated = [(row.eer, s) for s in systems if s.kind in kinds and (row := best_row(rows, trials, s.name, s.mode))]
        if rated:
            best[group] = min(rated, key=lambda pair: pair[0])[1]
    return best


def chosen_systems(rows: Sequence[Row], systems: Sequence[System], count: int) -> list[System]:
    """Up to ``count`` systems to draw, in the order given: the best of every kind, then those of lowest error rates."""
    first = rows[0].trials
    rated = sorted((row.eer, s) for s in systems if (row := best_row(rows, first, s.name, s.mode)))
    wanted = list(dict.fromkeys([*leaders(rows, systems, first).values(), *(system for _, system in rated)]))[:count]
    return [system for system in systems if system in wanted]


def read_score_set(exp: Path, system: str, mode: str, trials: TrialList) -> ScoreSet | None:
    """Normalised scores of a system on a list, raw ones where there are no others, None where there are none.

    Raises:
        DataError: scores of other trials or not finite, a class of trials missing.
    """
    files = {path.suffix[1:]: path for path in score_files(exp / system / "scores" / trials.name) if path.stem == mode}
    stage = next((stage for stage in STAGES if stage in files), None)
    if stage is None:
        return None
    scores = read_scores(files[stage])
    values = np.full(len(trials.enroll), np.nan)
    values[places_in(files[stage], scores, trials.trials)] = scores.score
    is_target = trials.trials.is_target
    scored = ~np.isnan(values)
    try:
        threshold = eer_threshold(values[scored], is_target[scored])
    except ValueError as error:
        raise DataError(f"{files[stage]}: {error}") from error
    return ScoreSet(system, mode, stage, values, is_target, threshold)


class Spread(NamedTuple):
    """One line of geometry.csv: the distribution of an angle in degrees, or of the silhouette in [-1, 1]."""

    modality: str
    measure: str
    count: int
    mean: float
    std: float
    p05: float
    median: float
    p95: float


def read_geometry(path: Path) -> list[Spread]:
    """The lines of a geometry.csv that have a count; none where the file is missing."""
    return [spread for spread in read_rows(path, Spread) if spread.count] if path.is_file() else []


class Point(NamedTuple):
    """One line of projection.csv: an utterance in the plane."""

    modality: str
    utterance: str
    identity: str
    x: float
    y: float


class Cost(NamedTuple):
    """One line of cost.csv: a part of a system, as :class:`avsv.analysis.cost.Cost`."""

    part: str
    parameters: int
    multiply_adds: int
    seconds: float
