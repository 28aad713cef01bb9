"""Everything that the report shows, read from the folders of a finished run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from avsv.analysis.rows import Cost
from avsv.errors import DataError
from avsv.report.exhibits import is_sweep, read_exhibits, sweeps_of
from avsv.report.gather import Point, ScoreSet, read_geometry, read_mechanisms, read_score_set
from avsv.report.hardest import hardest_trials
from avsv.report.media import ClipReader
from avsv.report.page import Content, Origin, Projection, TrialListView
from avsv.report.pictures import Curve
from avsv.results.curves import read_history
from avsv.results.frames import read_frame, records
from avsv.results.model import Results, System
from avsv.results.style import COLORS
from avsv.scoring.trials import TrialList

HARDEST = 8  # trials of either kind of error, on all lists together
LEAST = 4  # of them on each list


def read_content(exp: Path, results: Results, lists: Sequence[tuple[TrialList, Path]], origin: Origin) -> Content:
    """Read what the report shows besides the tables of the results.

    Args:
        exp: folder of the systems.
        results: all tables.
        lists: trial lists, each with its data directory.
        origin: what made the run's figures.

    Raises:
        DataError: a list has no scores; a file of a system is not well formed; a clip cannot be read.
    """
    systems = [system.name for system in results.systems]
    drawn = results.chosen(len(COLORS))
    count = max(LEAST, HARDEST // len(lists))
    views = [_view_list(exp, results, drawn, trials, ClipReader(data), count) for trials, data in lists]
    exhibits = read_exhibits(exp, systems)
    costs = {name: exp / name / "analysis" / "cost.csv" for name in systems}
    histories = {name: exp / name / "train.csv" for name in systems}
    return Content(
        results,
        origin,
        drawn,
        views,
        {name: read_geometry(exp / name / "analysis" / "geometry.csv") for name in systems},
        {name: read_mechanisms(exp / name / "analysis") for name in systems},
        _projections(exp, results.leaders(results.lists[0])),
        {name: records(read_frame(path, Cost), Cost) for name, path in costs.items() if path.is_file()},
        {name: read_history(path) for name, path in histories.items() if path.is_file()},
        [sweep for exhibit in exhibits if is_sweep(exhibit.columns) for sweep in sweeps_of(exhibit)],
        [exhibit for exhibit in exhibits if not is_sweep(exhibit.columns)],
    )


def _view_list(
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


def _projections(exp: Path, best: Mapping[str, System]) -> list[Projection]:
    """The projections that the analysis made for the best trained system of every kind."""
    found = []
    for system in dict.fromkeys(best[kind].name for kind in ("voice", "face", "voice and face") if kind in best):
        path = exp / system / "analysis" / "projection.csv"
        if not path.is_file():
            continue
        for modality, points in read_frame(path, Point).groupby("modality", sort=False):
            found.append(Projection(system, modality, points[["x", "y"]].to_numpy(), points["identity"].to_numpy(str)))
    return found
