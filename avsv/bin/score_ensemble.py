"""Mean scores of ensembles of systems, each ensemble written as a system of its own."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_scores, write_scores
from avsv.scoring.ensemble import Member, mean_scores, read_ensembles, widest_mode
from avsv.scoring.modes import joint_mode


def main() -> None:
    """Average; print one line per score file, and one per ensemble that is left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="conf/ensembles.yaml", help="NAME: [SYSTEM, SYSTEM/MODE, ...]")
    parser.add_argument(
        "exp", type=Path, help="folder of the systems; their scores are in SYSTEM/scores/LIST/MODE.asnorm"
    )
    parser.add_argument("systems", nargs="+", help="the systems of this run")
    args = parser.parse_args()

    made = []
    for name, members in read_ensembles(args.config).items():
        if name in args.systems:
            raise DataError(f"{args.config}: {name}: there is a system of this name")
        absent = [member.system for member in members if member.system not in args.systems]
        if absent:
            print(f"{name}: left out, {' and '.join(absent)} not in this run")
            continue
        modes = score_ensemble(args.exp, name, members)
        made.append(f"{name} " + " ".join(f"{m.system}/{mode}" for m, mode in zip(members, modes, strict=True)) + "\n")
    write_text(args.exp / "ensembles", "".join(made))


def score_ensemble(exp: Path, name: str, members: list[Member]) -> list[str]:
    """Write ``NAME/scores/LIST/MODE.asnorm`` for every list that the first member has; return the members' modes."""
    modes = [member.mode or widest_mode(_scored_modes(exp / member.system / "scores")) for member in members]
    joint = joint_mode(modes)
    lists = sorted(path.parent.name for path in exp.glob(f"{members[0].system}/scores/*/{modes[0]}.asnorm"))
    if not lists:
        raise DataError(f"{exp}/{members[0].system}/scores: no list has {modes[0]}.asnorm: normalise its scores first")
    for trials in lists:
        paths = [exp / m.system / "scores" / trials / f"{mode}.asnorm" for m, mode in zip(members, modes, strict=True)]
        mean = mean_scores(paths, [read_scores(path) for path in paths])
        folder = exp / name / "scores" / trials
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.asnorm"):
            if old.stem != joint:
                old.unlink()
        write_scores(folder / f"{joint}.asnorm", *mean)
        print(f"{folder}/{joint}.asnorm: {len(mean.score)} trials")
    return modes


def _scored_modes(scores: Path) -> set[str]:
    modes = {path.stem for path in scores.glob("*/*.asnorm")}
    if not modes:
        raise DataError(f"{scores}: no normalised scores: normalise them first")
    return modes


if __name__ == "__main__":
    run_command(main)
