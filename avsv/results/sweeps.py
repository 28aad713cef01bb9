"""Corruption sweeps as tables and pictures: fused systems compared with the best single modality."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.corruption.kinds import Level, format_level
from avsv.corruption.shares import Condition, Share, Sweeps
from avsv.corruption.table import CLEAN, KINDS
from avsv.io.atomic import write_text
from avsv.results.frames import to_csv
from avsv.results.plots import SweepLine, draw_sweep
from avsv.results.style import new_figure
from avsv.scoring.bootstrap import difference_of_draws
from avsv.scoring.modes import MODES


class SweepRow(NamedTuple):
    """One line of KIND.csv; rates in percent, differences in percentage points.

    ``single`` is the best single modality, which a fused system is compared with (see
    :func:`compare_with_best_single`), ``difference`` the fused system's rate minus that modality's rate, and
    ``difference_low`` and ``difference_high`` the 95 % interval of the difference.
    """

    corpus: str
    preset: str
    system: str
    trials: str
    mode: str
    sweep: str
    level: str
    eer: float
    low: float
    high: float
    eer_cos: float
    n_target: int
    n_nontarget: int
    guessed: int
    corrupted: str
    seed: int
    git: str
    single: str | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


class Origin(NamedTuple):
    """What all tables of sweeps share: corpus, preset, which sides of a trial are corrupted, and the seed."""

    corpus: str
    preset: str
    corrupted: str
    seed: int


class Drawn(NamedTuple):
    """A row with the rates (R,) over drawn speakers, and how many speakers there are."""

    row: SweepRow
    draws: NDArray[np.float64]
    n_speakers: int


class Line(NamedTuple):
    """One system in one mode over the levels of a sweep."""

    system: str
    mode: str
    rows: list[SweepRow]

    @property
    def label(self) -> str:
        """For tables and legends."""
        return f"{self.system} {self.mode}"


class Comparison(NamedTuple):
    """The lines of a sweep on one list.

    Attributes:
        levels: names, ``clean`` first.
        voice, face: the best single modalities without corruption, None where there is none.
        fused: audio-visual systems with both modalities.
    """

    levels: list[str]
    voice: Line | None
    face: Line | None
    fused: list[Line]


def compare_with_best_single(found: Sequence[Drawn]) -> list[SweepRow]:
    """The rows, those of fused systems in mode AVxAV with their difference from the best single modality.

    It is chosen again at every level, which favors it: the lowest rate of the systems of one modality, and of the fused
    system itself when it uses only the voice, or only the face. A gate has no such modes, and is compared with those of
    all systems. Where the two could not score the same trials, there is no difference.
    """
    names = {drawn.row.system for drawn in found if drawn.row.mode == "AVxAV"}
    singles: dict[tuple[str, str], list[Drawn]] = {}
    for drawn in found:
        if drawn.row.mode in ("AxA", "VxV"):
            singles.setdefault((drawn.row.trials, drawn.row.level), []).append(drawn)
    alone = {drawn.row.system for drawn in found if drawn.row.mode in ("AxA", "VxV")}
    rows = []
    for row, draws, n_speakers in found:
        others = singles.get((row.trials, row.level), [])
        if row.system in alone:
            others = [other for other in others if other.row.system == row.system or other.row.system not in names]
        best = min(others, key=lambda other: other.row.eer, default=None)
        if row.mode == "AVxAV" and best is not None and _same_trials(row, best.row):
            result = difference_of_draws(row.eer - best.row.eer, draws - best.draws, n_speakers)
            row = row._replace(
                single=f"{best.row.system} {best.row.mode}",
                difference=result.difference,
                difference_low=result.low,
                difference_high=result.high,
            )
        rows.append(row)
    return rows


def _same_trials(first: SweepRow, second: SweepRow) -> bool:
    return (first.n_target, first.n_nontarget) == (second.n_target, second.n_nontarget)


def compare_lines(rows: Sequence[SweepRow]) -> Comparison:
    """Choose the lines of one sweep on one list.

    Voice and face are those systems of a single modality, or, where there are none, those fused systems in this
    mode, that have the lowest error rate without corruption.
    """
    lines: dict[tuple[str, str], list[SweepRow]] = {}
    for row in rows:
        lines.setdefault((row.system, row.mode), []).append(row)
    fused = [Line(*key, found) for key, found in lines.items() if key[1] == "AVxAV"]
    names = {line.system for line in fused}

    def best(mode: str) -> Line | None:
        found = [Line(*key, group) for key, group in lines.items() if key[1] == mode]
        alone = [line for line in found if line.system not in names]
        return min(alone or found, key=lambda line: line.rows[0].eer, default=None)

    return Comparison([row.level for row in next(iter(lines.values()))], best("AxA"), best("VxV"), fused)


def sweep_tables(comparison: Comparison) -> list[str]:
    """Markdown tables, levels down and systems across: error rates, then differences from the best single modality."""
    lines = [line for line in (comparison.voice, comparison.face, *comparison.fused) if line is not None]
    rates = [[rate_cell(row.eer, row.low, row.high) for row in line.rows] for line in lines]
    table = _table("EER %", comparison.levels, [line.label for line in lines], rates)
    compared = [line for line in comparison.fused if any(row.difference is not None for row in line.rows)]
    if compared:
        differences = [[_difference_cell(row) for row in line.rows] for line in compared]
        table += ["", *_table("difference", comparison.levels, [line.label for line in compared], differences)]
    return table


def _table(name: str, levels: Sequence[str], labels: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    rows = zip(levels, *columns, strict=True)
    head = [f"| {name} | {' | '.join(labels)} |", f"|---|{'---:|' * len(labels)}"]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def rate_cell(value: float, low: float, high: float, sign: str = "") -> str:
    """A figure and its 95 % interval; zeros have no minus.

    Example:
        >>> rate_cell(-0.001, -0.5, 0.25, "+")
        '+0.00 [-0.50, +0.25]'
    """
    value, low, high = (round(figure, 2) + 0.0 for figure in (value, low, high))
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _difference_cell(row: SweepRow) -> str:
    if row.difference is None:
        return ""
    text = rate_cell(row.difference, row.difference_low, row.difference_high, "+")
    return f"**{text}** {row.single}" if row.difference_high < 0 else f"{text} {row.single}"


def count_verdicts(comparison: Comparison) -> tuple[int, int, int]:
    """Count pairs of fused system and corrupted level: those where fusion is better, where it is worse, and all."""
    rows = [row for line in comparison.fused for row in line.rows if row.level != CLEAN and row.difference is not None]
    return sum(x.difference_high < 0 for x in rows), sum(x.difference_low > 0 for x in rows), len(rows)


def sweep_plot(path: str | Path, kind: str, panels: Mapping[str, Comparison]) -> None:
    """Error rates over the levels of a sweep, a panel per list, with intervals as bars.

    Args:
        path: PNG file to write.
        kind: one of :data:`avsv.corruption.kinds.KINDS`.
        panels: per trial list its lines.
    """
    with new_figure(path, len(panels), 6.4 * len(panels), 4.6) as (figure, axes):
        for axis, (name, comparison) in zip(axes, panels.items(), strict=True):
            shown = [line for line in (comparison.voice, comparison.face, *comparison.fused) if line]
            lines = []
            for number, line in enumerate(shown):
                columns = (np.array([getattr(row, name) for row in line.rows]) for name in ("eer", "low", "high"))
                lines.append(SweepLine(line.label, number, *columns))
            draw_sweep(axis, lines, comparison.levels)
            axis.set_xlabel(KINDS[kind].unit)
            axis.set_ylabel("EER (%)")
            axis.set_title(f"{name}: {KINDS[kind].title}")
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=min(4, len(handles[0])), fontsize=8, frameon=False)


def by_list(rows: Sequence[SweepRow]) -> dict[str, Comparison]:
    """The lines of one sweep for each trial list."""
    names = dict.fromkeys(row.trials for row in rows)
    return {name: compare_lines([row for row in rows if row.trials == name]) for name in names}


def sort_rows(rows: Sequence[SweepRow], levels: Sequence[str], systems: Sequence[str]) -> list[SweepRow]:
    """By list, system, mode, and level from clean to hard."""
    lists = list(dict.fromkeys(row.trials for row in rows))
    return sorted(
        rows,
        key=lambda row: (
            lists.index(row.trials),
            systems.index(row.system),
            MODES.index(row.mode),
            levels.index(row.level),
        ),
    )


def sweep_rows(
    kind: str,
    levels: Sequence[Level],
    systems: Sequence[str],
    rates: Mapping[tuple[str, Condition], Sequence[Mapping[str, Any]]],
    origin: Origin,
) -> list[SweepRow]:
    """The rows of KIND.csv.

    Args:
        kind: of corruption.
        levels: its levels.
        systems: names, in the order of the rows.
        rates: of every system and condition, as :meth:`avsv.corruption.shares.Share.read` gives them.
        origin: what all rows share.
    """
    columns = [(CLEAN, None), *((format_level(level), (kind, level)) for level in levels)]
    shared = {"corrupted": origin.corrupted, "seed": origin.seed}
    drawn = []
    for name in systems:
        for level, condition in columns:
            for line in rates[name, condition]:
                figures = {field: value for field, value in line.items() if field not in ("draws", "n_speakers")}
                row = SweepRow(origin.corpus, origin.preset, name, sweep=kind, level=level, **figures, **shared)
                drawn.append(Drawn(row, np.array(line["draws"]), line["n_speakers"]))
    return sort_rows(compare_with_best_single(drawn), [level for level, _ in columns], systems)


def write_sweeps(
    out: Path, shares: Sequence[Share], sweeps: Sweeps, systems: Sequence[str], origin: Origin, left_out: Sequence[str]
) -> list[str]:
    """Write KIND.csv and KIND.png of every sweep, and SWEEPS.md; remove those of other sweeps.

    Args:
        out: folder to write to.
        shares: what was measured.
        sweeps: kinds and levels.
        systems: names, in the order of the tables.
        origin: what all tables share.
        left_out: why levels are left out.

    Returns:
        For each sweep and list a sentence that says how often fusion helps.

    Raises:
        DataError: a share is missing.
    """
    rates = {(share.system, share.condition): share.read() for share in shares}
    text, verdicts = ["# Corruption sweeps", "", _introduction(origin)], []
    for kind, levels in sweeps.items():
        rows = sweep_rows(kind, levels, systems, rates, origin)
        panels = by_list(rows)
        write_text(out / f"{kind}.csv", to_csv(rows, SweepRow))
        sweep_plot(out / f"{kind}.png", kind, panels)
        title = f"{KINDS[kind].title[0].upper()}{KINDS[kind].title[1:]}"
        text += ["", f"## {title}, by {KINDS[kind].unit}", "", f"![{kind}]({kind}.png)"]
        for name, panel in panels.items():
            text += ["", f"On `{name}`:", "", *sweep_tables(panel)]
            better, worse, of = count_verdicts(panel)
            if of:
                verdicts.append(
                    f"{kind} on {name}: of {of} fused systems and levels, {better} are better than the best single"
                    f" modality, {worse} worse, for the others the interval holds 0"
                )
    if left_out:
        text += ["", "## Left out", "", *(f"- {reason}" for reason in left_out)]
    write_text(out / "SWEEPS.md", "\n".join(text) + "\n")
    for path in [*out.glob("*.csv"), *out.glob("*.png")]:
        if path.stem not in sweeps:
            path.unlink()
    return verdicts


def _introduction(origin: Origin) -> str:
    """What the reader must know of all tables."""
    side = (
        "the test side is corrupted, enrollment is clean" if origin.corrupted == "test" else "both sides are corrupted"
    )
    return f"""Corpus `{origin.corpus}`, preset `{origin.preset}`, seed {origin.seed}; {side}.

- Equal error rates in percent after adaptive s-norm against the clean cohort, with 95 % intervals from drawn speakers.
- Voice and face are the systems of one modality with the lowest rate without corruption.
- Difference: a fused system's rate minus that of the best single modality at the same level, in percentage points, with
  its 95 % interval from the same draws. The best single modality, named after it, is chosen again at every level, among
  the systems of one modality and the fused system itself with only its voice or only its face; a gate is compared with
  those of all systems. Bold: the interval is below 0, so fusion helps.
- Where a clip lacks all that a system may use, the system guesses: half of these trials count as errors."""
