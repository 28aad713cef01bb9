"""Systems trained with several seeds: mean error rates and differences, with intervals over speakers and seeds.

The systems and contrasts are those of --systems and --pairs, or those of a study (conf/studies/NAME.yaml).
"""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.model.study import read_study
from avsv.results.frames import to_csv
from avsv.results.markdown import markdown_table
from avsv.results.seeds import (
    SeedContrast,
    SeedRow,
    compare_seeds,
    contrasts_table,
    parse_entry,
    parse_pair,
    seeds_table,
)
from avsv.results.study import write_page
from avsv.scoring.scorer import labeled_sets


def main() -> None:
    """Evaluate and compare; print a table per trial list, and write files to the folder of --out."""
    args = parse_arguments()
    study = None
    if args.study is not None:
        study = read_study(args.study, [path.stem for path in (args.study.parent.parent / "systems").glob("*.yaml")])
    if args.list_seeds:
        print(*study.seeds)
        return
    systems = [parse_entry(word) for word in (study.variants if study else args.systems.split())]
    pairs = [tuple(map(parse_entry, pair)) for pair in study.contrasts] if study else []
    pairs += [parse_pair(word) for word in args.pairs.split()]
    if not systems and not pairs:
        raise DataError("nothing to compare: name systems with --systems, contrasts with --pairs, or a study")

    sets = labeled_sets(args.data)
    rows, contrasts = compare_seeds(args.runs, systems, pairs, sets, args.stage, args.resamples, args.draw_seed)
    lines = []
    for trials in dict.fromkeys(row.trials for row in rows):
        tables = [seeds_table([row for row in rows if row.trials == trials])]
        if contrasts:
            tables.append(contrasts_table([row for row in contrasts if row.trials == trials]))
        for table in tables:
            lines += [f"{table.caption} (trials {trials}, scores {args.stage})", "", *markdown_table(table), ""]
    print(*lines, sep="\n")
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(args.out / "seeds.csv", to_csv(rows, SeedRow))
        write_text(args.out / "seed_differences.csv", to_csv(contrasts, SeedContrast))
        if study is None:
            write_text(args.out / "SEEDS.md", "\n".join(["# Seeds", "", *lines]))
        else:
            write_page(args.out, study, args.runs, rows, contrasts, args.stage)


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command; ends the program if they do not fit together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, help="conf/studies/NAME.yaml")
    parser.add_argument("--list-seeds", action="store_true", help="only print the seeds of the study")
    parser.add_argument("--systems", default="", help="like 'ecapa ssa/AxA'; default: those of --pairs")
    parser.add_argument("--pairs", default="", help="contrasts chosen beforehand, like 'ssa:ecapa jap:ssa'")
    parser.add_argument("--data", nargs="+", help="data directories with trial lists")
    parser.add_argument("--stage", default="asnorm", help="scores to compare: asnorm, cos, llr, plda, ...")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of speakers")
    parser.add_argument("--draw-seed", type=int, default=0, help="of the draws of speakers")
    parser.add_argument("--out", type=Path, help="folder for seeds.csv and seed_differences.csv; default: only print")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders, one per seed, like exp/seed0/mini")
    args = parser.parse_args()
    if args.list_seeds and args.study is None:
        parser.error("--list-seeds needs --study")
    if not args.list_seeds and not (args.data and args.runs):
        parser.error("--data and the run folders are needed")
    if args.resamples < 2:
        raise DataError(f"--resamples {args.resamples}: a spread needs at least 2, better 1000")
    return args


if __name__ == "__main__":
    run_command(main)
