"""The page itself: tables, figures and trials put into ``page.html``."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup
from numpy.typing import NDArray

from avsv.corruption.table import KINDS as CORRUPTIONS
from avsv.report.exhibits import MAX_ROWS, Difference, Exhibit, Sweep
from avsv.report.gather import FUSED, Cost, ScoreSet, Spread, System, best_row, leaders
from avsv.report.hardest import HardTrial
from avsv.report.svg import (
    COLOURS,
    DASHES,
    AngleRow,
    Curve,
    angle_picture,
    common_ends,
    det_picture,
    histogram_picture,
    interval_bar,
    margin_bar,
    projection_picture,
    sweep_picture,
    training_picture,
)
from avsv.results.conditions import EXPLAINED, ConditionRow, title
from avsv.results.differences import Comparison
from avsv.results.plots import MODALITY_NAMES
from avsv.results.published import Published
from avsv.results.rates import Row
from avsv.results.tables import KINDS, describe_gaps
from avsv.results.thresholds import OperatingPoint
from avsv.scoring.modes import MODES

_ALL_PAIRS = 40  # more pairs of systems than these are not all shown


class Origin(NamedTuple):
    """What made a run's figures, as commands to be given in the recipe's folder.

    The folders are named ``exp/PRESET`` and ``data/NAME``, as they are by default, wherever they were: the same run in
    other folders has the same page.

    Attributes:
        command: of the whole run.
        preset: name of the folder of the systems.
        data: names of the data directories.
        systems: trained systems.
        seed: of the run.
    """

    command: str
    preset: str
    data: Sequence[str]
    systems: Sequence[str]
    seed: int

    def report(self) -> str:
        """The command of the tables and of what is drawn from scores."""
        return self._step("steps/report.sh", self.data)

    def analysis(self) -> str:
        """The command of what is drawn from embeddings."""
        return self._step("steps/analyse.sh", self.data[:1])

    def training(self) -> str:
        """The command of the training histories."""
        return f"{self.command} --stage 4 --stop-stage 5"

    def _step(self, script: str, data: Sequence[str]) -> str:
        folders = [f"data/{name}" for name in data]
        return shlex.join([script, "--seed", str(self.seed), f"exp/{self.preset}", " ".join(self.systems), *folders])


class TrialListView(NamedTuple):
    """What is shown of a trial list.

    Attributes:
        name: of the list.
        curves: scores of the drawn systems.
        judge: the system whose hardest trials are shown.
        hardest: false rejections and false acceptances, or what comes nearest to them.
    """

    name: str
    curves: list[Curve]
    judge: ScoreSet
    hardest: tuple[list[HardTrial], list[HardTrial]]


class Projection(NamedTuple):
    """Embeddings of a system and a modality in the plane: (N, 2) and (N,) names."""

    system: str
    modality: str
    points: NDArray
    identities: NDArray


class Content(NamedTuple):
    """Everything that the page shows."""

    rows: Sequence[Row]
    origin: Origin
    systems: Sequence[System]
    drawn: Sequence[System]
    views: Sequence[TrialListView]
    comparisons: Sequence[Comparison]
    conditions: Sequence[ConditionRow]
    points: Sequence[OperatingPoint]
    published: Sequence[Published]
    geometry: Mapping[str, Sequence[Spread]]
    projections: Sequence[Projection]
    costs: Mapping[str, Sequence[Cost]]
    histories: Mapping[str, Mapping[str, NDArray]]
    sweeps: Sequence[Sweep]
    exhibits: Sequence[Exhibit]


class Cell(NamedTuple):
    """A cell of a table: what is shown, and the number to sort by where it is not the text."""

    shown: str | Markup
    order: float | str | None = None
    kind: str = ""


class Column(NamedTuple):
    """A column's header; numbers stand to the right."""

    name: str
    numeric: bool = True
    explained: str = ""


