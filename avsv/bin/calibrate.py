"""Calibrate the scores of systems and ensembles to log-likelihood ratios, on development trials only."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.names import system_name
from avsv.scoring.calibrator import QualityReader, calibrate_system
from avsv.scoring.quality import MEASURES
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.trials import with_labels


def main() -> None:
    """Calibrate, and print one line per system and mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--prior", type=float, default=0.01, help="prior probability of a target trial, between 0 and 1"
    )
    parser.add_argument("--quality", default="", help=f"quality measures, of {' '.join(MEASURES)}; default: none")
    parser.add_argument(
        "--others", type=Path, nargs="*", default=[], help="with --quality: data directories of the other lists"
    )
    parser.add_argument(
        "exp", type=Path, help="folder of the systems; their scores are in SYSTEM/scores/LIST/MODE.asnorm"
    )
    parser.add_argument("data", type=Path, help="data directory of the development trials")
    parser.add_argument("systems", nargs="+", type=system_name, help="systems and ensembles")
    args = parser.parse_args()
    if not 0 < args.prior < 1:
        raise DataError(f"--prior {args.prior}: must be larger than 0 and smaller than 1")
    measures = list(dict.fromkeys(args.quality.split()))
    for name in measures:
        if name not in MEASURES:
            raise DataError(f"--quality: '{name}' is not one of {' '.join(MEASURES)}")

    data_dirs = [args.data, *args.others]
    trial_sets = read_trial_sets(data_dirs)
    development = with_labels(trial_sets[0], args.data)
    for system in args.systems:
        folder = args.exp / system
        reader = QualityReader(folder, measures, data_dirs, trial_sets)
        calibrate_system(folder, development, args.prior, reader)


if __name__ == "__main__":
    run_command(main)
