"""The report of a run: one HTML file with everything to look at and to listen to."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from avsv.bin.command import run_command
from avsv.bin.results import read_history
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.report.exhibits import is_sweep, read_exhibits, sweeps_of
from avsv.report.gather import (
    Cost,
    Point,
    ScoreSet,
    System,
    chosen_systems,
    leaders,
    read_geometry,
    read_rows,
    read_score_set,
    systems_of,
)
from avsv.report.hardest import hardest_trials
from avsv.report.media import ClipReader
from avsv.report.page import Content, Origin, Projection, TrialListView, render
from avsv.report.svg import COLOURS, Curve
from avsv.results.conditions import ConditionRow
from avsv.results.differences import Comparison, read_members
from avsv.results.published import read_published
from avsv.results.rates import Row
from avsv.results.thresholds import OperatingPoint
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.trials import TrialList

HARDEST = 8  # trials of either kind of error, on all lists together
LEAST = 4  # of them on each list


def main() -> None:
    """Read a finished run, write ``report.html``, print its size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the run")
    parser.add_argument("--command", required=True, help="what makes the run again")
    parser.add_argument("--published", type=Path, help="csv of published figures to show beside ours")
    parser.add_argument("--systems", required=True, help="trained systems, separated by blanks")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("results", type=Path, help="folder with results.csv, to write to")
    parser.add_argument("data", nargs="+", help="data directories whose trial lists are reported")
    args = parser.parse_args()

    rows = read_rows(args.results / "results.csv", Row)
    if not rows:
        raise DataError(f"{args.results}/results.csv: no results: make them first")
    differences, conditions = args.results / "differences.csv", args.results / "conditions.csv"
    thresholds = args.results / "thresholds.csv"
    systems = systems_of(rows, read_members(args.exp / "ensembles"))
    drawn = chosen_systems(rows, systems, COLOURS)
    sets = [(trial_set, Path(data)) for trial_set, data in zip(read_trial_sets(args.data), args.data, strict=True)]
    total = sum(len(trial_set.lists) for trial_set, _ in sets)
    views = [
        view_list(args.exp, rows, systems, drawn, trials, ClipReader(data), max(LEAST, HARDEST // total))
        for trial_set, data in sets
        for trials in trial_set.lists
    ]
    trained = [system.name for system in systems if (args.exp / system.name / "train.csv").is_file()]
    exhibits = read_exhibits(args.exp, [system.name for system in systems])
    content = Content(
        rows,
        Origin(args.command, args.exp.name, [Path(d).name for d in args.data], args.systems.split(), args.seed),
        systems,
        drawn,
        views,
        read_rows(differences, Comparison) if differences.is_file() else [],
        read_rows(conditions, ConditionRow) if conditions.is_file() else [],
        read_rows(thresholds, OperatingPoint) if thresholds.is_file() else [],
        read_published(args.published) if args.published else [],
        {system.name: read_geometry(args.exp / system.name / "analysis" / "geometry.csv") for system in systems},
        projections(args.exp, leaders(rows, systems, rows[0].trials)),
        {
            system.name: read_rows(path, Cost)
            for system in systems
            if (path := args.exp / system.name / "analysis" / "cost.csv").is_file()
        },
        {name: read_history(args.exp / name / "train.csv") for name in trained},
        [sweep for exhibit in exhibits if is_sweep(exhibit.columns) for sweep in sweeps_of(exhibit)],
        [exhibit for exhibit in exhibits if not is_sweep(exhibit.columns)],
    )
    page = args.results / "report.html"
    write_text(page, render(content))
    print(f"{page}: {page.stat().st_size / 1e6:.2f} MB")


def view_list(
    exp: Path,
    rows: Sequence[Row],
    systems: Sequence[System],
    drawn: Sequence[System],
    trials: TrialList,
    clips: ClipReader,
    count: int,
) -> TrialListView:
    """What is shown of one trial list: the drawn systems' scores and the hardest trials of the best fused one."""
    scores = {system: read_score_set(exp, system.name, system.mode, trials) for system in drawn}
    curves = [Curve(scores[s], number) for number, s in enumerate(drawn) if scores[s] is not None]
    best = leaders(rows, systems, trials.name)

    def of(group: str) -> ScoreSet | None:
        system = best.get(group)
        if system and system not in scores:
            scores[system] = read_score_set(exp, system.name, system.mode, trials)
        return scores[system] if system else None

    judge = of("fused") or of("all")
    if judge is None or not curves:
        raise DataError(f"{trials.path}: no system has scores of this list: score it first")
    shown = [curve.scores for curve in curves]
    hardest = hardest_trials(trials, judge, shown, of("voice"), of("face"), clips, count)
    return TrialListView(trials.name, curves, judge, hardest)


def projections(exp: Path, best: Mapping[str, System]) -> list[Projection]:
    """What the analysis drew of the best trained system of every kind."""
    found = []
    for system in dict.fromkeys(best[kind].name for kind in ("voice", "face", "voice and face") if kind in best):
        path = exp / system / "analysis" / "projection.csv"
        points = read_rows(path, Point) if path.is_file() else []
        for modality in dict.fromkeys(point.modality for point in points):
            mine = [point for point in points if point.modality == modality]
            places = np.array([(point.x, point.y) for point in mine])
            found.append(Projection(system, modality, places, np.array([point.identity for point in mine])))
    return found


if __name__ == "__main__":
    run_command(main)