class Table(NamedTuple):
    """A table that the page can sort."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def render(content: Content) -> str:
    """The text of the page."""
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"signed": _signed, "breakable": breakable}
    colours = _colours(content)
    lists = [_list_section(content, view, colours) for view in content.views]
    return environment.get_template("page.html").render(
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),
        script=Markup((folder / "page.js").read_text(encoding="utf-8")),
        first=content.rows[0],
        origin=content.origin,
        tiles=_tiles(content),
        lists=lists,
        dashes=DASHES,
        colours=colours,
        thresholds=_threshold_tables(content, colours),
        comparisons=_comparison_tables(content, colours),
        conditions=_condition_sections(content, colours),
        conditions_explained=EXPLAINED,
        published=_published_table(content, colours),
        notes=_notes(content),
        published_corpora=" and ".join(dict.fromkeys(figure.corpus for figure in content.published)),
        same_corpus=content.rows[0].corpus.lower().startswith("voxceleb"),
        geometry=_geometry(content, colours),
        projections=[
            (p, projection_picture(p.points, p.identities, f"Embeddings of {p.system}, {MODALITY_NAMES[p.modality]}"))
            for p in content.projections
        ],
        modality_names=MODALITY_NAMES,
        costs=_cost_table(content, colours),
        training=_training(content, colours),
        trained=list(content.histories),
        omitted=len(content.systems) - len(content.drawn),
        swept={system for sweep in content.sweeps for system, _ in sweep.lines},
        sweeps=[_sweep_section(content, sweep, colours) for sweep in content.sweeps],
        exhibits=[(*_explain(exhibit), exhibit, _exhibit_table(exhibit)) for exhibit in content.exhibits],
        margin_bar=margin_bar,
    )


def _colours(content: Content) -> dict[str, int]:
    return {system.name: number for number, system in enumerate(content.drawn[:COLOURS])}


def _name(system: str, colours: Mapping[str, int]) -> Cell:
    """A system's name with its colour."""
    kind = f"s{colours[system]}" if system in colours else "undrawn"
    return Cell(
        Markup('<span class="chip {}" aria-hidden="true"></span>{}').format(kind, breakable(system)), system, "name"
    )


