"""The results of a run, loaded once; RESULTS.md, the report and pages of docs/ are made from them."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from avsv.errors import DataError
from avsv.results.conditions import ConditionRow
from avsv.results.differences import Comparison
from avsv.results.frames import empty_frame, read_frame
from avsv.results.published import Published, read_published
from avsv.results.rates import Row
from avsv.results.thresholds import OperatingPoint
from avsv.scoring.modes import MODES

KINDS = ("voice", "face", "voice and face", "ensemble")
FUSED = KINDS[2:]
STAGES = ("asnorm", "cos", "llr")
"""Score stages whose error rates are shown, the preferred one first."""


class System(NamedTuple):
    """A system in its widest mode.

    Attributes:
        name: name of the system or ensemble.
        kind: one of :data:`KINDS`.
        mode: its widest evaluation mode.
    """

    name: str
    kind: str
    mode: str


@dataclass(frozen=True)
class Results:
    """All tables of a run.

    Attributes:
        scores: results.csv, one row per system, trial list, mode and score stage.
        differences, conditions, thresholds: differences.csv, conditions.csv, thresholds.csv.
        published: published figures of any systems.
        ensembles: the systems that are ensembles.
        sizes: numbers of trials of the lists; the size of a missing list is that of the system that scored most trials.
        environment: machine and package versions, empty if they were not recorded.
    """

    scores: pd.DataFrame
    differences: pd.DataFrame = field(default_factory=lambda: empty_frame(Comparison))
    conditions: pd.DataFrame = field(default_factory=lambda: empty_frame(ConditionRow))
    thresholds: pd.DataFrame = field(default_factory=lambda: empty_frame(OperatingPoint))
    published: pd.DataFrame = field(default_factory=lambda: empty_frame(Published))
    ensembles: Collection[str] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        folder: Path,
        ensembles: Collection[str],
        published: Path | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> "Results":
        """Read the tables of a folder; only results.csv is required.

        Args:
            folder: ``exp/PRESET/results``.
            ensembles: the systems that are ensembles.
            published: csv of published figures.
            sizes: numbers of trials of the lists.

        Raises:
            DataError: results.csv is missing or has no rows, or a table is malformed.
        """
        scores = read_frame(folder / "results.csv", Row)
        if scores.empty:
            raise DataError(f"{folder}/results.csv: no results: make them first")
        kinds = {"differences": Comparison, "conditions": ConditionRow, "thresholds": OperatingPoint}
        found = {name: kind for name, kind in kinds.items() if (folder / f"{name}.csv").is_file()}
        tables = {name: read_frame(folder / f"{name}.csv", kind) for name, kind in found.items()}
        if published is not None:
            tables["published"] = pd.DataFrame(read_published(published), columns=Published._fields)
        about = folder / "environment.json"
        environment = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
        return cls(scores, **tables, ensembles=ensembles, sizes=sizes or {}, environment=environment)

    @property
    def first(self) -> Row:
        """The first row of results.csv; its corpus, preset, seed and revision are those of all rows."""
        return Row(*self.scores.iloc[0])

    @property
    def lists(self) -> list[str]:
        """Names of the trial lists."""
        return list(self.scores["trials"].unique())

    @cached_property
    def best(self) -> pd.DataFrame:
        """One row per trial list, system and mode: that of the preferred stage.

        ``eer_cos`` is the error rate of raw scores, ``cllr`` the cost of calibrated ones; NaN if there are none.
        """
        key = ["trials", "system", "mode"]
        by_stage = {stage: rows.set_index(key) for stage, rows in self.scores.groupby("stage")}
        rank = self.scores["stage"].map({stage: number for number, stage in enumerate(STAGES)})
        chosen = self.scores.assign(rank=rank).sort_values("rank", kind="stable").drop_duplicates(key).sort_index()
        chosen = chosen.drop(columns=["rank", "cllr"])
        for stage, column, name in (("cos", "eer", "eer_cos"), ("llr", "cllr", "cllr")):
            values = by_stage[stage][column] if stage in by_stage else pd.Series(dtype=float)
            chosen[name] = values.reindex(pd.MultiIndex.from_frame(chosen[key])).to_numpy() if len(values) else None
            chosen[name] = chosen[name].astype(float)
        return chosen

    @cached_property
    def widest(self) -> pd.DataFrame:
        """The rows of :attr:`best` in the widest mode of each system, with ``kind``; by list, kind and error rate."""
        rows = self.best.assign(width=self.best["mode"].map(MODES.index))
        rows = rows.sort_values("width", kind="stable").drop_duplicates(["trials", "system"]).sort_index()
        kinds = rows["mode"].map({"AxA": "voice", "VxV": "face"}).fillna("voice and face")
        rows["kind"] = kinds.mask(rows["system"].isin(list(self.ensembles)), "ensemble")
        order = rows.assign(trials=rows["trials"].map(self.lists.index), kind=rows["kind"].map(KINDS.index))
        return rows.loc[order.sort_values(["trials", "kind", "eer"], kind="stable").index]

    def of_list(self, trials: str) -> pd.DataFrame:
        """The rows of :attr:`widest` of one trial list."""
        return self.widest[self.widest["trials"] == trials]

    def most_scored(self, trials: str) -> tuple[int, int]:
        """Numbers of target and non-target trials of the system that could score most."""
        rows = self.of_list(trials)
        most = rows.loc[(rows["n_target"] + rows["n_nontarget"]).idxmax()]
        return int(most["n_target"]), int(most["n_nontarget"])

    def gaps(self, trials: str) -> list[str]:
        """One line for each system that could not score all trials of a list, with the number that it has scored."""
        size = self.sizes.get(trials, sum(self.most_scored(trials)))
        rows = self.of_list(trials)
        rows = rows.assign(count=rows["n_target"] + rows["n_nontarget"])
        return [
            f"{row.system} {row.mode}: measured on {row.count} of the {size} trials, the others lack a voice or a face"
            for row in rows[rows["count"] < size].itertuples(name="Line", index=False)
        ]

    @cached_property
    def systems(self) -> list[System]:
        """All systems by kind and by increasing error rate on the first list that has them."""
        rows = self.widest.drop_duplicates("system")
        order = rows.assign(kind=rows["kind"].map(KINDS.index)).sort_values("kind", kind="stable").index
        return _systems(rows.loc[order])

    def leaders(self, trials: str) -> dict[str, System]:
        """The system with the lowest error rate of each kind, of ``fused`` systems and of ``all`` systems."""
        rows = self.of_list(trials)
        groups = {kind: [kind] for kind in KINDS} | {"fused": list(FUSED), "all": list(KINDS)}
        found = {group: rows[rows["kind"].isin(kinds)] for group, kinds in groups.items()}
        return {group: _systems(part.nsmallest(1, "eer"))[0] for group, part in found.items() if len(part)}

    def leading(self, trials: str, count: int) -> list[str]:
        """The systems with the lowest error rates in their widest modes, best first."""
        return self.of_list(trials).sort_values("eer", kind="stable")["system"].head(count).tolist()

    def chosen(self, count: int) -> list[System]:
        """Up to ``count`` systems to draw, in the order of :attr:`systems`.

        These are the best of every kind on the first list, then those with the lowest error rates there.
        """
        first = self.lists[0]
        names = [system.name for system in self.leaders(first).values()] + self.leading(first, len(self.systems))
        wanted = list(dict.fromkeys(names))[:count]
        return [system for system in self.systems if system.name in wanted]


def _systems(rows: pd.DataFrame) -> list[System]:
    return [System(*row) for row in rows[["system", "kind", "mode"]].itertuples(index=False, name=None)]
