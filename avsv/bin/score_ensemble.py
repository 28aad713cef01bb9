"""Combine the scores of ensembles of systems; each ensemble is written like a system."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import system_name
from avsv.scoring.ensemble import read_ensembles
from avsv.scoring.ensemble_scores import score_ensemble
from avsv.scoring.trials import read_trial_set, with_labels


def main() -> None:
    """Combine scores, and print one line per score file and one per ensemble that is left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="conf/ensembles.yaml", help="NAME: [SYSTEM, SYSTEM/MODE, ...]")
    parser.add_argument("--dev", type=Path, help="data directory of the trials for fitting weights")
    parser.add_argument(
        "--prior", type=float, default=0.01, help="prior probability of a target trial for the fit, between 0 and 1"
    )
    parser.add_argument(
        "exp", type=Path, help="folder of the systems; their scores are in SYSTEM/scores/LIST/MODE.asnorm"
    )
    parser.add_argument("systems", nargs="+", type=system_name, help="the systems of this run")
    args = parser.parse_args()
    if not 0 < args.prior < 1:
        raise DataError(f"--prior {args.prior}: must be larger than 0 and smaller than 1")

    development = with_labels(read_trial_set(args.dev), args.dev) if args.dev else None
    made = []
    for name, ensemble in read_ensembles(args.config).items():
        if name in args.systems:
            raise DataError(f"{args.config}: {name}: there is a system with this name: rename the ensemble")
        absent = [member.system for member in ensemble.members if member.system not in args.systems]
        if absent:
            print(f"{name}: left out, {' and '.join(absent)} not in this run")
            continue
        if ensemble.fitted and development is None:
            raise DataError(f"{args.config}: {name}: fitted weights need the development data directory")
        modes = score_ensemble(args.exp, name, ensemble, development, args.prior)
        pairs = zip(ensemble.members, modes, strict=True)
        made.append(f"{name} " + " ".join(f"{m.system}/{mode}" for m, mode in pairs) + "\n")
    write_text(args.exp / "ensembles", "".join(made))


if __name__ == "__main__":
    run_command(main)