def breakable(name: str) -> Markup:
    """A name that may go on in a next line after any of its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _number(value: float | None, digits: int, best: float | None = None) -> Cell:
    if value is None:
        return Cell("", None)
    text = f"{value:.{digits}f}".replace("-", "−")
    return Cell(text, value, "best" if best is not None and text == f"{best:.{digits}f}".replace("-", "−") else "")


def _lowest(values: Iterable[float | None]) -> float | None:
    """The lowest of several values; None where there is only one, which is best of nothing."""
    known = [value for value in values if value is not None]
    return min(known) if len(known) > 1 else None


def _with_interval(rate: float, low: float, high: float) -> Markup:
    return Markup("{} <small>{} – {}</small>").format(f"{rate:.2f}", f"{low:.1f}", f"{high:.1f}")


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _tiles(content: Content) -> list[tuple[str, System, Row]]:
    """The best system of every kind on the first list."""
    trials = content.rows[0].trials
    best = leaders(content.rows, content.systems, trials)
    tiles = [(kind, best[kind]) for kind in KINDS if kind in best]
    return [(kind, s, row) for kind, s in tiles if (row := best_row(content.rows, trials, s.name, s.mode))]


class ListSection(NamedTuple):
    """One trial list on the page."""

    name: str
    count: str
    md5: str
    table: Table
    modes: Table | None
    det: Markup
    histograms: list[tuple[Curve, Markup]]
    judge: ScoreSet
    fused: bool
    hardest: list[tuple[str, str, list[HardTrial]]]
    reach: float


def _list_section(content: Content, view: TrialListView, colours: Mapping[str, int]) -> ListSection:
    rows = [row for row in content.rows if row.trials == view.name]
    most = max(rows, key=lambda row: row.n_target + row.n_nontarget)
    ends = common_ends(view.curves)
    histograms = [
        (curve, histogram_picture(curve, ends, f"Scores of {curve.label}: target and non-target trials"))
        for curve in view.curves
    ]
    rejected, accepted = view.hardest
    margins = [abs(o.margin) for trial in (*rejected, *accepted) for o in trial.opinions if o.scored]
    groups = [
        ("False rejections", "Two clips of one person that the system takes for two persons.", rejected),
        ("False acceptances", "Clips of two persons that the system takes for one.", accepted),
    ]
    shown = [row for s in content.systems if (row := best_row(rows, view.name, s.name, s.mode))]
    counts = f"{most.n_target:,} target and {most.n_nontarget:,} non-target trials"
    return ListSection(
        view.name,
        "; ".join([counts, *describe_gaps(shown, len(view.judge.values))]),
        most.list_md5,
        _results_table(content, view.name, rows, colours),
        _modes_table(content, view.name, rows, colours),
        det_picture(view.curves, f"DET curves on the trials {view.name}; the figures are in the table of results"),
        histograms,
        view.judge,
        any(system.name == view.judge.system and system.kind in FUSED for system in content.systems),
        groups,
        max(margins, default=1.0),
    )


def _results_table(content: Content, trials: str, rows: Sequence[Row], colours: Mapping[str, int]) -> Table:
    lines = [(s, best_row(rows, trials, s.name, s.mode)) for s in content.systems]
    lines = [(s, row) for s, row in lines if row is not None]
    raw = {r.system: r.eer for s, _ in lines for r in rows if (r.system, r.mode, r.stage) == (s.name, s.mode, "cos")}
    llr = {r.system: r.cllr for s, _ in lines for r in rows if (r.system, r.mode, r.stage) == (s.name, s.mode, "llr")}
    most = max(row.eer_high for _, row in lines)
    lowest_eer, lowest_cost = _lowest([row.eer for _, row in lines]), _lowest([row.mindcf for _, row in lines])
    lowest_raw, lowest_llr = _lowest(raw.values()), _lowest(llr.values())
    cells = [
        [
            _name(s.name, colours),
            Cell(s.mode, MODES.index(s.mode)),
            _number(row.eer, 2, lowest_eer),
            Cell(f"{row.eer_low:.2f}\N{NO-BREAK SPACE}–\N{NO-BREAK SPACE}{row.eer_high:.2f}", row.eer_low),
            Cell(
                interval_bar(
                    row.eer_low, row.eer, row.eer_high, most, f"s{colours[s.name]}" if s.name in colours else "undrawn"
                ),
                row.eer,
                "wide",
            ),
            _number(raw.get(s.name), 2, lowest_raw),
            _number(row.mindcf, 3, lowest_cost),
            _number(llr.get(s.name), 3, lowest_llr),
            Cell(s.kind, KINDS.index(s.kind)),
        ]
        for s, row in lines
    ]
    columns = [
        Column("System", False),
        Column("Mode", False, "Modalities of the enrolment side x those of the test side"),
        Column("EER % s-norm", True, "Equal error rate after score normalisation"),
        Column("95 % interval", True, "Of the equal error rate after score normalisation"),
        Column(f"0 to {most:.0f} %", False, "The interval drawn to scale"),
        Column("EER % cosine", True, "Equal error rate of the raw scores"),
        Column("minDCF", True, "Smallest normalised detection cost at P_target 0.01"),
        Column("Cllr", True, "Cost in bits of the calibrated log-likelihood ratios"),
        Column("Kind", False),
    ]
    return Table(f"Systems in their widest mode on the trials {trials}", columns, cells)


def _modes_table(content: Content, trials: str, rows: Sequence[Row], colours: Mapping[str, int]) -> Table | None:
    """All modes of the systems that have several; None where none has."""
    lines = []
    for system in content.systems:
        found = {mode: row for mode in MODES if (row := best_row(rows, trials, system.name, mode))}
        if len(found) > 1:
            lines.append((system, found))
    columns = [mode for mode in MODES if any(mode in found for _, found in lines)]
    lowest = {mode: min(found[mode].eer for _, found in lines if mode in found) for mode in columns}
    cells = []
    for system, found in lines:
        figures = []
        for mode in columns:
            row = found.get(mode)
            if row is None:
                figures.append(Cell("", None))
                continue
            best = "best" if len(lines) > 1 and f"{row.eer:.2f}" == f"{lowest[mode]:.2f}" else ""
            figures.append(Cell(_with_interval(row.eer, row.eer_low, row.eer_high), row.eer, best))
        cells.append([_name(system.name, colours), *figures])
    if not cells:
        return None
    caption = f"EER % of normalised scores and its 95 % interval in all modes, on the trials {trials}"
    return Table(caption, [Column("System", False), *(Column(mode) for mode in columns)], cells)


def _comparison_tables(content: Content, colours: Mapping[str, int]) -> list[tuple[Table, str]]:
    tables = []
    for trials in dict.fromkeys(row.trials for row in content.comparisons):
        rows = [row for row in content.comparisons if row.trials == trials]
        note = ""
        if len(rows) > _ALL_PAIRS:
            best = leaders(content.rows, content.systems, trials)["all"].name
            shown = [row for row in rows if best in (row.system_a, row.system_b)]
            note = f"Shown are the {len(shown)} pairs with {best}; all {len(rows)} are in differences.csv."
            rows = shown
        cells = [
            [
                _name(row.system_a, colours),
                _name(row.system_b, colours),
                Cell(row.mode, row.mode),
                _number(row.eer_a, 2),
                _number(row.eer_b, 2),
                Cell(_signed(row.difference), row.difference, "best" if row.p < 0.05 else ""),
                Cell(f"{_signed(row.low)} to {_signed(row.high)}", row.low),
                Cell("< 0.0001" if row.p < 0.0001 else f"{row.p:.4f}", row.p),
            ]
            for row in rows
        ]
        columns = [
            Column("System a", False),
            Column("System b", False),
            Column("Mode", False),
            Column("EER % a"),
            Column("EER % b"),
            Column("a − b"),
            Column("95 % interval"),
            Column("p", True, "Two-sided; holds for one pair alone"),
        ]
        tables.append((Table(f"Differences in EER of normalised scores on the trials {trials}", columns, cells), note))
    return tables


def _threshold_tables(content: Content, colours: Mapping[str, int]) -> list[Table]:
    """Per trial list the thresholds of all systems and modes, and what they give there."""
    order = {system.name: number for number, system in enumerate(content.systems)}
    wanted = list(dict.fromkeys(point.wanted for point in content.points))
    columns = [Column("System", False), Column("Mode", False), *(Column(f"{rate:g} %") for rate in wanted)]
    tables = []
    for trials in dict.fromkeys(point.trials for point in content.points):
        lines: dict[tuple[str, str], dict[float, OperatingPoint]] = {}
        for point in content.points:
            if point.trials == trials:
                lines.setdefault((point.system, point.mode), {})[point.wanted] = point
        cells = [
            [
                _name(system, colours),
                Cell(mode, MODES.index(mode)),
                *(_threshold_cell(lines[system, mode][rate]) for rate in wanted),
            ]
            for system, mode in sorted(lines, key=lambda key: (order[key[0]], MODES.index(key[1])))
        ]
        caption = f"Thresholds for false-accept rates of the development trials, and the rates of the trials {trials}"
        tables.append(Table(caption, columns, cells))
    return tables


def _threshold_cell(point: OperatingPoint) -> Cell:
    if point.threshold is None:
        return Cell(Markup("<small>too few trials</small>"), None)
    threshold = f"{point.threshold:.2f}".replace("-", "−")
    rates = f"{point.false_accept:.2f} / {point.false_reject:.2f}"
    return Cell(Markup("{} <small>{}</small>").format(threshold, rates), point.threshold)


class ConditionSection(NamedTuple):
    """The results by condition of one trial list: those of the best system of every kind, and all by list of labels."""

    trials: str
    best: Table
    all: list[Table]


def _condition_sections(content: Content, colours: Mapping[str, int]) -> list[ConditionSection]:
    sections = []
    for trials in dict.fromkeys(row.trials for row in content.conditions):
        by_source: dict[str, dict[str, dict[tuple[str, str], ConditionRow]]] = {}
        for row in content.conditions:
            if row.trials == trials:
                found = by_source.setdefault(row.source, {}).setdefault(row.condition, {})
                found[row.system, row.mode] = row
        best = leaders(content.rows, content.systems, trials)
        columns = [best[kind] for kind in KINDS if kind in best]
        whole = [row for system in columns if (row := best_row(content.rows, trials, system.name, system.mode))]
        most = max(whole, key=lambda row: row.n_target + row.n_nontarget)
        counts = [Cell(f"{count:,}", count) for count in (most.n_target, most.n_nontarget)]
        figures = [Cell(_with_interval(row.eer, row.eer_low, row.eer_high), row.eer) for row in whole]
        cells = [[Cell("all trials", ""), *counts, *figures]]
        for source, condition, found in [(s, c, found) for s, shown in by_source.items() for c, found in shown.items()]:
            most = max(found.values(), key=lambda row: row.n_target + row.n_nontarget)
            figures = [_condition_cell(found.get((system.name, system.mode))) for system in columns]
            counts = [Cell(f"{count:,}", count) for count in (most.n_target, most.n_nontarget)]
            cells.append([Cell(_condition_name(source, condition), f"{title(source)} {condition}"), *counts, *figures])
        names = [Column("Condition", False), Column("Target"), Column("Non-target")]
        names += [Column(f"{system.name} {system.mode}") for system in columns]
        caption = f"EER % and its 95 % interval by condition of the trials {trials}, of the best system of every kind"
        tables = [_condition_table(content, source, shown, colours) for source, shown in by_source.items()]
        sections.append(ConditionSection(trials, Table(caption, names, cells), tables))
    return sections


def _condition_table(
    content: Content,
    source: str,
    shown: Mapping[str, Mapping[tuple[str, str], ConditionRow]],
    colours: Mapping[str, int],
) -> Table:
    """All systems and modes under the conditions of one list of labels."""
    lines = dict.fromkeys(key for found in shown.values() for key in found)
    order = {system.name: number for number, system in enumerate(content.systems)}
    cells = [
        [
            _name(system, colours),
            Cell(mode, MODES.index(mode)),
            *(_condition_cell(found.get((system, mode))) for found in shown.values()),
        ]
        for system, mode in sorted(lines, key=lambda key: (order[key[0]], MODES.index(key[1])))
    ]
    columns = [Column("System", False), Column("Mode", False), *(Column(condition) for condition in shown)]
    return Table(f"All systems by {title(source)} ({source})", columns, cells)


def _condition_name(source: str, condition: str) -> Markup:
    return Markup("<small>{}</small> {}").format(title(source), condition)


def _condition_cell(row: ConditionRow | None) -> Cell:
    if row is None:
        return Cell("", None)
    if row.eer is None:
        return Cell(Markup("<small>{}</small>").format(row.missing), None)
    return Cell(_with_interval(row.eer, row.eer_low, row.eer_high), row.eer)


def _shown_published(content: Content) -> list[Published]:
    names = {system.name for system in content.systems}
    return [figure for figure in content.published if figure.system in names]


def _note(figure: Published) -> str:
    return f"{figure.table}; {figure.condition}"


def _notes(content: Content) -> list[str]:
    """Conditions of the published figures, each once."""
    return list(dict.fromkeys(_note(figure) for figure in _shown_published(content)))


def _published_table(content: Content, colours: Mapping[str, int]) -> Table | None:
    """Published figures beside ours; None where no system of the run has any."""
    shown, notes = _shown_published(content), _notes(content)
    if not shown:
        return None
    names = list(dict.fromkeys(row.trials for row in content.rows))
    theirs = sorted(dict.fromkeys(figure.trials for figure in shown), key=lambda name: "OEH".find(name[-1]))
    groups: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    for figure in shown:
        key = figure.system, figure.mode, f"{figure.paper}: {figure.row}", _note(figure)
        groups.setdefault(key, {})[figure.trials, figure.metric] = figure.value
    order = {system.name: number for number, system in enumerate(content.systems)}
    cells = []
    for key in sorted(groups, key=lambda key: (order[key[0]], MODES.index(key[1]))):
        system, mode, source, note = key
        ours = [best_row(content.rows, name, system, mode) for name in names]
        cells.append(
            [
                _name(system, colours),
                Cell(mode, MODES.index(mode)),
                *(_pair(f"{row.eer:.2f}", f"{row.mindcf:.3f}") if row else Cell("", None) for row in ours),
                *(_pair(groups[key].get((name, "eer")), groups[key].get((name, "mindcf"))) for name in theirs),
                Cell(
                    Markup('{} <sup><a href="#note{}">{}</a></sup>').format(source, *[notes.index(note) + 1] * 2),
                    source,
                    "words",
                ),
            ]
        )
    columns = [
        Column("System", False),
        Column("Mode", False),
        *(Column(f"Ours, {name}") for name in names),
        *(Column(name) for name in theirs),
        Column("Published as", False),
    ]
    return Table("EER % and, smaller, minDCF of this run and as published", columns, cells)


def _pair(rate: str | None, cost: str | None) -> Cell:
    shown = Markup("{} <small>{}</small>").format(rate or "–", cost) if cost else rate or ""
    return Cell(shown, float(rate) if rate else None)


def _geometry(content: Content, colours: Mapping[str, int]) -> tuple[Markup, Table] | None:
    rows = [
        AngleRow(system.name, colours[system.name], spread)
        for system in content.drawn
        for spread in content.geometry.get(system.name, ())
        if not spread.measure.startswith("silhouette")
    ]
    if not rows:
        return None
    cells = []
    for system in content.systems:
        spreads = {(s.modality, s.measure): s for s in content.geometry.get(system.name, ())}
        for modality in dict.fromkeys(modality for modality, _ in spreads if modality in MODALITY_NAMES):
            measures = "within", "between", "silhouette", "silhouette of the UMAP"
            within, between, silhouette, projected = (spreads.get((modality, m)) for m in measures)
            across = spreads.get(("A-V", "same clip")) if modality == "AV" else None
            cells.append(
                [
                    _name(system.name, colours),
                    Cell(MODALITY_NAMES[modality], modality),
                    _number(within.median if within else None, 1),
                    _number(between.median if between else None, 1),
                    _number(silhouette.mean if silhouette else None, 3),
                    _number(projected.mean if projected else None, 3),
                    _number(across.median if across else None, 1),
                ]
            )
    columns = [
        Column("System", False),
        Column("Embedding", False),
        Column("Within °", True, "Median angle between utterances of one identity"),
        Column("Between °", True, "Median angle between centroids of two identities"),
        Column("Silhouette", True, "Mean over utterances, from −1 to 1; higher is better separated"),
        Column("In the plane", True, "Mean silhouette of the points of the UMAP"),
        Column("Voice to face °", True, "Median angle between voice and face embedding of a clip"),
    ]
    table = Table("Medians of angles and mean silhouettes of all systems", columns, cells)
    return angle_picture(rows, "Angles of embeddings; the figures are in the table that follows"), table


def _cost_table(content: Content, colours: Mapping[str, int]) -> Table | None:
    """Size and speed of the networks; None where no system has been measured."""
    cells = []
    for name in (system.name for system in content.systems if system.name in content.costs):
        costs = {cost.part: cost for cost in content.costs[name]}
        parts = [costs.get(part) for part in ("audio", "visual", "fusion")]
        cells.append(
            [
                _name(name, colours),
                _quantity(costs["all"].parameters / 1e6),
                *(_quantity(part.parameters / 1e6 if part else None) for part in parts),
                _quantity(costs["all"].multiply_adds / 1e9),
                _quantity(costs["all"].seconds),
            ]
        )
    columns = [
        Column("System", False),
        Column("Parameters, millions", True, "Without the classifiers of the training"),
        Column("of the voice"),
        Column("of the face"),
        Column("of the fusion"),
        Column("Multiply-adds, billions", True, "Of matrix products and convolutions"),
        Column("Seconds", True, "Of processor time with one thread, on the machine that measured"),
    ]
    return Table("What embedding a clip costs", columns, cells) if cells else None


def _quantity(value: float | None) -> Cell:
    """Three digits, however large or small."""
    if value is None:
        return Cell("", None)
    return Cell(f"{value:.3g}" if value < 1000 else f"{value:,.0f}", value)


def _training(content: Content, colours: Mapping[str, int]) -> list[tuple[str, Markup]]:
    histories = {name: content.histories[name] for name in colours if name in content.histories}
    if not histories:
        return []
    panels = (
        ("loss", 1, "Training loss"),
        ("accuracy", 100, "Training accuracy (%)"),
        ("dev_eer", 100, "Development EER (%)"),
    )
    return [
        (title, training_picture(histories, colours, column, factor, "", f"{title} by epoch"))
        for column, factor, title in panels
        if any((h[column] == h[column]).any() for h in histories.values())
    ]


class SweepSection(NamedTuple):
    """One sweep on one list."""

    title: str
    unit: str
    sweep: Sweep
    picture: Markup | None
    table: Table
    finding: str


def _sweep_section(content: Content, sweep: Sweep, colours: Mapping[str, int]) -> SweepSection:
    kind = CORRUPTIONS.get(sweep.name)
    title = kind.title[0].upper() + kind.title[1:] if kind else sweep.name.replace("_", " ").capitalize()
    if len({other.trials for other in content.sweeps}) > 1:
        title += f", trials {sweep.trials}"
    lines = []
    for system in content.drawn:
        mode = next((mode for mode in MODES if (system.name, mode) in sweep.lines), None)
        if mode:
            lines.append((f"{system.name} {mode}", colours[system.name], sweep.lines[system.name, mode]))
    picture = sweep_picture(lines, sweep.levels, f"Equal error rates by level of {title}") if lines else None
    cells = []
    for key, rates in sweep.lines.items():
        shown = []
        for level, rate in enumerate(rates):
            if rate is None:
                shown.append(Cell("", None))
            else:
                better = "best" if sweep.helps(key, level) else ""
                shown.append(Cell(_with_interval(rate.eer, rate.low, rate.high), rate.eer, better))
        cells.append([_name(key[0], colours), Cell(key[1], key[1]), *shown])
    for (system, mode), differences in sweep.differences.items():
        shown = [_difference_cell(difference) for difference in differences]
        cells.append([_name(system, colours), Cell(f"{mode} − best single", f"{mode} -"), *shown])
    columns = [Column("System", False), Column("Mode", False), *(Column(level) for level in sweep.levels)]
    caption = f"EER % and its 95 % interval by {kind.unit if kind else 'level'}; bold where voice and face together are"
    caption += " below the best single modality with the whole interval of the difference, which follows, with that"
    caption += " modality's name"
    return SweepSection(
        title, kind.unit if kind else "", sweep, picture, Table(caption, columns, cells), _finding(sweep)
    )


def _difference_cell(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell("", None)
    value, low, high = (_signed(x, digits) for x, digits in zip(difference[1:], (2, 1, 1), strict=True))
    shown = Markup('{} <small>{} to {}</small> <small class="below">{}</small>').format(
        value, low, high, difference.single
    )
    return Cell(shown, difference.value, "best" if difference.high < 0 else "")


def _finding(sweep: Sweep) -> str:
    """Where fusion is better than the best single modality, in a sentence; empty where that cannot be told."""
    fused = sweep.differences
    if not fused:
        return ""
    won = [any(sweep.helps(key, level) for key in fused) for level in range(len(sweep.levels))]
    lost = [level for level, better in zip(sweep.levels, won, strict=True) if not better]
    who = next(iter(fused))[0] if len(fused) == 1 else f"At least one of {len(fused)} fused systems"
    text = f"{who} is surely below the best single modality at"
    if not any(won):
        who = who if len(fused) == 1 else "No fused system"
        verb = "is not" if len(fused) == 1 else "is"
        return f"{who} {verb} surely below the best single modality at any level."
    if not lost:
        return f"{text} every level."
    return f"{text} {sum(won)} of {len(won)} levels, not at {', '.join(lost)}."


_EXPLAINED = {
    "attention": (
        "Attention of {system}",
        "The temporal attention of voice and face over a clip of 0.8 s: logits before and after enhancement, a row for"
        " each channel, and the weights of both. The table has the correlation of the two weights in every clip: below"
        " 0, one looks where the other does not.",
    ),
    "hard": (
        "Hard utterances",
        "Those that the best voice and the best face system most often get wrong, in the plane by t-SNE, each joined to"
        " the centroid of its person. Rings are outliers: nearer to another person's centroid than to their own. The"
        " table has the share of an utterance's trials that are errors, and 1 for an outlier in a system's space.",
    ),
}


def _explain(exhibit: Exhibit) -> tuple[str, str]:
    """A title and an explanation of what is known, else its name in the run's folder."""
    folder, _, stem = exhibit.name.rpartition("/")
    if stem not in _EXPLAINED:
        return exhibit.name, ""
    title, text = _EXPLAINED[stem]
    return title.format(system=folder.split("/")[0]), text


def _exhibit_table(exhibit: Exhibit) -> Table | None:
    """A table of unknown columns: those that hold numbers only are numeric; None where there is no table."""
    if not exhibit.columns:
        return None
    numeric = [all(_is_number(row[c]) for row in exhibit.rows if row[c]) for c in range(len(exhibit.columns))]
    cells = [
        [
            Cell(text.replace("-", "−") if numeric[c] else text, text or None, "" if numeric[c] else "words")
            for c, text in enumerate(row)
        ]
        for row in exhibit.rows[:MAX_ROWS]
    ]
    note = f", the first {MAX_ROWS} of {len(exhibit.rows)} lines" if len(exhibit.rows) > MAX_ROWS else ""
    columns = [Column(name, number) for name, number in zip(exhibit.columns, numeric, strict=True)]
    return Table(f"{exhibit.name}.csv{note}", columns, cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
