"""The results of a run: results.csv and other tables, RESULTS.md, curves, and the table for a console."""

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_scores
from avsv.results.conditions import ConditionRow, evaluate_conditions
from avsv.results.differences import Comparison, compare, read_members
from avsv.results.plots import COLOURS, DetLine, det_plot, training_plot
from avsv.results.published import read_published
from avsv.results.rates import Run, evaluate, score_files, to_csv
from avsv.results.tables import leading_systems, to_console, to_markdown
from avsv.results.thresholds import OperatingPoint, apply_thresholds
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.trials import TrialSet, places_in


def main() -> None:
    """Evaluate everything and write the results, results.csv last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="its name")
    parser.add_argument("--preset", required=True, help="its name")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run, also of the drawn speakers")
    parser.add_argument("--git", required=True, help="revision of the code")
    parser.add_argument("--command", required=True, help="what makes the results again")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of speakers for the intervals")
    parser.add_argument("--published", type=Path, help="csv of published figures to show beside ours")
    parser.add_argument("--systems", required=True, help="systems and ensembles, separated by blanks")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("results", type=Path, help="folder to write to")
    parser.add_argument("data", nargs="+", help="data directories whose trial lists are reported")
    args = parser.parse_args()
    if args.resamples < 2:
        raise DataError(f"--resamples {args.resamples}: an interval needs at least 2 draws, better 1000")

    run = Run(args.corpus, args.preset, args.seed, args.git, args.resamples, args.command)
    systems = args.systems.split()
    sets = read_trial_sets(args.data)
    published = read_published(args.published) if args.published else []
    rows = evaluate(args.exp, systems, sets, run)
    ensembles = read_members(args.exp / "ensembles")
    comparisons = compare(args.exp, systems, ensembles, sets, run)
    conditions = evaluate_conditions(args.exp, systems, sets, args.data, run)
    points = apply_thresholds(args.exp, systems, sets, run)
    args.results.mkdir(parents=True, exist_ok=True)
    det_plot(args.results / "det.png", det_lines(args.exp, leading_systems(rows, len(COLOURS)), sets))
    which = f"the {len(COLOURS)} best systems'" if len(systems) > len(COLOURS) else "each system's"
    figures = [(f"DET curves of {which} widest mode", "det.png")]
    figures += training_plots(args.exp, systems, args.results)
    sizes = {trials.name: len(trials.enroll) for trial_set in sets for trials in trial_set.lists}
    write_text(args.results / "table.txt", to_console(rows, ensembles, sizes))
    markdown = to_markdown(rows, run, figures, ensembles, comparisons, published, conditions, points, sizes)
    write_text(args.results / "RESULTS.md", markdown)
    write_text(args.results / "conditions.csv", to_csv(conditions, ConditionRow._fields))
    write_text(args.results / "thresholds.csv", to_csv(points, OperatingPoint._fields))
    write_text(args.results / "differences.csv", to_csv(comparisons, Comparison._fields))
    write_text(args.results / "results.csv", to_csv(rows))


def training_plots(exp: Path, systems: list[str], results: Path) -> list[tuple[str, str]]:
    """Plot the training histories, as many systems in a picture as there are colours; captions and file names."""
    trained = [system for system in systems if (exp / system / "train.csv").is_file()]
    figures = []
    for first in range(0, len(trained), len(COLOURS)):
        shown = trained[first : first + len(COLOURS)]
        name = f"training{first // len(COLOURS) + 1 if first else ''}.png"
        training_plot(results / name, {system: read_history(exp / system / "train.csv") for system in shown})
        figures.append(("Training: loss, accuracy, development EER", name))
    return figures


def det_lines(exp: Path, systems: Mapping[str, list[str]], sets: list[TrialSet]) -> dict[str, list[DetLine]]:
    """Per trial list, its systems' normalised scores (raw ones where there are no others) in their widest mode."""
    panels = {}
    for trials in (trials for trial_set in sets for trials in trial_set.lists):
        lines = []
        for system in systems[trials.name]:
            files = score_files(exp / system / "scores" / trials.name)
            widest = {path.suffix: path for path in files if path.stem == files[0].stem}
            path = widest.get(".asnorm", files[0])
            scores = read_scores(path)
            is_target = trials.trials.is_target[places_in(path, scores, trials.trials)]
            lines.append(DetLine(f"{system} {path.stem}", scores.score, is_target))
        panels[trials.name] = lines
    return panels


def read_history(path: Path) -> dict[str, np.ndarray]:
    """The columns of a train.csv that are plotted; NaN where a field is empty."""
    with path.open(newline="") as file:
        records = list(csv.DictReader(file))
    try:
        return {
            name: np.array([float(record[name] or "nan") for record in records])
            for name in ("epoch", "loss", "accuracy", "dev_eer")
        }
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: not a training history: {error}: train again") from error


if __name__ == "__main__":
    run_command(main)
