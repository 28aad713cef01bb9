"""Tables of the report with the results of analyses and sweeps."""

from collections.abc import Mapping, Sequence

from avsv.analysis.rows import Cost
from avsv.corruption.table import KINDS as CORRUPTIONS
from avsv.report.exhibits import MAX_ROWS, Difference, Exhibit, Rate, Sweep
from avsv.report.gather import Spread
from avsv.results.model import System
from avsv.results.plots import MODALITY_NAMES
from avsv.results.table import Cell, Column, Table, number, text, with_interval

MECHANISMS = {
    "attention": "Rank correlation over time of the attention with the true worth of the moments",
    "averaging": "Correlation of fused cosines with the means of those of voice and face",
    "null": "Distance of embeddings without the other modality from their mean over that of others, as a share of the"
    " deviation from this mean; 0: a missing modality is represented by its mean",
}


def geometry_table(
    systems: Sequence[System],
    geometry: Mapping[str, Sequence[Spread]],
    mechanisms: Mapping[str, Mapping[tuple[str, str], float]],
) -> Table:
    """Medians of angles, mean silhouettes, attention and averaging of all systems and modalities."""
    cells = []
    for system in systems:
        spreads = {(s.modality, s.measure): s for s in geometry.get(system.name, ())}
        for modality in dict.fromkeys(modality for modality, _ in spreads if modality in MODALITY_NAMES):
            measures = "within", "between", "silhouette", "silhouette of the UMAP"
            within, between, silhouette, projected = (spreads.get((modality, m)) for m in measures)
            across = spreads.get(("A-V", "same clip")) if modality == "AV" else None
            cells.append(
                [
                    text(system.name),
                    Cell(MODALITY_NAMES[modality], order=modality),
                    number(within.median if within else None, 1),
                    number(between.median if between else None, 1),
                    number(silhouette.mean if silhouette else None, 3),
                    number(projected.mean if projected else None, 3),
                    number(across.median if across else None, 1),
                    *(number(mechanisms[system.name].get((modality, kind)), 2) for kind in MECHANISMS),
                ]
            )
    columns = [
        Column("system", "system"),
        Column("embedding", "text"),
        Column("within °", explained="Median angle between utterances of one identity"),
        Column("between °", explained="Median angle between centroids of two identities"),
        Column("silhouette", explained="Mean over utterances, from -1 to 1; higher is better separated"),
        Column("in the plane", explained="Mean silhouette of the points of the UMAP"),
        Column("voice to face °", explained="Median angle between voice and face embedding of a clip"),
        *(Column(name, explained=explained) for name, explained in MECHANISMS.items()),
    ]
    return Table("Embeddings", "Medians of angles and mean silhouettes of all systems", columns, cells)


def cost_table(systems: Sequence[System], measured: Mapping[str, Sequence[Cost]]) -> Table | None:
    """Size and speed of the networks; None if no system has been measured."""
    cells = []
    for name in (system.name for system in systems if system.name in measured):
        costs = {cost.part: cost for cost in measured[name]}
        parts = [costs.get(part) for part in ("audio", "visual", "fusion")]
        cells.append(
            [
                text(name),
                _quantity(costs["all"].parameters / 1e6),
                *(_quantity(part.parameters / 1e6 if part else None) for part in parts),
                _quantity(costs["all"].multiply_adds / 1e9),
                _quantity(costs["all"].seconds),
            ]
        )
    columns = [
        Column("system", "system"),
        Column("parameters, millions", explained="Without the classifiers of the training"),
        Column("of the voice"),
        Column("of the face"),
        Column("of the fusion"),
        Column("multiply-adds, billions", explained="Of matrix products and convolutions"),
        Column("seconds", explained="Of processor time with one thread, on the machine of the measurement"),
    ]
    return Table("Cost", "Cost of embedding a clip", columns, cells) if cells else None


def _quantity(value: float | None) -> Cell:
    """A number with three significant digits."""
    if value is None:
        return Cell()
    return Cell(f"{value:.3g}" if value < 1000 else f"{value:,.0f}", order=value)


def sweep_table(sweep: Sweep) -> Table:
    """Error rates of all systems and modes by level, and differences from the best single modality."""
    cells = []
    for key, rates in sweep.lines.items():
        shown = [_rate(rate, sweep.helps(key, level)) for level, rate in enumerate(rates)]
        cells.append([text(key[0]), text(key[1]), *shown])
    for (system, mode), differences in sweep.differences.items():
        shown = [_difference(difference) for difference in differences]
        cells.append([text(system), Cell(f"{mode} − best single", order=f"{mode} -"), *shown])
    columns = [Column("system", "system"), Column("mode", "text"), *(Column(level) for level in sweep.levels)]
    unit = CORRUPTIONS[sweep.name].unit if sweep.name in CORRUPTIONS else "level"
    caption = (
        f"EER % and its 95 % interval by {unit}; bold if voice and face together are below the best single modality,"
        " including the whole interval of the difference, which is shown below with the name of that modality"
    )
    return Table(sweep.name, caption, columns, cells)


def _rate(rate: Rate | None, better: bool) -> Cell:
    if rate is None:
        return Cell()
    cell = with_interval(*rate)
    return Cell(cell.text, cell.detail, cell.order, "best" if better else "")


def _difference(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell()
    detail = f"{difference.low:+.2f} to {difference.high:+.2f}, {difference.single}"
    return Cell(f"{difference.value:+.2f}", detail, difference.value, "best" if difference.high < 0 else "")


def exhibit_table(exhibit: Exhibit) -> Table | None:
    """A table with unknown columns, which are numeric if they contain only numbers; None if there is no table."""
    if not exhibit.columns:
        return None
    numeric = [all(_is_number(row[c]) for row in exhibit.rows if row[c]) for c in range(len(exhibit.columns))]
    cells = [[Cell(value, order=value or None) for value in row] for row in exhibit.rows[:MAX_ROWS]]
    note = f", the first {MAX_ROWS} of {len(exhibit.rows)} lines" if len(exhibit.rows) > MAX_ROWS else ""
    columns = [Column(name, "number" if n else "words") for name, n in zip(exhibit.columns, numeric, strict=True)]
    return Table(exhibit.name, f"{exhibit.name}.csv{note}", columns, cells)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
