"""Write the results of a run: results.csv and other tables, RESULTS.md, plots; print tables to the console."""

import argparse
import json
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import system_names
from avsv.results.conditions import ConditionRow, evaluate_conditions
from avsv.results.curves import det_lines, plot_training
from avsv.results.differences import Comparison, compare, read_members
from avsv.results.document import to_console, to_markdown
from avsv.results.environment import record_environment
from avsv.results.frames import to_csv
from avsv.results.model import Results
from avsv.results.plots import det_plot
from avsv.results.rates import Row, Run, evaluate
from avsv.results.style import COLORS
from avsv.results.thresholds import OperatingPoint, apply_thresholds
from avsv.scoring.scorer import labeled_sets


def main() -> None:
    """Evaluate everything, write the tables as CSV, then the documents and plots made from them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="name of the corpus")
    parser.add_argument("--preset", required=True, help="name of the preset")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run, also for the draws of speakers")
    parser.add_argument("--git", required=True, help="revision of the code")
    parser.add_argument("--command", required=True, help="command that repeats the run")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of speakers for the intervals")
    parser.add_argument("--published", type=Path, help="csv of published figures for comparison")
    parser.add_argument(
        "--systems", required=True, type=system_names, help="systems and ensembles, separated by blanks"
    )
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("results", type=Path, help="folder to write to")
    parser.add_argument("data", nargs="+", help="data directories whose trial lists are reported")
    args = parser.parse_args()
    if args.resamples < 2:
        raise DataError(f"--resamples {args.resamples}: an interval needs at least 2 draws, preferably 1000")

    run = Run(args.corpus, args.preset, args.seed, args.git, args.resamples, args.command)
    systems = args.systems
    sets = labeled_sets(args.data)
    ensembles = read_members(args.exp)
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
    lists = [trials for trial_set in sets for trials in trial_set.lists]
    sizes = {trials.name: len(trials.enroll) for trials in lists}
    results = Results.load(args.results, ensembles, args.published, sizes)
    det_plot(args.results / "det.png", det_lines(args.exp, results, lists))
    which = f"the {len(COLORS)} best systems'" if len(systems) > len(COLORS) else "each system's"
    figures = [(f"DET curves of {which} widest mode", "det.png")]
    figures += plot_training(args.exp, systems, args.results)
    write_text(args.results / "table.txt", to_console(results))
    write_text(args.results / "RESULTS.md", to_markdown(results, run, figures))


if __name__ == "__main__":
    run_command(main)
