"""Error rates of systems under corruptions of the test side: one job's share of them, or --merge into tables."""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from avsv.bin.command import run_command
from avsv.config.strict import nearest
from avsv.corruption.kinds import Corruption, Level, conditions, format_level, read_sweeps, why_impossible
from avsv.corruption.sound import Noises
from avsv.corruption.table import KINDS
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import system_names
from avsv.results.frames import to_csv
from avsv.results.sweeps import (
    CLEAN,
    Drawn,
    SweepRow,
    beside_best_single,
    by_list,
    count_verdicts,
    sort_rows,
    sweep_plot,
    sweep_tables,
)


class Share:
    """What one system gives under one corruption, as a file that is whole or not there.

    Args:
        folder: of all such files.
        system: its name.
        stamp: changes when what the system's rates depend on does.
        condition: kind and level; None without corruption.
    """

    def __init__(self, folder: Path, system: str, stamp: str, condition: tuple[str, Level] | None) -> None:
        self.system, self.condition = system, condition
        name = CLEAN if condition is None else f"{condition[0]} {format_level(condition[1])}"
        digest = hashlib.md5(f"{stamp} {name}".encode(), usedforsecurity=False).hexdigest()[:12]
        self.path = folder / f"{system}.{name.replace(' ', '_')}.{digest}.json"

    def read(self) -> list[dict]:
        """The rates."""
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such file: run the sweep again")
        return json.loads(self.path.read_text())


Sweeps = Mapping[str, tuple[Level, ...]]


def possible_sweeps(config: Path, noises: Noises | None) -> tuple[Sweeps, dict[str, list[str]]]:
    """The sweeps of a file that can be made here, and per kind why levels are left out."""
    kept, reasons = {}, {}
    for kind, levels in read_sweeps(config).items():
        why = {level: why_impossible(kind, level, noises) for level in levels}
        reasons[kind] = [f"{kind} {format_level(level)} is left out: {text}" for level, text in why.items() if text]
        if possible := tuple(level for level, text in why.items() if text is None):
            kept[kind] = possible
    return kept, reasons


