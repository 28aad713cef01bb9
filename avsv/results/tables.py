"""Results for people: RESULTS.md and the table on the console."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from avsv.results.conditions import EXPLAINED, ConditionRow, title
from avsv.results.differences import Comparison
from avsv.results.published import Published
from avsv.results.rates import Row, Run
from avsv.results.thresholds import OperatingPoint
from avsv.scoring.modes import MODES

KINDS = ("voice", "face", "voice and face", "ensemble")


class _Line(NamedTuple):
    """One line of a table: a system in a mode, its stages side by side."""

    kind: str
    system: str
    mode: str
    stages: dict[str, Row]

    @property
    def best(self) -> Row:
        """The normalised scores where there are any."""
        return self.stages.get("asnorm", next(iter(self.stages.values())))


class _Table(NamedTuple):
    """The lines of a trial list: every system's widest mode, by kind and rising error rate, and those of all modes."""

    name: str
    widest: list[_Line]
    modes: dict[str, dict[str, _Line]]

    @property
    def count(self) -> str:
        """Numbers of trials; where systems could not score all, those of the one that scored most."""
        rows = [line.best for line in self.widest]
        most = max(rows, key=lambda row: row.n_target + row.n_nontarget)
        return f"{most.n_target} target, {most.n_nontarget} non-target"


def _tables(rows: Sequence[Row], ensembles: Collection[str]) -> list[_Table]:
    tables = []
    for name in dict.fromkeys(row.trials for row in rows):
        stages: dict[str, dict[str, dict[str, Row]]] = {}
        for row in rows:
            if row.trials == name:
                stages.setdefault(row.system, {}).setdefault(row.mode, {})[row.stage] = row
        modes = {}
        for system, by_mode in stages.items():
            widest = next(mode for mode in MODES if mode in by_mode)
            kind = {"AxA": "voice", "VxV": "face"}.get(widest, "voice and face")
            kind = "ensemble" if system in ensembles else kind
            modes[system] = {m: _Line(kind, system, m, by_mode[m]) for m in MODES if m in by_mode}
        lines = [next(iter(by_mode.values())) for by_mode in modes.values()]
        lines.sort(key=lambda line: (KINDS.index(line.kind), line.best.eer))
        tables.append(_Table(name, lines, {line.system: modes[line.system] for line in lines}))
    return tables


def leading_systems(rows: Sequence[Row], count: int) -> dict[str, list[str]]:
    """Per trial list the systems of lowest error rate in their widest mode, best first."""
    tables = _tables(rows, ())
    return {t.name: [x.system for x in sorted(t.widest, key=lambda line: line.best.eer)[:count]] for t in tables}


HEADER = ("", "system", "mode", "EER % cosine", "EER % s-norm", "95 % interval", "minDCF", "Cllr")


def _cells(lines: Sequence[_Line]) -> Iterator[list[str]]:
    """The cells of lines; the kind stands in the first of its lines only."""
    kind = None
    for line in lines:
        raw, best, llr = line.stages.get("cos"), line.best, line.stages.get("llr")
        yield [
            line.kind if line.kind != kind else "",
            line.system,
            line.mode,
            f"{raw.eer:.2f}" if raw else "",
            f"{best.eer:.2f}",
            f"{best.eer_low:.2f} - {best.eer_high:.2f}",
            f"{best.mindcf:.3f}",
            f"{llr.cllr:.3f}" if llr else "",
        ]
        kind = line.kind


def _best(cells: Sequence[Sequence[str]], columns: Sequence[int]) -> dict[int, set[int]]:
    """For each column with figures of merit of several lines, which have its lowest value, as it is printed."""
    best = {}
    for column in columns:
        values = {number: float(row[column].split()[0]) for number, row in enumerate(cells) if row[column]}
        if len(values) > 1:
            best[column] = {number for number, value in values.items() if value == min(values.values())}
    return best


def _modes_table(table: _Table) -> list[list[str]]:
    """Header and cells of all modes of the systems that have more than one; empty where none has."""
    systems = {system: modes for system, modes in table.modes.items() if len(modes) > 1}
    columns = [mode for mode in MODES if any(mode in modes for modes in systems.values())]
    cells = []
    for system, modes in systems.items():
        best = {mode: line.best for mode, line in modes.items()}
        figures = {mode: f"{row.eer:.2f} ({row.eer_low:.2f} - {row.eer_high:.2f})" for mode, row in best.items()}
        cells.append([system, *(figures.get(mode, "") for mode in columns)])
    return [["system", *columns], *cells] if cells else []


