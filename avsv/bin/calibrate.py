"""Log-likelihood ratios for systems and ensembles, calibrated on development trials only."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import Scores, read_scores, write_scores
from avsv.scoring.calibration import fit_calibration
from avsv.scoring.metrics import actual_dcf, cllr, min_cllr, min_dcf
from avsv.scoring.modes import MODES, parse_mode
from avsv.scoring.quality import MEASURES, OF_EMBEDDINGS, quality_columns, read_measures
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.thresholds import find_thresholds, thresholds_csv
from avsv.scoring.trials import TrialSet, places_in


def main() -> None:
    """Calibrate; print one line per system and mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", type=float, default=0.01, help="of a target trial, between 0 and 1")
    parser.add_argument("--quality", default="", help=f"quality measures, of {' '.join(MEASURES)}; default: none")
    parser.add_argument(
        "--others", type=Path, nargs="*", default=[], help="with --quality: data directories of the other lists"
    )
    parser.add_argument(
        "exp", type=Path, help="folder of the systems; their scores are in SYSTEM/scores/LIST/MODE.asnorm"
    )
    parser.add_argument("data", type=Path, help="data directory of the development trials")
    parser.add_argument("systems", nargs="+", help="systems and ensembles")
    args = parser.parse_args()
    if not 0 < args.prior < 1:
        raise DataError(f"--prior {args.prior}: a probability between 0 and 1, both excluded")
    measures = list(dict.fromkeys(args.quality.split()))
    for name in measures:
        if name not in MEASURES:
            raise DataError(f"--quality: '{name}' is not one of {' '.join(MEASURES)}")

    data_dirs = [args.data, *args.others]
    development, *others = read_trial_sets(data_dirs)
    for system in args.systems:
        folder = args.exp / system
        reader = QualityReader(folder, measures, data_dirs, [development, *others])
        calibrate_system(folder, development, args.prior, reader)


class QualityReader:
    """Quality measures of a system's scored trials.

    Args:
        folder: of the system.
        measures: which; an ensemble does without those of embeddings.
        data_dirs: where the lists of trials come from.
        trial_sets: what they hold.
    """

    def __init__(
        self, folder: Path, measures: Sequence[str], data_dirs: Sequence[Path], trial_sets: Sequence[TrialSet]
    ) -> None:
        self.folder = folder
        if not (folder / "embeddings").is_dir():
            lacking = [name for name in measures if name in OF_EMBEDDINGS]
            if lacking:
                print(f"{folder}: has no embeddings, so it is calibrated without the measures {' and '.join(lacking)}")
            measures = [name for name in measures if name not in OF_EMBEDDINGS]
        self.measures = measures
        self.sources = {
            trials.name: (data_dir, trial_set, trials)
            for data_dir, trial_set in zip(data_dirs, trial_sets, strict=True)
            for trials in trial_set.lists
        }

    def columns(self, path: Path, scores: Scores) -> dict[str, np.ndarray]:
        """The measures (N,) of the trials of a score file ``LIST/MODE.asnorm``, by name.

        Raises:
            DataError: no data directory has the list, a file is missing or wrong, an utterance has no value.
        """
        if not self.measures:
            return {}
        name, mode = path.parent.name, path.stem
        if name not in self.sources:
            raise DataError(
                f"{path}: no data directory with the list '{name}' is given, which --quality needs: give it, or remove"
                f" {path.parent} if the list is no more"
            )
        data_dir, trial_set, trials = self.sources[name]
        modalities = sorted(set(parse_mode(mode)))
        values = read_measures(self.measures, data_dir, trial_set.utterances, self.folder, modalities)
        places = places_in(path, scores, trials.trials)
        columns = quality_columns(values, mode, trials.enroll[places], trials.test[places])
        for column, numbers in columns.items():
            if np.isnan(numbers).any():
                line = int(np.isnan(numbers).argmax())
                raise DataError(
                    f"{path}:{line + 1}: '{scores.enroll[line]}' or '{scores.test[line]}' has no measure"
                    f" {column.split('_')[0]} in {data_dir} or {self.folder}: leave it out of --quality, or make it"
                )
        return columns


