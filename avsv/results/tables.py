"""The tables of the results of a run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from avsv.results.conditions import EXPLAINED, title
from avsv.results.model import KINDS, Results
from avsv.results.table import Cell, Column, Table, emphasize_lowest, number, text, with_interval
from avsv.scoring.modes import MODES
from avsv.scoring.thresholds import MIN_ACCEPTED

# The modes that Claborne et al. average in Table I.
MATCHED = [mode for mode in MODES if set.intersection(*map(set, mode.split("x")))]
MAX_PAIRS = 200  # largest number of pairs of systems that are shown


class ListTables(NamedTuple):
    """The tables of one trial list; None for a table with nothing to show.

    Attributes:
        name: name of the list.
        results: every system in its widest mode.
        modes: all modes of systems with several modes.
        thresholds: error rates at thresholds of the widest modes.
        differences: each system compared with the best of all and with the best of its kind.
        conditions: the best system of every kind by condition.
        details: longer tables of all systems, modes and pairs, by the names of the tables above.
    """

    name: str
    results: Table
    modes: Table | None
    thresholds: Table | None
    differences: Table | None
    conditions: Table | None
    details: dict[str, list[Table]]

    @property
    def short(self) -> list[Table]:
        """The tables without the long ones."""
        return [t for t in (self.results, self.modes, self.thresholds, self.differences, self.conditions) if t]


def list_tables(results: Results) -> list[ListTables]:
    """The tables of every trial list."""
    return [_list_tables(results, trials) for trials in results.lists]


def _list_tables(results: Results, trials: str) -> ListTables:
    thresholds = results.thresholds[results.thresholds["trials"] == trials]
    widest = results.of_list(trials)[["system", "mode"]]
    short = thresholds.merge(widest, on=["system", "mode"])
    more = thresholds["threshold"].count() > short["threshold"].count()
    details = {
        "thresholds": [_thresholds(results, trials, thresholds)] if more else [],
        "differences": _all_differences(results, trials),
        "conditions": _all_conditions(results, trials),
    }
    return ListTables(
        trials,
        results_table(results, trials),
        _modes(results, trials),
        _thresholds(results, trials, short) if len(short) else None,
        _differences(results, trials),
        _conditions(results, trials),
        details,
    )


def results_table(results: Results, trials: str) -> Table:
    """Every system in its widest mode, by kind and increasing error rate; the best of a column is marked."""
    rows = results.of_list(trials)
    columns = [
        Column("system", "system"),
        Column("mode", "text", "Modalities of the enrollment side x those of the test side"),
        Column("EER % s-norm", explained="Equal error rate after score normalization"),
        Column("95 % interval", explained="Of the equal error rate after score normalization"),
        Column(f"0 to {rows['eer_high'].max():.0f} %", "bar", "The interval drawn to scale"),
        Column("EER % cosine", explained="Equal error rate of the raw scores"),
        Column("minDCF", explained="Minimum normalized detection cost for P_target 0.01"),
        Column("Cllr", explained="Cost in bits of the calibrated log-likelihood ratios"),
        Column("kind", "text"),
    ]
    cells = [
        [
            text(row.system),
            _mode(row.mode),
            number(row.eer, 2),
            Cell(f"{row.eer_low:.2f} - {row.eer_high:.2f}", order=row.eer_low),
            Cell(order=row.eer, bar=(row.eer_low, row.eer, row.eer_high)),
            number(row.eer_cos, 2),
            number(row.mindcf, 3),
            number(row.cllr, 3),
            Cell(row.kind, order=KINDS.index(row.kind)),
        ]
        for row in rows.itertuples()
    ]
    caption = f"Systems in their widest mode on the trials {trials}"
    return Table("Results", caption, columns, emphasize_lowest(cells, (2, 5, 6, 7)))


def _mode(mode: str) -> Cell:
    return Cell(mode, order=MODES.index(mode))


def _modes(results: Results, trials: str) -> Table | None:
    """All modes of systems with several modes; None if there are none."""
    rows = results.best[results.best["trials"] == trials]
    rows = rows[rows.groupby("system")["mode"].transform("size") > 1]
    if rows.empty:
        return None
    modes = [mode for mode in MODES if mode in set(rows["mode"])]
    found = {(row.system, row.mode): with_interval(row.eer, row.eer_low, row.eer_high) for row in rows.itertuples()}
    systems = [system for system in results.of_list(trials)["system"] if system in set(rows["system"])]
    cells = [[text(system), *(found.get((system, mode), Cell()) for mode in modes)] for system in systems]
    columns = [Column("system", "system"), *(Column(mode) for mode in modes)]
    explanation = "EER % after score normalization and its 95 % interval, for systems with several modes"
    if set(MATCHED) <= set(modes):
        rates = rows.set_index(["system", "mode"])["eer"]
        means = [number(rates[system].reindex(MATCHED).mean(skipna=False), 2) for system in systems]
        cells = [[*row, mean] for row, mean in zip(cells, means, strict=True)]
        columns.append(Column("matched", explained="Mean of the modes whose sides have a modality in common"))
        explanation += "; matched: the mean of the modes whose sides have a modality in common"
    return Table(
        "All modes",
        f"EER % of normalized scores and its 95 % interval in all modes, on the trials {trials}",
        columns,
        emphasize_lowest(cells, range(1, len(columns))),
        f"{explanation}.",
    )


def _thresholds(results: Results, trials: str, points: pd.DataFrame) -> Table:
    """Error rates at the thresholds of systems and modes; a sentence names those with too few trials."""
    order = {system.name: place for place, system in enumerate(results.systems)}
    points = points.assign(place=points["system"].map(order), width=points["mode"].map(MODES.index))
    points = points.sort_values(["place", "width"], kind="stable")
    columns = [
        Column("system", "system"),
        Column("mode", "text"),
        Column("wanted %", explained="False-accept rate of the development trials"),
        Column("threshold", explained="Log-likelihood ratio above which a trial is accepted"),
        Column("false accepts %", explained="Of the non-target trials of this list"),
        Column("false rejects %", explained="Of the target trials of this list"),
    ]
    cells = [
        [
            text(row.system),
            _mode(row.mode),
            Cell(f"{row.wanted:g}", order=row.wanted),
            *(number(value, 2) for value in (row.threshold, row.false_accept, row.false_reject)),
        ]
        for row in points.dropna(subset="threshold").itertuples()
    ]
    explanation = (
        "Thresholds on the log-likelihood ratio that give the wanted false-accept rate on the development trials, and"
        " the error rates on these trials, which were not used to choose them."
    )
    if too_few := _too_few(points):
        explanation += (
            f" Rows with too few trials are omitted, since a threshold needs {MIN_ACCEPTED} false accepts of"
            f" development trials: {too_few}."
        )
    caption = f"Thresholds for false-accept rates of the development trials, and the error rates on the trials {trials}"
    return Table("Thresholds", caption, columns, cells, explanation)


def _too_few(points: pd.DataFrame) -> str:
    """The wanted rates for which some systems have no threshold, with the names of these systems if not all."""
    parts = []
    for wanted, rows in points.groupby("wanted", sort=False):
        missing = rows[rows["threshold"].isna()]
        if len(missing) == len(rows):
            parts.append(f"{wanted:g} %")
        elif len(missing):
            names = ", ".join(missing["system"] + " " + missing["mode"])
            parts.append(f"{wanted:g} % of {names}")
    return "; ".join(parts)


_DIFFERENCE_COLUMNS = [
    Column("a", "system"),
    Column("b", "system"),
    Column("mode", "text"),
    Column("EER % a"),
    Column("EER % b"),
    Column("a - b"),
    Column("95 % interval"),
    Column("p", explained="Two-sided; valid for a single pair"),
]


def _differences(results: Results, trials: str) -> Table | None:
    """Each system compared with the best of all and with the best of its kind, then ensembles with their members."""
    pairs = results.differences[results.differences["trials"] == trials]
    if pairs.empty:
        return None
    systems = results.of_list(trials).set_index("system")
    overall = systems["eer"].idxmin()
    leaders = systems.reset_index().drop_duplicates("kind").set_index("kind")["system"]
    a, b, modes = pairs["system_a"], pairs["system_b"], pairs["mode"].str.split("/")
    widest = (modes.str[0] == a.map(systems["mode"])) & (modes.str[-1] == b.map(systems["mode"]))
    leader = a.map(systems["kind"]).map(leaders)
    same_kind = a.map(systems["kind"]) == b.map(systems["kind"])
    with_best = widest & ((a == overall) | (b == overall))
    with_leader = widest & same_kind & ((a == leader) | (b == leader))
    rank = np.select([~widest, with_best, with_leader], [2, 0, 1], default=-1)
    reference = pd.Series(overall, pairs.index).where(with_best, leader)
    shown = _exchange(pairs, widest & (b != reference)).assign(rank=rank)[rank >= 0]
    shown["place"] = shown["system_a"].map({name: place for place, name in enumerate(systems.index)})
    shown = shown.sort_values(["rank", "place"], kind="stable")
    return Table(
        "Differences",
        f"Differences in EER from the best system and from the best of its kind on the trials {trials}",
        _DIFFERENCE_COLUMNS,
        _difference_rows(shown),
        "Differences in EER % after score normalization on the same trials and the same draws of speakers, between each"
        f" system and the best of all and of its kind; all {len(pairs)} pairs are in `differences.csv`."
        " Bold: p < 0.05; p is valid for one pair chosen beforehand: of 20 pairs of equally good systems about one"
        " is bold, and more of the pairs with the best system, which is chosen here on the same trials.",
    )


def _exchange(pairs: pd.DataFrame, where: pd.Series) -> pd.DataFrame:
    """The same comparisons with a and b exchanged in some of them."""
    turned = pairs.rename(columns={"system_a": "system_b", "system_b": "system_a", "eer_a": "eer_b", "eer_b": "eer_a"})
    turned = turned.assign(
        mode=pairs["mode"].str.split("/").str[::-1].str.join("/"),
        difference=-pairs["difference"],
        low=-pairs["high"],
        high=-pairs["low"],
    )[pairs.columns]
    return pairs.where(~where, turned)


def _difference_rows(pairs: pd.DataFrame) -> list[list[Cell]]:
    return [
        [
            text(row.system_a),
            text(row.system_b),
            text(row.mode),
            number(row.eer_a, 2),
            number(row.eer_b, 2),
            Cell(f"{row.difference:+.2f}", order=row.difference, emphasis="best" if row.p < 0.05 else ""),
            Cell(f"{row.low:+.2f} to {row.high:+.2f}", order=row.low),
            Cell("< 0.0001" if row.p < 0.0001 else f"{row.p:.4f}", order=row.p),
        ]
        for row in pairs.itertuples()
    ]


def _all_differences(results: Results, trials: str) -> list[Table]:
    pairs = results.differences[results.differences["trials"] == trials]
    if pairs.empty:
        return []
    caption = f"Differences in EER of all pairs on the trials {trials}"
    if len(pairs) > MAX_PAIRS:
        caption += f", the first {MAX_PAIRS} of {len(pairs)}; all are in differences.csv"
    return [Table("All pairs", caption, _DIFFERENCE_COLUMNS, _difference_rows(pairs.head(MAX_PAIRS)))]


def _conditions(results: Results, trials: str) -> Table | None:
    """The best system of every kind in its widest mode, for every condition of the trials."""
    rows = results.conditions[results.conditions["trials"] == trials]
    leaders = results.of_list(trials).drop_duplicates("kind")
    rows = rows.merge(leaders[["system", "mode"]], on=["system", "mode"])
    if rows.empty:
        return None
    counts = leaders.loc[(leaders["n_target"] + leaders["n_nontarget"]).idxmax()]
    whole = [with_interval(row.eer, row.eer_low, row.eer_high) for row in leaders.itertuples()]
    cells = [[Cell("all trials", order=""), *_counts(counts), *whole]]
    for (source, condition), part in rows.groupby(["source", "condition"], sort=False):
        found = {row.system: _condition(row) for row in part.itertuples()}
        counts = part.loc[(part["n_target"] + part["n_nontarget"]).idxmax()]
        figures = [found.get(system, Cell()) for system in leaders["system"]]
        cells.append([text(f"{title(source)} {condition}"), *_counts(counts), *figures])
    columns = [Column("condition", "text"), Column("target"), Column("non-target")]
    columns += [Column(f"{row.system} {row.mode}") for row in leaders.itertuples()]
    return Table(
        "By condition",
        f"EER % and its 95 % interval by condition of the trials {trials}, of the best system of every kind",
        columns,
        cells,
        "EER % after score normalization and its 95 % interval; all systems, and their single modalities, are in"
        f" `conditions.csv`. {EXPLAINED}",
    )


def _counts(row: pd.Series) -> list[Cell]:
    return [Cell(str(row[name]), order=int(row[name])) for name in ("n_target", "n_nontarget")]


def _condition(row: NamedTuple) -> Cell:
    return Cell(detail=row.missing) if row.missing else with_interval(row.eer, row.eer_low, row.eer_high)


def _all_conditions(results: Results, trials: str) -> list[Table]:
    """All systems and modes, with one table per list of labels."""
    order = {system.name: place for place, system in enumerate(results.systems)}
    tables = []
    rows = results.conditions[results.conditions["trials"] == trials]
    for source, part in rows.groupby("source", sort=False):
        found = {(row.system, row.mode, row.condition): _condition(row) for row in part.itertuples()}
        conditions: Sequence[str] = list(part["condition"].unique())
        lines = sorted({key[:2] for key in found}, key=lambda key: (order[key[0]], MODES.index(key[1])))
        cells = [
            [text(system), _mode(mode), *(found.get((system, mode, condition), Cell()) for condition in conditions)]
            for system, mode in lines
        ]
        columns = [Column("system", "system"), Column("mode", "text"), *(Column(name) for name in conditions)]
        tables.append(Table(title(source), f"All systems by {title(source)} ({source})", columns, cells))
    return tables
