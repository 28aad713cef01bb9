"""The table of published figures and those of a run."""

import pandas as pd

from avsv.results.model import Results
from avsv.results.published import STAGES
from avsv.results.table import Cell, Column, Table, text
from avsv.scoring.modes import MODES


def published_table(results: Results) -> Table | None:
    """The figures of a run with those published for the same systems; None if there are none for these systems.

    The notes of the table are the conditions of the published figures; the explanation states whether both were
    measured on the same corpus.
    """
    order = {system.name: place for place, system in enumerate(results.systems)}
    shown = results.published[results.published["system"].isin(list(order))]
    if shown.empty:
        return None
    shown = shown.assign(
        place=shown["system"].map(order),
        width=shown["mode"].map(MODES.index),
        source=shown["paper"] + ": " + shown["row"],
        note=shown["table"] + "; " + shown["condition"],
    ).sort_values(["place", "width"], kind="stable")
    theirs = sorted(shown["trials"].unique(), key=lambda name: "OEH".find(name[-1]))
    notes = list(shown["note"].unique())
    ours = _by_stage(results)
    cells = []
    keys = ["system", "mode", "stage", "source", "note"]
    for (system, mode, stage, source, note), part in shown.groupby(keys, sort=False):
        figures = part.set_index(["trials", "metric"])["value"].to_dict()
        cells.append(
            [
                text(system),
                Cell(mode, order=MODES.index(mode)),
                *(_ours(ours, (name, system, mode, stage)) for name in results.lists),
                *(_pair(figures.get((name, "eer")), figures.get((name, "mindcf"))) for name in theirs),
                Cell(source, order=source, note=notes.index(note) + 1),
            ]
        )
    columns = [
        Column("system", "system"),
        Column("mode", "text"),
        *(Column(f"ours, {name}") for name in results.lists),
        *(Column(name) for name in theirs),
        Column("published as", "words"),
    ]
    return Table(
        "Published figures",
        "EER % and minDCF of this run and as published",
        columns,
        cells,
        "EER % (minDCF) of the systems of this run and as published; after score normalization if the published figure"
        f" is, otherwise of raw scores. {_comparable(results, shown)}",
        notes,
    )


def _by_stage(results: Results) -> pd.DataFrame:
    """Our figures by list, system, mode and stage; of an ensemble, whose scores have one stage, they are the same."""
    best = [results.best.assign(stage=stage) for stage in STAGES]
    rows = pd.concat([results.scores[results.scores["stage"] == "cos"], *best])
    return rows.drop_duplicates(["trials", "system", "mode", "stage"]).set_index(["trials", "system", "mode", "stage"])


def _comparable(results: Results, shown: pd.DataFrame) -> str:
    corpora, corpus = " and ".join(shown["corpus"].unique()), results.first.corpus
    # local/prepare_data.sh gives a part of VoxCeleb another name.
    if corpus == "voxceleb":
        return f"The published figures were measured on the lists of {corpora}, our figures on those in the header."
    return (
        f"The published figures were measured on different data: {corpora}, our figures on {corpus}. Neither their size"
        " nor their order can be compared until VoxCeleb itself is used."
    )


def _ours(rows: pd.DataFrame, key: tuple[str, str, str, str]) -> Cell:
    if key not in rows.index:
        return Cell()
    return _pair(f"{rows.loc[key, 'eer']:.2f}", f"{rows.loc[key, 'mindcf']:.3f}")


def _pair(rate: str | None, cost: str | None) -> Cell:
    if rate is None and cost is None:
        return Cell()
    return Cell(rate or "–", cost or "", float(rate) if rate else None)