def to_console(rows: Sequence[Row], ensembles: Collection[str] = (), sizes: Mapping[str, int] | None = None) -> str:
    """Aligned tables per trial list: the widest modes, then all modes.

    Args:
        rows: the results.
        ensembles: which systems are ensembles.
        sizes: how many trials each list has; None: as many as the system that scored most.
    """
    parts = []
    for table in _tables(rows, ensembles):
        parts.append(f"Trials '{table.name}': {table.count}")
        parts += _aligned([list(HEADER), *_cells(table.widest)], left=3)
        parts += [f"  {gap}" for gap in _gaps(table, sizes)]
        if modes := _modes_table(table):
            parts += ["", f"Trials '{table.name}', all modes: EER % s-norm (95 % interval)", *_aligned(modes, left=1)]
        parts.append("")
    return "\n".join(parts)


def _aligned(table: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Lines of a table with a rule below its header; the first columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, cells in enumerate(table):
        words = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        yield "  " + "  ".join(words).rstrip()
        if number == 0:
            yield "  " + "  ".join("-" * width for width in widths)


def markdown_table(
    header: Sequence[str], cells: Sequence[Sequence[str]], left: int, bold: Mapping[int, Collection[int]] | None = None
) -> list[str]:
    """Lines of a Markdown table, the first columns to the left, the others to the right.

    Args:
        header: names of the columns.
        cells: the rows.
        left: how many columns stand to the left.
        bold: for some columns the numbers of the rows that are bold there.
    """
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("|" + "|".join([":--"] * left + ["--:"] * (len(header) - left)) + "|")
    for number, row in enumerate(cells):
        words = [f"**{c}**" if number in (bold or {}).get(column, ()) else c for column, c in enumerate(row)]
        lines.append("| " + " | ".join(words) + " |")
    return lines


def to_markdown(
    rows: Sequence[Row],
    run: Run,
    figures: Sequence[tuple[str, str]],
    ensembles: Collection[str] = (),
    comparisons: Sequence[Comparison] = (),
    published: Sequence[Published] = (),
    conditions: Sequence[ConditionRow] = (),
    points: Sequence[OperatingPoint] = (),
    sizes: Mapping[str, int] | None = None,
) -> str:
    """The text of RESULTS.md.

    Args:
        rows: the results.
        run: what they share.
        figures: captions and file names of plots to show.
        ensembles: which systems are ensembles.
        comparisons: differences between systems, of which the most telling are shown.
        published: published figures, shown for the systems that are in the results.
        conditions: results by condition, of which those of the best system of every kind are shown.
        points: error rates at the thresholds that were chosen on development trials.
        sizes: as of :func:`to_console`.
    """
    parts = [
        f"# Results: {run.corpus}, preset {run.preset}",
        "",
        "Generated from `results.csv`, `differences.csv`, `conditions.csv` and `thresholds.csv`; do not edit. Made by",
        "",
        f"    {run.command}",
        "",
        f"with seed {run.seed}, code revision {run.git}.",
        "",
        "- EER: equal error rate in percent, interpolated between operating points, of cosine scores and after score"
        " normalisation.",
        f"- 95 % interval: of the normalised scores' EER, from {run.resamples} draws of the evaluation's speakers.",
        "- minDCF: smallest normalised detection cost of the normalised scores, P_target 0.01, both costs 1.",
        "- Cllr: cost in bits of the log-likelihood ratios, which were calibrated on development trials.",
        "- mode: the modalities of the enrolment side, x, those of the test side. Each system is shown in its widest"
        " mode, sorted by EER; the best of a column is bold.",
        f"- All figures were measured on the data `{run.corpus}` and say nothing about other data.",
    ]
    tables = _tables(rows, ensembles)
    for table in tables:
        best = table.widest[0].best
        parts += ["", f"## Trials `{table.name}`", ""]
        parts += [f"{_total(table)} trials: {table.count}; md5 of the list {best.list_md5}.", ""]
        cells = list(_cells(table.widest))
        parts += markdown_table(HEADER, cells, 3, _best(cells, (3, 4, 6, 7)))
        if gaps := _gaps(table, sizes):
            parts += ["", *(f"- {gap}" for gap in gaps)]
        if modes := _modes_table(table):
            header, *cells = modes
            parts += ["", "All modes of the systems that have several, EER % s-norm and its 95 % interval:", ""]
            parts += markdown_table(header, cells, 1, _best(cells, range(1, len(header))))
        parts += _thresholds(table, [point for point in points if point.trials == table.name])
        parts += _differences(table, [c for c in comparisons if c.trials == table.name], ensembles)
        parts += _conditions(table, [c for c in conditions if c.trials == table.name])
    parts += _published(tables, run, published)
    for caption, path in figures:
        parts += ["", f"![{caption}]({path})"]
    return "\n".join(parts) + "\n"


def _total(table: _Table) -> int:
    return max(line.best.n_target + line.best.n_nontarget for line in table.widest)


def describe_gaps(rows: Sequence[Row], size: int) -> list[str]:
    """Of each system that could not score all trials of a list: how many it has scored.

    Args:
        rows: one of each system.
        size: how many trials the list has.
    """
    return [
        f"{row.system} {row.mode}: measured on {number} of the {size} trials, the others lack a voice or a face"
        for row in rows
        if (number := row.n_target + row.n_nontarget) < size
    ]


def _gaps(table: _Table, sizes: Mapping[str, int] | None) -> list[str]:
    return describe_gaps([line.best for line in table.widest], sizes[table.name] if sizes else _total(table))


def _thresholds(table: _Table, points: Sequence[OperatingPoint]) -> list[str]:
    """Error rates of each system's widest mode at its thresholds."""
    widest = {line.system: line.mode for line in table.widest}
    found = {(p.system, p.wanted): p for p in points if widest.get(p.system) == p.mode}
    if not found:
        return []
    wanted = list(dict.fromkeys(point.wanted for point in points))
    cells = []
    for system, mode in widest.items():
        row = [found.get((system, rate)) for rate in wanted]
        if any(row):
            cells.append([system, mode, *("too few trials" if p.threshold is None else _rates(p) for p in row)])
    return [
        "",
        "Thresholds on the log-likelihood ratio at which the development trials have false-accept rates of"
        f" {', '.join(f'{rate:g}' for rate in wanted)} %, and in brackets what they give on these trials: false-accept"
        " / false-reject rate in percent.",
        "",
        *markdown_table(["system", "mode", *(f"{rate:g} %" for rate in wanted)], cells, 2),
    ]


def _rates(point: OperatingPoint) -> str:
    return f"{point.threshold:.2f} ({point.false_accept:.2f} / {point.false_reject:.2f})"


def _differences(table: _Table, comparisons: Sequence[Comparison], ensembles: Collection[str]) -> list[str]:
    """Each system against the best of all, then against that of its kind, then ensembles against parts of members."""
    if not comparisons:
        return []
    overall = min(table.widest, key=lambda line: line.best.eer).system
    leaders: dict[str, str] = {}
    for line in table.widest:
        leaders.setdefault(line.kind, line.system)
    lines = {line.system: line for line in table.widest}
    order = {line.system: number for number, line in enumerate(table.widest)}
    chosen = []
    for row in comparisons:
        one, other = lines[row.system_a], lines[row.system_b]
        modes = row.mode.split("/")
        if (modes[0], modes[-1]) != (one.mode, other.mode):
            chosen.append((2, row))
        elif overall in (one.system, other.system):
            chosen.append((0, row if other.system == overall else _exchanged(row)))
        elif one.kind == other.kind and leaders[one.kind] in (one.system, other.system):
            chosen.append((1, row if other.system == leaders[one.kind] else _exchanged(row)))
    chosen.sort(key=lambda entry: (entry[0], order[entry[1].system_a]))
    header = ("a", "b", "mode", "EER % a", "EER % b", "a - b", "95 % interval", "p")
    cells, bold = [], {5: set()}
    for number, (_, row) in enumerate(chosen):
        rates = [f"{rate:.2f}" for rate in (row.eer_a, row.eer_b)]
        interval = f"{row.low:+.2f} to {row.high:+.2f}"
        p = "< 0.0001" if row.p < 0.0001 else f"{row.p:.4f}"
        cells.append([row.system_a, row.system_b, row.mode, *rates, f"{row.difference:+.2f}", interval, p])
        if row.p < 0.05:
            bold[5].add(number)
    return [
        "",
        "Differences in EER % s-norm on the same trials and the same draws of speakers, of each system from the best of"
        f" all and from the best of its kind; all {len(comparisons)} pairs are in `differences.csv`. Bold where"
        " p < 0.05; p holds for one pair chosen beforehand: of 20 pairs of equally good systems about one comes out"
        " bold, and more of those with the best, which is chosen here on the same trials.",
        "",
        *markdown_table(header, cells, 3, bold),
    ]


def _exchanged(row: Comparison) -> Comparison:
    """The same comparison with a and b in each other's place."""
    return row._replace(
        mode="/".join(reversed(row.mode.split("/"))),
        system_a=row.system_b,
        system_b=row.system_a,
        eer_a=row.eer_b,
        eer_b=row.eer_a,
        difference=-row.difference,
        low=-row.high,
        high=-row.low,
    )


def _conditions(table: _Table, rows: Sequence[ConditionRow]) -> list[str]:
    """The best system of every kind in its widest mode, under every condition of the trials."""
    leaders: dict[str, _Line] = {}
    for line in table.widest:
        leaders.setdefault(line.kind, line)
    by_line = [{(r.source, r.condition): r for r in rows if (r.system, r.mode) == x[1:3]} for x in leaders.values()]
    cells, previous = [], None
    for key in dict.fromkeys(key for found in by_line for key in found):
        found = [row for line in by_line if (row := line.get(key))]
        most = max(found, key=lambda row: row.n_target + row.n_nontarget)
        figures = [_condition_cell(line.get(key)) for line in by_line]
        heading = title(key[0]) if key[0] != previous else ""
        cells.append([_literal(heading), _literal(key[1]), str(most.n_target), str(most.n_nontarget), *figures])
        previous = key[0]
    if not cells:
        return []
    overall = [line.best for line in leaders.values()]
    most = max(overall, key=lambda row: row.n_target + row.n_nontarget)
    rates = [f"{row.eer:.2f} ({row.eer_low:.2f} - {row.eer_high:.2f})" for row in overall]
    cells.insert(0, ["", "all trials", str(most.n_target), str(most.n_nontarget), *rates])
    header = ("", "condition", "target", "non-target", *(f"{line.system} {line.mode}" for line in leaders.values()))
    return [
        "",
        f"By condition, EER % s-norm and its 95 % interval; all systems, and their single modalities, are in"
        f" `conditions.csv`. {EXPLAINED}",
        "",
        *markdown_table(header, cells, 2),
    ]


def _condition_cell(row: ConditionRow | None) -> str:
    if row is None:
        return ""
    return row.missing or f"{row.eer:.2f} ({row.eer_low:.2f} - {row.eer_high:.2f})"


def _literal(text: str) -> str:
    """Text of the data as a cell, where no character of it is markup."""
    return re.sub(r"[\\`*_<&\[|]", r"\\\g<0>", text)


def _published(tables: Sequence[_Table], run: Run, published: Sequence[Published]) -> list[str]:
    """Our figures beside the published ones, with the condition of each as a note."""
    systems = dict.fromkeys(line.system for table in tables for line in table.widest)
    shown = [figure for figure in published if figure.system in systems]
    if not shown:
        return []
    corpora = " and ".join(dict.fromkeys(figure.corpus for figure in shown))
    # What local/prepare_data.sh calls a part of it has another name.
    if run.corpus == "voxceleb":
        text = f"The published figures were measured on the lists of {corpora}, ours on the lists named above each."
    else:
        text = (
            f"**The published figures were measured on different data**: {corpora} there, `{run.corpus}` here. Neither"
            " their height nor their order can be compared with ours until VoxCeleb itself is used."
        )
    lists = sorted(dict.fromkeys(figure.trials for figure in shown), key=lambda name: "OEH".find(name[-1]))
    groups: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    for figure in shown:
        key = figure.system, figure.mode, figure.paper, figure.row, f"{figure.table}; {figure.condition}"
        groups.setdefault(key, {})[figure.trials, figure.metric] = figure.value
    order = {system: number for number, system in enumerate(systems)}
    keys = sorted(groups, key=lambda key: (order[key[0]], MODES.index(key[1])))
    notes = list(dict.fromkeys(key[4] for key in keys))
    cells, previous = [], None
    for key in keys:
        system, mode, paper, row, note = key
        ours = [_ours(table, system, mode) if key[:2] != previous else "" for table in tables]
        theirs = [_pair(groups[key].get((name, "eer")), groups[key].get((name, "mindcf"))) for name in lists]
        cells.append([system, mode, f"{paper}: {row} [{notes.index(note) + 1}]", *ours, *theirs])
        previous = key[:2]
    header = ["system", "mode", "published as", *(f"ours, {run.corpus} `{table.name}`" for table in tables), *lists]
    return [
        "",
        "## Published figures",
        "",
        f"EER % (minDCF) of the systems of this run after score normalisation, and as published. {text}",
        "",
        *markdown_table(header, cells, 3),
        "",
        *(f"{number}. {note}" for number, note in enumerate(notes, 1)),
    ]


def _ours(table: _Table, system: str, mode: str) -> str:
    line = table.modes.get(system, {}).get(mode)
    return _pair(f"{line.best.eer:.2f}", f"{line.best.mindcf:.3f}") if line else ""


def _pair(rate: str | None, cost: str | None) -> str:
    return " ".join([rate or "", f"({cost})" if cost else ""]).strip()
