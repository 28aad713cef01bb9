"""Rendering of the page: tables, figures and trials in ``page.html``."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from avsv.analysis.rows import Cost
from avsv.corruption.table import KINDS as CORRUPTIONS
from avsv.report.analysis_tables import cost_table, exhibit_table, geometry_table, sweep_table
from avsv.report.exhibits import Exhibit, Sweep
from avsv.report.gather import ScoreSet, Spread
from avsv.report.hardest import HardTrial
from avsv.report.pictures import (
    AngleRow,
    Curve,
    angle_picture,
    common_ends,
    det_picture,
    histogram_picture,
    margin_bar,
    projection_picture,
    sweep_picture,
    training_picture,
)
from avsv.report.table import breakable, code, html_table
from avsv.results.environment import VARIES, describe_environment
from avsv.results.model import FUSED, KINDS, Results, System
from avsv.results.plots import MODALITY_NAMES
from avsv.results.published_table import published_table
from avsv.results.style import COLORS, dash_array
from avsv.results.table import Table
from avsv.results.tables import ListTables, list_tables
from avsv.scoring.modes import MODES


class Origin(NamedTuple):
    """The commands that made the figures of a run, to be run in the folder of the recipe.

    Attributes:
        command: command of the whole run.
        exp: folder of the systems.
        data: data directories.
        systems: trained systems.
        seed: seed of the run.
    """

    command: str
    exp: str
    data: Sequence[str]
    systems: Sequence[str]
    seed: int

    def report(self) -> str:
        """The command of the tables and of the plots of scores."""
        return self._step("steps/report.sh", self.data)

    def analysis(self) -> str:
        """The command of the plots of embeddings."""
        return self._step("steps/analyse.sh", self.data[:1])

    def training(self) -> str:
        """The command of the training histories."""
        return f"{self.command} --stage 4 --stop-stage 5"

    def _step(self, script: str, data: Sequence[str]) -> str:
        return shlex.join([script, "--seed", str(self.seed), self.exp, " ".join(self.systems), *data])


class TrialListView(NamedTuple):
    """The content of the page for a trial list.

    Attributes:
        name: name of the list.
        curves: scores of the drawn systems.
        judge: the system whose hardest trials are shown.
        hardest: false rejections and false acceptances, or the trials nearest to them.
    """

    name: str
    curves: list[Curve]
    judge: ScoreSet
    hardest: tuple[list[HardTrial], list[HardTrial]]


class Projection(NamedTuple):
    """Projected embeddings of a system and modality: points (N, 2) and identities (N,)."""

    system: str
    modality: str
    points: NDArray
    identities: NDArray


class Content(NamedTuple):
    """The content of the page."""

    results: Results
    origin: Origin
    drawn: Sequence[System]
    views: Sequence[TrialListView]
    geometry: Mapping[str, Sequence[Spread]]
    mechanisms: Mapping[str, Mapping[tuple[str, str], float]]
    projections: Sequence[Projection]
    costs: Mapping[str, Sequence[Cost]]
    histories: Mapping[str, pd.DataFrame]
    sweeps: Sequence[Sweep]
    exhibits: Sequence[Exhibit]


def render(content: Content) -> str:
    """Render the text of the page."""
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"signed": _signed, "breakable": breakable, "code": code}
    colors = _colors(content)
    tables = {tables.name: tables for tables in list_tables(content.results)}
    lists = [_list_section(content, view, tables[view.name]) for view in content.views]
    return environment.get_template("page.html").render(
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),
        script=Markup((folder / "page.js").read_text(encoding="utf-8")),
        first=content.results.first,
        origin=content.origin,
        tiles=_tiles(content),
        lists=lists,
        dashes=[dash_array(number) for number in range(len(COLORS))],
        colors=colors,
        tables=[list.tables for list in lists],
        table=lambda table: html_table(table, colors),
        published=published_table(content.results),
        machine=describe_environment(content.results.environment),
        varies=VARIES,
        geometry=_geometry(content, colors),
        projections=[
            (p, projection_picture(p.points, p.identities, f"Embeddings of {p.system}, {MODALITY_NAMES[p.modality]}"))
            for p in content.projections
        ],
        modality_names=MODALITY_NAMES,
        costs=cost_table(content.results.systems, content.costs),
        training=_training(content, colors),
        trained=list(content.histories),
        omitted=len(content.results.systems) - len(content.drawn),
        swept={system for sweep in content.sweeps for system, _ in sweep.lines},
        sweeps=[_sweep_section(content, sweep, colors) for sweep in content.sweeps],
        exhibits=[(*_explain(exhibit), exhibit, exhibit_table(exhibit)) for exhibit in content.exhibits],
        margin_bar=margin_bar,
    )


def _colors(content: Content) -> dict[str, int]:
    return {system.name: number for number, system in enumerate(content.drawn[: len(COLORS)])}


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


class Tile(NamedTuple):
    """The best system of a kind on the first list."""

    kind: str
    system: System
    eer: float
    low: float
    high: float


def _tiles(content: Content) -> list[Tile]:
    first = content.results.lists[0]
    rows = content.results.of_list(first).set_index("system")
    best = content.results.leaders(first)
    columns = ["eer", "eer_low", "eer_high"]
    return [Tile(kind, best[kind], *rows.loc[best[kind].name, columns]) for kind in KINDS if kind in best]


class ListSection(NamedTuple):
    """One trial list on the page."""

    name: str
    count: str
    md5: str
    tables: ListTables
    det: Markup
    histograms: list[tuple[Curve, Markup]]
    judge: ScoreSet
    fused: bool
    hardest: list[tuple[str, str, list[HardTrial]]]
    reach: float


def _list_section(content: Content, view: TrialListView, tables: ListTables) -> ListSection:
    results = content.results
    ends = common_ends(view.curves)
    histograms = [
        (curve, histogram_picture(curve, ends, f"Scores of {curve.label}: target and non-target trials"))
        for curve in view.curves
    ]
    rejected, accepted = view.hardest
    margins = [abs(o.margin) for trial in (*rejected, *accepted) for o in trial.opinions if o.scored]
    groups = [
        ("False rejections", "Two clips of the same person that the system takes for different persons.", rejected),
        ("False acceptances", "Clips of different persons that the system takes for the same person.", accepted),
    ]
    n_target, n_nontarget = results.most_scored(view.name)
    counts = f"{n_target:,} target and {n_nontarget:,} non-target trials"
    return ListSection(
        view.name,
        "; ".join([counts, *results.gaps(view.name)]),
        results.of_list(view.name)["list_md5"].iloc[0],
        tables,
        det_picture(view.curves, f"DET curves on the trials {view.name}; the figures are in the table of results"),
        histograms,
        view.judge,
        any(system.name == view.judge.system and system.kind in FUSED for system in results.systems),
        groups,
        max(margins, default=1.0),
    )


def _geometry(content: Content, colors: Mapping[str, int]) -> tuple[Markup, Table] | None:
    rows = [
        AngleRow(system.name, colors[system.name], spread)
        for system in content.drawn
        for spread in content.geometry.get(system.name, ())
        if not spread.measure.startswith("silhouette")
    ]
    if not rows:
        return None
    table = geometry_table(content.results.systems, content.geometry, content.mechanisms)
    return angle_picture(rows, "Angles of embeddings; the figures are in the table that follows"), table


def _training(content: Content, colors: Mapping[str, int]) -> list[tuple[str, Markup]]:
    histories = {name: content.histories[name] for name in colors if name in content.histories}
    if not histories:
        return []
    panels = (
        ("loss", 1, "Training loss"),
        ("accuracy", 100, "Training accuracy (%)"),
        ("held_out_accuracy", 100, "Accuracy on held-out clips (%)"),
        ("dev_eer", 100, "Development EER (%)"),
        # Of the systems with such a part; see docs/analyses.md.
        ("audio_attention_entropy", 1, "Entropy of the attention to the voice, of its maximum"),
        ("visual_attention_entropy", 1, "Entropy of the attention to the face, of its maximum"),
        ("fusion_audio_weight", 1, "Weight of the voice in the fusion"),
    )
    pictures = []
    for column, factor, title in panels:
        known = {name: h for name, h in histories.items() if column in h and h[column].notna().any()}
        if known:
            pictures.append((title, training_picture(known, colors, column, factor, f"{title} by epoch")))
    return pictures


class SweepSection(NamedTuple):
    """One sweep on one list."""

    title: str
    unit: str
    sweep: Sweep
    picture: Markup | None
    table: Table
    finding: str


def _sweep_section(content: Content, sweep: Sweep, colors: Mapping[str, int]) -> SweepSection:
    kind = CORRUPTIONS.get(sweep.name)
    title = kind.title[0].upper() + kind.title[1:] if kind else sweep.name.replace("_", " ").capitalize()
    if len({other.trials for other in content.sweeps}) > 1:
        title += f", trials {sweep.trials}"
    lines = []
    for system in content.drawn:
        mode = next((mode for mode in MODES if (system.name, mode) in sweep.lines), None)
        if mode:
            lines.append((f"{system.name} {mode}", colors[system.name], sweep.lines[system.name, mode]))
    picture = sweep_picture(lines, sweep.levels, f"Equal error rates by level of {title}") if lines else None
    return SweepSection(title, kind.unit if kind else "", sweep, picture, sweep_table(sweep), _finding(sweep))


def _finding(sweep: Sweep) -> str:
    """A sentence on where fusion is better than the best single modality; empty if that is unknown."""
    fused = sweep.differences
    if not fused:
        return ""
    won = [any(sweep.helps(key, level) for key in fused) for level in range(len(sweep.levels))]
    lost = [level for level, better in zip(sweep.levels, won, strict=True) if not better]
    who = next(iter(fused))[0] if len(fused) == 1 else f"At least one of {len(fused)} fused systems"
    text = f"{who} is significantly below the best single modality at"
    if not any(won):
        who = who if len(fused) == 1 else "No fused system"
        verb = "is not" if len(fused) == 1 else "is"
        return f"{who} {verb} significantly below the best single modality at any level."
    if not lost:
        return f"{text} every level."
    return f"{text} {sum(won)} of {len(won)} levels, not at {', '.join(lost)}."


_EXPLAINED = {
    "attention": (
        "Attention of {system}",
        "The temporal attention of voice and face over a clip of 0.8 s: logits before and after enhancement, with one"
        " row per channel, and the weights of both. The table contains the correlation of the two weights in every"
        " clip: if it is negative, one modality attends where the other does not.",
    ),
    "identities": (
        "Angles by identity",
        "Angles between voice and face of a clip, between two voices and between two faces of an identity, for every"
        " system: quartiles with the median, and lines from 5 to 95 %. The folder of the run has a table of all"
        " identities.",
    ),
    "hard": (
        "Hard utterances",
        "The utterances with the most errors of the best voice and face systems, projected with t-SNE, each connected"
        " to the centroid of its identity. Circles mark outliers, which are nearer to the centroid of another identity."
        " The table contains the share of errors in the trials of each utterance, and 1 for an outlier of a system.",
    ),
}


def _explain(exhibit: Exhibit) -> tuple[str, str]:
    """The title and explanation of a known exhibit, otherwise its name in the folder of the run."""
    folder, _, stem = exhibit.name.rpartition("/")
    if stem not in _EXPLAINED:
        return exhibit.name, ""
    title, text = _EXPLAINED[stem]
    return title.format(system=folder.split("/")[0]), text
