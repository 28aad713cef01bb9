"""Write the report of a run: one HTML file with tables, plots, pictures and sound."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.io.atomic import write_text
from avsv.io.names import system_names
from avsv.report.content import read_content
from avsv.report.page import Origin, render
from avsv.results.differences import read_members
from avsv.results.model import Results
from avsv.scoring.scorer import labeled_sets


def main() -> None:
    """Read a finished run, write ``report.html`` and print its size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="seed of the run")
    parser.add_argument("--command", required=True, help="command that repeats the run")
    parser.add_argument("--published", type=Path, help="csv of published figures for comparison")
    parser.add_argument("--systems", required=True, type=system_names, help="trained systems, separated by blanks")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("results", type=Path, help="folder with results.csv, to write to")
    parser.add_argument("data", nargs="+", help="data directories whose trial lists are reported")
    args = parser.parse_args()

    trial_sets = labeled_sets(args.data)
    folders = [Path(data) for data in args.data]
    lists = [(trials, data) for found, data in zip(trial_sets, folders, strict=True) for trials in found.lists]
    sizes = {trials.name: len(trials.enroll) for trials, _ in lists}
    results = Results.load(args.results, read_members(args.exp), args.published, sizes)
    origin = Origin(args.command, str(args.exp), args.data, args.systems, args.seed)
    page = args.results / "report.html"
    write_text(page, render(read_content(args.exp, results, lists, origin)))
    print(f"{page}: {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    run_command(main)
