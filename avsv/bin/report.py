"""The report of a run: one HTML file with everything to look at and to listen to."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import system_names
from avsv.report.exhibits import is_sweep, read_exhibits, sweeps_of
from avsv.report.gather import Cost, Point, ScoreSet, read_geometry, read_score_set
from avsv.report.hardest import hardest_trials
from avsv.report.media import ClipReader
from avsv.report.page import Content, Origin, Projection, TrialListView, render
from avsv.report.pictures import Curve
from avsv.results.curves import read_history
from avsv.results.differences import read_members
from avsv.results.frames import read_frame, records
from avsv.results.model import Results, System
from avsv.results.style import COLORS
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
    parser.add_argument("--systems", required=True, type=system_names, help="trained systems, separated by blanks")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("results", type=Path, help="folder with results.csv, to write to")
    parser.add_argument("data", nargs="+", help="data directories whose trial lists are reported")
    args = parser.parse_args()

    trial_sets = read_trial_sets(args.data)
    sizes = {trials.name: len(trials.enroll) for trial_set in trial_sets for trials in trial_set.lists}
    results = Results.load(args.results, read_members(args.exp / "ensembles"), args.published, sizes)
    systems = [system.name for system in results.systems]
    drawn = results.chosen(len(COLORS))
    views = [
        view_list(args.exp, results, drawn, trials, ClipReader(Path(data)), max(LEAST, HARDEST // len(sizes)))
        for trial_set, data in zip(trial_sets, args.data, strict=True)
        for trials in trial_set.lists
    ]
    exhibits = read_exhibits(args.exp, systems)
    costs = {name: args.exp / name / "analysis" / "cost.csv" for name in systems}
    histories = {name: args.exp / name / "train.csv" for name in systems}
    content = Content(
        results,
        Origin(args.command, args.exp.name, [Path(d).name for d in args.data], args.systems, args.seed),
        drawn,
        views,
        {name: read_geometry(args.exp / name / "analysis" / "geometry.csv") for name in systems},
        projections(args.exp, results.leaders(results.lists[0])),
        {name: records(read_frame(path, Cost), Cost) for name, path in costs.items() if path.is_file()},
        {name: read_history(path) for name, path in histories.items() if path.is_file()},
        [sweep for exhibit in exhibits if is_sweep(exhibit.columns) for sweep in sweeps_of(exhibit)],
        [exhibit for exhibit in exhibits if not is_sweep(exhibit.columns)],
    )
    page = args.results / "report.html"
    write_text(page, render(content))
    print(f"{page}: {page.stat().st_size / 1e6:.2f} MB")


def view_list(
    exp: Path, results: Results, drawn: Sequence[System], trials: TrialList, clips: ClipReader, count: int
) -> TrialListView:
    """What is shown of one trial list: the drawn systems' scores and the hardest trials of the best fused one."""
    scores = {system: read_score_set(exp, system.name, system.mode, trials) for system in drawn}
    curves = [Curve(scores[s], number) for number, s in enumerate(drawn) if scores[s] is not None]
    best = results.leaders(trials.name)

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
        if not path.is_file():
            continue
        for modality, points in read_frame(path, Point).groupby("modality", sort=False):
            found.append(Projection(system, modality, points[["x", "y"]].to_numpy(), points["identity"].to_numpy(str)))
    return found


if __name__ == "__main__":
    run_command(main)
