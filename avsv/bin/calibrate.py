"""Log-likelihood ratios for systems and ensembles, calibrated on development trials only."""

import argparse
from pathlib import Path

import numpy as np

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import Trials, read_scores, write_scores
from avsv.scoring.calibration import fit_calibration
from avsv.scoring.metrics import actual_dcf, cllr, min_cllr, min_dcf
from avsv.scoring.modes import MODES
from avsv.scoring.trials import places_in, read_trial_set


def main() -> None:
    """Calibrate; print one line per system and mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", type=float, default=0.01, help="of a target trial, between 0 and 1")
    parser.add_argument(
        "exp", type=Path, help="folder of the systems; their scores are in SYSTEM/scores/LIST/MODE.asnorm"
    )
    parser.add_argument("data", type=Path, help="data directory of the development trials")
    parser.add_argument("systems", nargs="+", help="systems and ensembles")
    args = parser.parse_args()
    if not 0 < args.prior < 1:
        raise DataError(f"--prior {args.prior}: a probability between 0 and 1, both excluded")

    development = {trials.name: trials.trials for trials in read_trial_set(args.data).lists}
    for system in args.systems:
        calibrate_system(args.exp / system, development, args.prior)


def calibrate_system(folder: Path, development: dict[str, Trials], prior: float) -> None:
    """Fit every mode of a system on its development scores, write MODE.llr for all lists and calibration.csv."""
    scores_dir = folder / "scores"
    present = {path.stem for path in scores_dir.glob("*/*.asnorm")}
    rows = ["mode,scale,offset,prior,n_target,n_nontarget,cllr,min_cllr,dcf,min_dcf\n"]
    for mode in (mode for mode in MODES if mode in present):
        paths = [scores_dir / name / f"{mode}.asnorm" for name in development]
        scores = [read_scores(path) for path in paths]
        labels = [
            trials.is_target[places_in(path, part, trials)]
            for path, part, trials in zip(paths, scores, development.values(), strict=True)
        ]
        is_target, values = np.concatenate(labels), np.concatenate([part.score for part in scores])
        try:
            calibration = fit_calibration(values, is_target, prior)
        except (DataError, ValueError) as error:
            raise DataError(f"{scores_dir}: {mode} on {' and '.join(development)}: {error}") from error
        if calibration.scale <= 0:
            print(f"{scores_dir}: {mode}: left out, its target trials do not score higher than the others")
            for old in scores_dir.glob(f"*/{mode}.llr"):
                old.unlink()
            continue
        for path in sorted(scores_dir.glob(f"*/{mode}.asnorm")):
            part = read_scores(path)
            write_scores(path.with_suffix(".llr"), part.enroll, part.test, calibration(part.score))
        llr = calibration(values)
        costs = cllr(llr, is_target), min_cllr(llr, is_target)
        costs += actual_dcf(llr, is_target, prior), min_dcf(llr, is_target, prior)
        counts = is_target.sum(), (~is_target).sum()
        figures = [*(f"{x:.6g}" for x in (*calibration, prior)), *map(str, counts), *(f"{x:.4f}" for x in costs)]
        rows.append(",".join([mode, *figures]) + "\n")
        print(
            f"{scores_dir}: {mode}: llr = {calibration.scale:.4g} * score {calibration.offset:+.4g} from"
            f" {counts[0]} target and {counts[1]} non-target trials; there Cllr {costs[0]:.3f} (at best {costs[1]:.3f})"
        )
    if not present:
        raise DataError(f"{scores_dir}: no normalised scores: normalise them first")
    for old in scores_dir.glob("*/*.llr"):
        if old.stem not in present:
            old.unlink()
    write_text(scores_dir / "calibration.csv", "".join(rows))


if __name__ == "__main__":
    run_command(main)
