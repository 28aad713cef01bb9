"""``avsv eval``: error rates of score files of any toolkit."""

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from avsv.cli.lost import add_max_lost
from avsv.cli.shared import align, check_output
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.results.evaluation import (
    Evaluation,
    PairedDifference,
    check_labels,
    compare_scores,
    evaluate_scores,
    find_speakers,
    scores_of_trials,
)
from avsv.scoring.score_file import LABELED_LAYOUTS, SCORE_LAYOUTS, LabeledTrials, read_score_file, read_trial_list

DESCRIPTION = """Error rates of score files of any toolkit: EER with a 95 % interval by resampling speakers, detection
costs, Cllr, paired differences between the files, and a DET plot. Reads 'enroll test score' (this toolkit, Kaldi),
'enroll test score label ...' (WeSpeaker), 'enroll test label score' (3D-Speaker) and 'label enroll test score'
(VoxCeleb), and trial lists 'enroll test label' or 'label enroll test'. A label is target or nontarget, 1 or 0."""


def add_command(commands) -> None:
    """Add the command ``eval``."""
    parser = commands.add_parser("eval", help="error rates of score files of any toolkit", description=DESCRIPTION)
    parser.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="score file")
    parser.add_argument("--trials", type=Path, help="trial list with labels; default: the labels in the score files")
    parser.add_argument("--utt2spk", type=Path, help="speakers of the utterances; default: the beginning of their ids")
    parser.add_argument("--layout", choices=SCORE_LAYOUTS, help="columns of the score files, if several layouts fit")
    parser.add_argument("--trials-layout", choices=LABELED_LAYOUTS, help="columns of the trial list, likewise")
    add_max_lost(parser, "trials without a score")
    parser.add_argument(
        "--prior",
        type=float,
        nargs="+",
        default=[0.01, 0.05],
        help="prior probabilities of targets for the costs (0.01 0.05)",
    )
    parser.add_argument("--resamples", type=int, default=1000, help="draws of speakers for the intervals (1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of these draws (0)")
    parser.add_argument("--det", type=Path, metavar="FILE.png", help="write a plot of the DET curves")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Evaluate the files and print or write the requested results."""
    if args.resamples < 2:
        raise DataError(f"--resamples {args.resamples}: an interval needs at least 2 draws, preferably 1000")
    for prior in args.prior:
        if not 0 < prior < 1:
            raise DataError(f"--prior {prior}: must be between 0 and 1")
    if args.det:
        lists = [path for path in (args.trials, args.utt2spk) if path is not None]
        check_output(args.det, (".png",), [*args.scores, *lists])
    source = args.trials or args.scores[0]
    trials = read_trial_list(source, args.trials_layout) if args.trials else _labels(source, args.layout)
    scores = {str(path): _scores(path, trials, source, args) for path in args.scores}
    utt2spk = read_list(args.utt2spk, fields=2) if args.utt2spk else None
    speakers = find_speakers(trials, utt2spk, str(args.utt2spk))
    results = {
        name: evaluate_scores(name, values, trials, speakers, args.prior, args.resamples, args.seed)
        for name, values in scores.items()
    }
    differences = []
    if speakers is not None:
        for a, b in itertools.combinations(scores, 2):
            pair, draws = (scores[a], scores[b]), (results[a][1], results[b][1])
            differences.append(compare_scores((a, b), pair, trials, speakers, args.resamples, args.seed, draws))
    rows = [row for row, _ in results.values()]
    if args.det:
        _plot(args.det, source, scores, trials)
    if args.json:
        report = {
            "trials": str(source),
            "speakers": speakers and speakers.source,
            "priors": args.prior,
            "scores": [row._asdict() for row in rows],
            "differences": [row._asdict() for row in differences],
        }
        print(json.dumps(report, indent=2))
        return
    print(f"{len(trials.enroll)} trials of {source}: {trials.is_target.sum()} target")
    print(_table(rows, args.prior))
    if differences:
        print("\n" + _differences(differences))
    if speakers is None:
        print("no intervals: the ids do not begin with their speakers: use --utt2spk", file=sys.stderr)
    else:
        count = len(np.union1d(speakers.enroll, speakers.test))
        print(f"\nintervals from {args.resamples} draws of {count} speakers ({speakers.source})")
    print("actDCF and Cllr assume that scores are natural logarithms of likelihood ratios")


def _labels(path: Path, layout: str | None) -> LabeledTrials:
    """The trials of a score file with labels; DataError if it has none."""
    scored = read_score_file(path, layout)
    if scored.is_target is None:
        raise DataError(f"{path}: contains no labels: give the trial list with --trials")
    return LabeledTrials(scored.enroll, scored.test, scored.is_target)


def _scores(path: Path, trials: LabeledTrials, source: Path, args: argparse.Namespace) -> np.ndarray:
    """The scores of the trials from one file; DataError if labels differ or too many scores are missing."""
    scored = read_score_file(path, args.layout)
    if scored.is_target is None and args.trials is None:
        raise DataError(f"{path}: contains no labels: give the trial list with --trials")
    check_labels(path, scored, trials)
    scores = scores_of_trials(path, scored, trials)
    lost = int(np.isnan(scores).sum())
    if lost > args.max_lost * len(scores):
        raise DataError(
            f"{path}: {lost} of {len(scores)} trials of {source} have no score, more than a share of {args.max_lost:g}"
            " (--max-lost)"
        )
    return scores


def _short(paths: list[str]) -> dict[str, str]:
    """The paths without their common folders."""
    folders = [Path(path).parts[:-1] for path in paths]
    levels = zip(*folders, strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    return {path: str(Path(*Path(path).parts[shared:])) for path in paths}


def _table(rows: list[Evaluation], priors: list[float]) -> str:
    costs = [f"{kind} {prior:g}" for kind in ("minDCF", "actDCF") for prior in priors]
    head = ["", "EER %", "95 % interval", *costs, "Cllr", "minCllr", "trials"]
    cells, short = [], _short([row.name for row in rows])
    for row in rows:
        interval = "" if row.eer_low is None else f"{row.eer_low:.3f} - {row.eer_high:.3f}"
        figures = [_figure(value) for value in (*row.min_dcf, *row.actual_dcf, row.cllr, row.min_cllr)]
        cells.append([short[row.name], f"{row.eer:.3f}", interval, *figures, str(row.n_target + row.n_nontarget)])
    return align([head, *cells])


def _figure(value: float) -> str:
    """A cost with four decimals, or with four digits where it is huge, as of scores that are no likelihood ratios."""
    return f"{value:.4f}" if value < 1e6 else f"{value:.4g}"


def _differences(rows: list[PairedDifference]) -> str:
    head = ["a", "b", "EER % a - b", "95 % interval", "p", "trials"]
    short, cells = _short([name for row in rows for name in (row.a, row.b)]), []
    for row in rows:
        interval = f"{row.low:+.3f} to {row.high:+.3f}"
        figures = [f"{row.difference:+.3f}", interval, f"{row.p:.4f}", str(row.trials)]
        cells.append([short[row.a], short[row.b], *figures])
    return align([head, *cells])


def _plot(path: Path, source: Path, scores: dict[str, np.ndarray], trials: LabeledTrials) -> None:
    from avsv.results.plots import DetLine, det_plot

    lines = []
    for number, (name, values) in enumerate(scores.items()):
        known = ~np.isnan(values)
        lines.append(DetLine(name, values[known], trials.is_target[known], number))
    det_plot(path, {source.name: lines})