def chosen_kinds(args: argparse.Namespace, sweeps: Sweeps, reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """The sweeps to make.

    Raises:
        DataError: the file has no such sweep, or none of those wanted can be made.
    """
    wanted = args.kinds.split() or list(reasons)
    for kind in wanted:
        if kind not in reasons:
            raise DataError(f"{args.config} has no sweep '{kind}': {nearest(kind, reasons)}")
    if not any(kind in sweeps for kind in wanted):
        raise DataError(f"no sweep is left: {reasons[wanted[0]][0]}")
    return [kind for kind in wanted if kind in sweeps]


def measure(args: argparse.Namespace, shares: list[Share], noises: Noises | None) -> None:
    """Make the missing ones of a job's shares."""
    import torch

    from avsv.corruption.sweep import Bench

    device = torch.device("cpu")
    if args.gpu:
        if not torch.cuda.is_available():
            raise DataError("no GPU is visible: use --ngpu 0")
        device = torch.device("cuda", (args.job - 1) % torch.cuda.device_count())
    else:
        torch.set_num_threads(1)
    order = list(dict.fromkeys(share.condition for share in shares))
    mine = [share for share in shares if order.index(share.condition) % args.num_jobs == args.job - 1]
    todo = [share for share in mine if not share.path.is_file()]
    done = len(mine) - len(todo)
    if todo:
        systems = list(dict.fromkeys(share.system for share in todo))
        bench = Bench(
            args.exp,
            systems,
            args.cohort,
            args.data,
            top_n=args.top_n,
            resamples=args.resamples,
            seed=args.seed,
            corrupted=args.corrupted,
            device=device,
            num_workers=args.num_workers,
        )
    for condition in dict.fromkeys(share.condition for share in todo):
        started = time.monotonic()
        group = [share for share in todo if share.condition == condition]
        corruption = Corruption(*condition, args.seed, noises) if condition else None
        rates = bench.measure(corruption, [share.system for share in group])
        for share in group:
            write_text(share.path, json.dumps([{**rate._asdict(), "git": args.git} for rate in rates[share.system]]))
        done += len(group)
        if args.progress is not None:
            write_text(args.progress, f"{done} {len(mine)}\n")
        name = CLEAN if condition is None else f"{condition[0]} {format_level(condition[1])}"
        print(f"{name}: {len(group)} systems in {time.monotonic() - started:.1f} s", flush=True)
    print(f"{len(mine)} shares, {len(todo)} of them made now")


def merge(args: argparse.Namespace, shares: list[Share], sweeps: Sweeps, reasons: list[str]) -> None:
    """Write KIND.csv and KIND.png of every sweep, and SWEEPS.md."""
    systems = args.systems
    found = {(share.system, share.condition): share.read() for share in shares}
    text = ["# Corruption sweeps", "", introduction(args)]
    for kind, levels in sweeps.items():
        columns = [(CLEAN, None), *((format_level(level), (kind, level)) for level in levels)]
        drawn = []
        for name in systems:
            for level, condition in columns:
                for line in found[name, condition]:
                    figures = {field: value for field, value in line.items() if field not in ("draws", "n_speakers")}
                    shared = {"corrupted": args.corrupted, "seed": args.seed}
                    row = SweepRow(args.corpus, args.preset, name, sweep=kind, level=level, **figures, **shared)
                    drawn.append(Drawn(row, np.array(line["draws"]), line["n_speakers"]))
        rows = sort_rows(beside_best_single(drawn), [level for level, _ in columns], systems)
        panels = by_list(rows)
        write_text(args.out / f"{kind}.csv", to_csv(rows, SweepRow))
        sweep_plot(args.out / f"{kind}.png", kind, panels)
        title = f"{KINDS[kind].title[0].upper()}{KINDS[kind].title[1:]}"
        text += ["", f"## {title}, by {KINDS[kind].unit}", "", f"![{kind}]({kind}.png)"]
        for name, panel in panels.items():
            text += ["", f"On `{name}`:", "", *sweep_tables(panel)]
            better, worse, of = count_verdicts(panel)
            if of:
                print(
                    f"{kind} on {name}: of {of} fused systems and levels, {better} are better than the best single"
                    f" modality, {worse} worse, for the others the interval holds 0"
                )
    if reasons:
        text += ["", "## Left out", "", *(f"- {reason}" for reason in reasons)]
    write_text(args.out / "SWEEPS.md", "\n".join(text) + "\n")
    for path in [*args.out.glob("*.csv"), *args.out.glob("*.png")]:
        if path.stem not in sweeps:
            path.unlink()


def introduction(args: argparse.Namespace) -> str:
    """What the reader must know of all tables."""
    side = "the test side is corrupted, enrolment is clean" if args.corrupted == "test" else "both sides are corrupted"
    return f"""Corpus `{args.corpus}`, preset `{args.preset}`, seed {args.seed}; {side}.

- Equal error rates in percent after adaptive s-norm against the clean cohort, with 95 % intervals from drawn speakers.
- Voice and face are the systems of one modality with the lowest rate without corruption.
- Difference: a fused system's rate minus that of the best single modality at the same level, in percentage points, with
  its 95 % interval from the same draws. The best single modality, named behind it, is chosen anew at every level, among
  the systems of one modality and the fused system itself with only its voice or only its face. Bold: the interval lies
  below 0, so fusion helps.
- Where a clip lacks all that a system may use, the system guesses: half of these trials count as errors."""


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("out", type=Path, help="folder for tables and plots")
    parser.add_argument("data", type=Path, nargs="+", help="data directories with trials")
    parser.add_argument("--config", type=Path, required=True, help="conf/sweeps.yaml")
    parser.add_argument("--kinds", default="", help="sweeps of it to make (all)")
    parser.add_argument("--systems", required=True, type=system_names, help="names, separated by blanks")
    parser.add_argument("--stamps", required=True, help="one per system: what is measured under another is not used")
    parser.add_argument("--cohort", type=Path, required=True, help="data directory of the cohort's utterances")
    parser.add_argument("--noise-dir", type=Path, help="folder with wav.scp and utt2type")
    parser.add_argument("--corrupted", choices=("test", "both"), default="test", help="which sides of a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1000, help="draws of speakers for the intervals")
    parser.add_argument("--top-n", type=int, default=300, help="cohort speakers of adaptive s-norm")
    parser.add_argument("--parts", type=Path, required=True, metavar="DIR", help="where shares are kept")
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--num-jobs", type=int, default=1)
    parser.add_argument("--merge", action="store_true", help="put the shares together")
    parser.add_argument("--corpus", default="")
    parser.add_argument("--preset", default="")
    parser.add_argument("--git", default="none", help="revision of the code that measures")
    parser.add_argument("--gpu", action="store_true", help="compute on a GPU")
    parser.add_argument("--num-workers", type=int, default=0, help="loader processes (0)")
    parser.add_argument("--progress", type=Path, metavar="FILE", help='file to keep at "DONE TOTAL"')
    return parser.parse_args()


def main() -> None:
    """Measure, or put together what was measured."""
    args = parse_arguments()
    systems, stamps = args.systems, args.stamps.split()
    if len(systems) != len(stamps):
        raise DataError(f"--stamps: {len(stamps)} for {len(systems)} systems")
    noises = Noises(args.noise_dir) if args.noise_dir else None
    sweeps, reasons = possible_sweeps(args.config, noises)
    kinds = chosen_kinds(args, sweeps, reasons)

    def shares_of(kinds: Sequence[str]) -> list[Share]:
        wanted = [None, *conditions({kind: sweeps[kind] for kind in kinds})]
        return [
            Share(args.parts, system, stamp, condition)
            for condition in wanted
            for system, stamp in zip(systems, stamps, strict=True)
        ]

    if not args.merge:
        measure(args, shares_of(kinds), noises)
        return
    # Sweeps that were made before and still hold stay in the tables.
    shown = [kind for kind in sweeps if kind in kinds or all(x.path.is_file() for x in shares_of([kind]))]
    missing = [
        reason
        for kind in reasons
        if kind in shown or kind in args.kinds.split() or not args.kinds
        for reason in reasons[kind]
    ]
    merge(args, shares_of(shown), {kind: sweeps[kind] for kind in shown}, missing)
    current = {share.path for share in shares_of(list(sweeps))}
    for path in args.parts.glob("*.json"):
        if path not in current and path.name.split(".")[0] in systems:
            path.unlink()
    for reason in missing:
        print(reason)


if __name__ == "__main__":
    run_command(main)
