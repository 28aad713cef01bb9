"""The results of a run: results.csv and other tables, RESULTS.md, curves, and the table for a console."""

import argparse
import json
from pathlib import Path

import pandas as pd

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import system_names
from avsv.results.conditions import ConditionRow, evaluate_conditions
from avsv.results.differences import Comparison, compare, read_members
from avsv.results.document import to_console, to_markdown
from avsv.results.environment import record_environment
from avsv.results.frames import to_csv
from avsv.results.model import Results
from avsv.results.plots import DetLine, det_plot, training_plot
from avsv.results.rates import Row, Run, evaluate
from avsv.results.scores import read_trial_scores, score_files
from avsv.results.style import COLORS
from avsv.results.thresholds import OperatingPoint, apply_thresholds
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.trials import TrialSet


def main() -> None:
    """Evaluate everything, write the tables as CSV, then what is made from them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="its name")
    parser.add_argument("--preset", required=True, help="its name")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run, also of the drawn speakers")
    parser.add_argument("--git", required=True, help="revision of the code")
    parser.add_argument("--command", required=True, help="what makes the results again")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of speakers for the intervals")
    parser.add_argument("--published", type=Path, help="csv of published figures to show beside ours")
    parser.add_argument(
        "--systems", required=True, type=system_names, help="systems and ensembles, separated by blanks"
    )
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("results", type=Path, help="folder to write to")
    parser.add_argument("data", nargs="+", help="data directories whose trial lists are reported")
    args = parser.parse_args()
    if args.resamples < 2:
        raise DataError(f"--resamples {args.resamples}: an interval needs at least 2 draws, better 1000")

    run = Run(args.corpus, args.preset, args.seed, args.git, args.resamples, args.command)
    systems = args.systems
    sets = read_trial_sets(args.data)
    ensembles = read_members(args.exp / "ensembles")
    tables = {
        "results": (evaluate(args.exp, systems, sets, run), Row),
        "differences": (compare(args.exp, systems, ensembles, sets, run), Comparison),
        "conditions": (evaluate_conditions(args.exp, systems, sets, args.data, run), ConditionRow),
        "thresholds": (apply_thresholds(args.exp, systems, sets, run), OperatingPoint),
    }
    environment = record_environment(args.exp, systems)
    args.results.mkdir(parents=True, exist_ok=True)
    for name, (rows, kind) in tables.items():
        write_text(args.results / f"{name}.csv", to_csv(rows, kind))
    write_text(args.results / "environment.json", json.dumps(environment, indent=1) + "\n")
    sizes = {trials.name: len(trials.enroll) for trial_set in sets for trials in trial_set.lists}
    results = Results.load(args.results, ensembles, args.published, sizes)
    det_plot(args.results / "det.png", det_lines(args.exp, results, sets))
    which = f"the {len(COLORS)} best systems'" if len(systems) > len(COLORS) else "each system's"
    figures = [(f"DET curves of {which} widest mode", "det.png")]
    figures += training_plots(args.exp, systems, args.results)
    write_text(args.results / "table.txt", to_console(results))
    write_text(args.results / "RESULTS.md", to_markdown(results, run, figures))


def training_plots(exp: Path, systems: list[str], results: Path) -> list[tuple[str, str]]:
    """Plot the training histories, as many systems in a picture as there are colors; captions and file names."""
    trained = [system for system in systems if (exp / system / "train.csv").is_file()]
    figures = []
    for first in range(0, len(trained), len(COLORS)):
        shown = trained[first : first + len(COLORS)]
        name = f"training{first // len(COLORS) + 1 if first else ''}.png"
        training_plot(results / name, {system: read_history(exp / system / "train.csv") for system in shown})
        figures.append(("Training: loss, accuracy, development EER", name))
    return figures


def det_lines(exp: Path, results: Results, sets: list[TrialSet]) -> dict[str, list[DetLine]]:
    """Per trial list the normalized scores (raw ones where there are no others) of its best systems' widest modes."""
    panels = {}
    for trials in (trials for trial_set in sets for trials in trial_set.lists):
        lines = []
        for number, system in enumerate(results.leading(trials.name, len(COLORS))):
            files = score_files(exp / system / "scores" / trials.name)
            widest = {path.suffix: path for path in files if path.stem == files[0].stem}
            scores = read_trial_scores(widest.get(".asnorm", files[0]), trials)
            lines.append(DetLine(f"{system} {files[0].stem}", scores.values, scores.is_target, number))
        panels[trials.name] = lines
    return panels


def read_history(path: Path) -> pd.DataFrame:
    """The columns of a train.csv that are plotted; NaN where a field is empty."""
    try:
        return pd.read_csv(path, usecols=["epoch", "loss", "accuracy", "dev_eer"], dtype=float)
    except ValueError as error:
        raise DataError(f"{path}: not a training history: {error}: train again") from error


if __name__ == "__main__":
    run_command(main)