def calibrate_system(folder: Path, development: TrialSet, prior: float, reader: QualityReader) -> None:
    """Fit every mode of a system on its development scores, write MODE.llr, calibration.csv, thresholds.csv."""
    scores_dir = folder / "scores"
    present = {path.stem for path in scores_dir.glob("*/*.asnorm")}
    rows, weights, thresholds = [], [], []
    for mode in (mode for mode in MODES if mode in present):
        paths = [scores_dir / trials.name / f"{mode}.asnorm" for trials in development.lists]
        scores = [read_scores(path) for path in paths]
        labels = [
            trials.trials.is_target[places_in(path, part, trials.trials)]
            for path, part, trials in zip(paths, scores, development.lists, strict=True)
        ]
        is_target, values = np.concatenate(labels), np.concatenate([part.score for part in scores])
        columns = [reader.columns(path, part) for path, part in zip(paths, scores, strict=True)]
        quality = [np.concatenate([part[name] for part in columns]) for name in columns[0]]
        try:
            calibration = fit_calibration(values, is_target, prior, quality)
        except (DataError, ValueError) as error:
            names = " and ".join(trials.name for trials in development.lists)
            raise DataError(f"{scores_dir}: {mode} on {names}: {error}") from error
        if calibration.scale <= 0:
            print(f"{scores_dir}: {mode}: left out, its target trials do not score higher than the others")
            for old in scores_dir.glob(f"*/{mode}.llr"):
                old.unlink()
            continue
        for path in sorted(scores_dir.glob(f"*/{mode}.asnorm")):
            part = read_scores(path)
            llr = calibration(part.score, reader.columns(path, part).values())
            write_scores(path.with_suffix(".llr"), part.enroll, part.test, llr)
        llr = calibration(values, quality)
        costs = cllr(llr, is_target), min_cllr(llr, is_target)
        costs += actual_dcf(llr, is_target, prior), min_dcf(llr, is_target, prior)
        counts = is_target.sum(), (~is_target).sum()
        figures = [f"{x:.6g}" for x in (calibration.scale, calibration.offset, prior)]
        rows.append([mode, *figures, *map(str, counts), *(f"{x:.4f}" for x in costs)])
        weights.append(dict(zip(columns[0], calibration.weights, strict=True)))
        terms = "".join(f" {weight:+.4g} * {name}" for name, weight in weights[-1].items())
        print(
            f"{scores_dir}: {mode}: llr = {calibration.scale:.4g} * score{terms} {calibration.offset:+.4g} from"
            f" {counts[0]} target and {counts[1]} non-target trials; there Cllr {costs[0]:.3f} (at best {costs[1]:.3f})"
        )
        # As read from the file, where a score may equal the threshold.
        found = find_thresholds(mode, llr.astype(np.float32), is_target)
        thresholds += found
        for row in found:
            value = f"accept above {row.threshold:.4g}" if row.threshold is not None else "not from so few trials"
            print(f"{scores_dir}: {mode}: false-accept rate {row.wanted:g} %: {value}")
    if not present:
        raise DataError(f"{scores_dir}: no normalised scores: normalise them first")
    for old in scores_dir.glob("*/*.llr"):
        if not old.with_suffix(".asnorm").is_file():
            old.unlink()
    # A mode has only the measures that apply to it.
    names = list(dict.fromkeys(name for part in weights for name in part))
    header = ["mode", "scale", "offset", "prior", "n_target", "n_nontarget", "cllr", "min_cllr", "dcf", "min_dcf"]
    table = [[*header, *names]]
    for row, part in zip(rows, weights, strict=True):
        table.append(row + [f"{part[name]:.6g}" if name in part else "" for name in names])
    write_text(scores_dir / "thresholds.csv", thresholds_csv(thresholds))
    write_text(scores_dir / "calibration.csv", "".join(",".join(row) + "\n" for row in table))


if __name__ == "__main__":
    run_command(main)
