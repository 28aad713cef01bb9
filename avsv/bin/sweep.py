"""Measure error rates of systems with corruptions of the test side, in jobs, or --merge them into tables."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.corruption.measure import measure_shares
from avsv.corruption.shares import Plan, Shares
from avsv.corruption.sound import Noises
from avsv.corruption.sweep import Protocol
from avsv.errors import DataError
from avsv.io.names import system_names
from avsv.results.sweeps import Origin, write_sweeps


def parse_arguments() -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("out", type=Path, help="folder for tables and plots")
    parser.add_argument("data", type=Path, nargs="+", help="data directories with trials")
    parser.add_argument("--config", type=Path, required=True, help="conf/sweeps.yaml")
    parser.add_argument("--kinds", default="", help="sweeps to measure (default: all)")
    parser.add_argument("--systems", required=True, type=system_names, help="names, separated by blanks")
    parser.add_argument("--stamps", required=True, help="one per system; measurements with another stamp are not used")
    parser.add_argument("--cohort", type=Path, required=True, help="data directory of the cohort")
    parser.add_argument("--noise-dir", type=Path, help="folder with wav.scp and utt2type")
    parser.add_argument(
        "--corrupted", choices=("test", "both"), default="test", help="sides of a trial that are corrupted"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1000, help="draws of speakers for the intervals")
    parser.add_argument("--top-n", type=int, default=300, help="cohort speakers of adaptive s-norm")
    parser.add_argument("--parts", type=Path, required=True, metavar="DIR", help="folder for the parts of jobs")
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--num-jobs", type=int, default=1)
    parser.add_argument("--merge", action="store_true", help="merge the parts of all jobs")
    parser.add_argument("--corpus", default="")
    parser.add_argument("--preset", default="")
    parser.add_argument("--git", default="none", help="revision of the code")
    parser.add_argument("--gpu", action="store_true", help="compute on a GPU")
    parser.add_argument("--num-workers", type=int, default=0, help="loader processes (0)")
    parser.add_argument("--progress", type=Path, metavar="FILE", help='file to update with "DONE TOTAL"')
    return parser.parse_args()


def main() -> None:
    """Measure, or merge the measurements."""
    args = parse_arguments()
    stamps = args.stamps.split()
    if len(args.systems) != len(stamps):
        raise DataError(f"--stamps: {len(stamps)} for {len(args.systems)} systems")
    noises = Noises(args.noise_dir) if args.noise_dir else None
    plan = Plan.read(args.config, args.kinds.split(), noises)
    shares = Shares(args.parts, dict(zip(args.systems, stamps, strict=True)))
    if not args.merge:
        measure_shares(
            shares.of(plan.chosen),
            Protocol(args.exp, args.cohort, args.data, args.corrupted, args.top_n, args.resamples, args.seed),
            noises,
            args.git,
            job=args.job,
            jobs=args.num_jobs,
            use_gpu=args.gpu,
            num_workers=args.num_workers,
            progress=args.progress,
        )
        return
    # Earlier sweeps that are still valid stay in the tables.
    kept = shares.measured(plan.sweeps)
    shown = {kind: levels for kind, levels in plan.sweeps.items() if kind in plan.chosen or kind in kept}
    left_out = plan.left_out(shown)
    origin = Origin(args.corpus, args.preset, args.corrupted, args.seed)
    verdicts = write_sweeps(args.out, shares.of(shown), shown, args.systems, origin, left_out)
    shares.remove_others(plan.sweeps)
    for line in verdicts + left_out:
        print(line)


if __name__ == "__main__":
    run_command(main)
