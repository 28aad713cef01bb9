"""Calibrate the scores of a system: ``MODE.llr``, ``calibration.csv``, ``thresholds.csv``, and a record for later."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import Scores, read_scores, write_scores
from avsv.scoring.calibration import LinearCalibration, fit_calibration
from avsv.scoring.metrics import actual_dcf, cllr, min_cllr, min_dcf
from avsv.scoring.modes import MODES, assignments, one_order, parse_mode
from avsv.scoring.quality import OF_EMBEDDINGS, quality_columns, read_measures
from avsv.scoring.records import CALIBRATION, CALIBRATION_FIELDS, write_development
from avsv.scoring.scorer import first_order
from avsv.scoring.thresholds import Threshold, find_thresholds, thresholds_csv
from avsv.scoring.trials import TrialSet, places_in


class QualityReader:
    """Quality measures of the scored trials of a system.

    Args:
        folder: folder of the system.
        measures: names of the measures; those of embeddings are not used for an ensemble.
        data_dirs: data directories of the trial lists.
        trial_sets: their contents.
    """

    def __init__(
        self, folder: Path, measures: Sequence[str], data_dirs: Sequence[Path], trial_sets: Sequence[TrialSet]
    ) -> None:
        self.folder = folder
        if not (folder / "embeddings").is_dir():
            lacking = [name for name in measures if name in OF_EMBEDDINGS]
            if lacking:
                print(f"{folder}: no embeddings: calibrated without the measures {' and '.join(lacking)}")
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
            DataError: no data directory has the list, a file is missing or wrong, or an utterance has no value.
        """
        if not self.measures:
            return {}
        name, mode = path.parent.name, path.stem
        if name not in self.sources:
            raise DataError(
                f"{path}: --quality needs the data directory with the list '{name}': give it, or remove"
                f" {path.parent} if the list no longer exists"
            )
        data_dir, trial_set, trials = self.sources[name]
        modalities = sorted(set(parse_mode(mode)))
        values = read_measures(self.measures, data_dir, trial_set, self.folder, modalities)
        places = places_in(path, scores, trials.trials)
        columns = quality_columns(values, mode, trials.enroll[places], trials.test[places])
        for column, numbers in columns.items():
            if np.isnan(numbers).any():
                line = int(np.isnan(numbers).argmax())
                raise DataError(
                    f"{path}:{line + 1}: '{scores.enroll[line]}' or '{scores.test[line]}' has no value of"
                    f" {column.split('_')[0]} in {data_dir} or {self.folder}: compute it, or remove it from --quality"
                )
        return columns


class _Development(NamedTuple):
    """Development trials of one mode.

    Attributes:
        scores: (N,).
        is_target: (N,) booleans.
        quality: (N,) measures by name.
    """

    scores: NDArray[np.float32]
    is_target: NDArray[np.bool_]
    quality: dict[str, NDArray[np.float64]]


def calibrate_system(folder: Path, development: TrialSet, prior: float, reader: QualityReader) -> None:
    """Fit every mode of a system on its development scores; write MODE.llr and all tables and records.

    Args:
        folder: folder of the system.
        development: trials for the fit.
        prior: prior probability of a target trial, with which the fit is weighted.
        reader: quality measures of the trials of the system.

    Raises:
        DataError: no normalized scores, or scores that cannot be calibrated.
    """
    scores_dir = folder / "scores"
    present = {path.stem for path in scores_dir.glob("*/*.asnorm")}
    names = " and ".join(trials.name for trials in development.lists)
    rows, weights, thresholds, judged = [], [], [], {}
    for mode in (mode for mode in MODES if mode in present):
        both = _read_development(scores_dir, development, mode, reader)
        for name, trials in ((mode, both), (one_order(mode), _read_orders(scores_dir, development, mode, both))):
            if trials is None:
                continue
            where = f"{scores_dir}: {name}"
            try:
                calibration = fit_calibration(trials.scores, trials.is_target, prior, list(trials.quality.values()))
            except (DataError, ValueError) as error:
                raise DataError(f"{where} on {names}: {error}") from error
            if calibration.scale <= 0:
                print(f"{where}: omitted: its target trials do not score higher than the others")
            else:
                weights.append(dict(zip(trials.quality, calibration.weights, strict=True)))
                row, found, judged[name] = _judge(where, name, calibration, trials, prior)
                rows.append(row)
                thresholds += found
            if name == mode:
                _write_ratios(scores_dir, mode, calibration, reader)
    if not present:
        raise DataError(f"{scores_dir}: no normalized scores: normalize them first")
    for old in scores_dir.glob("*/*.llr"):
        if not old.with_suffix(".asnorm").is_file():
            old.unlink()
    write_text(scores_dir / "thresholds.csv", thresholds_csv(thresholds))
    write_text(scores_dir / CALIBRATION, _calibration_csv(rows, weights))
    write_development(scores_dir, judged)


def _write_ratios(scores_dir: Path, mode: str, calibration: LinearCalibration, reader: QualityReader) -> None:
    """Write MODE.llr of all lists, or remove it if the mode is not calibrated."""
    if calibration.scale <= 0:
        for old in scores_dir.glob(f"*/{mode}.llr"):
            old.unlink()
        return
    for path in sorted(scores_dir.glob(f"*/{mode}.asnorm")):
        part = read_scores(path)
        llr = calibration(part.score, reader.columns(path, part).values())
        write_scores(path.with_suffix(".llr"), part.enroll, part.test, llr)


def _read_orders(scores_dir: Path, development: TrialSet, mode: str, both: _Development) -> _Development | None:
    """The development trials of a mode with different sides, scored in one order and then in the other.

    None for other modes, and for ensembles and gates, which are not scored in single orders.
    """
    paths = [first_order(scores_dir / trials.name / f"{mode}.asnorm") for trials in development.lists]
    if len(assignments(mode)) == 1 or not all(path.is_file() for path in paths):
        return None
    first = np.concatenate([read_scores(path).score for path in paths])
    if len(first) != len(both.scores):
        raise DataError(f"{paths[0]}: {len(first)} scores, but {len(both.scores)} mean scores: normalize them again")
    # Their mean is known.
    scores = np.concatenate([first, 2 * both.scores - first])
    quality = {name: np.tile(values, 2) for name, values in both.quality.items()}
    return _Development(scores, np.tile(both.is_target, 2), quality)


def _read_development(scores_dir: Path, development: TrialSet, mode: str, reader: QualityReader) -> _Development:
    paths = [scores_dir / trials.name / f"{mode}.asnorm" for trials in development.lists]
    scores = [read_scores(path) for path in paths]
    labels = [
        trials.trials.is_target[places_in(path, part, trials.trials)]
        for path, part, trials in zip(paths, scores, development.lists, strict=True)
    ]
    columns = [reader.columns(path, part) for path, part in zip(paths, scores, strict=True)]
    quality = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
    return _Development(np.concatenate([part.score for part in scores]), np.concatenate(labels), quality)


def _judge(
    where: str, mode: str, calibration: LinearCalibration, trials: _Development, prior: float
) -> tuple[list[str], list[Threshold], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """A mode's row of calibration.csv and its thresholds, which are printed; and the sorted ratios of both kinds."""
    is_target = trials.is_target
    llr = calibration(trials.scores, trials.quality.values())
    costs = cllr(llr, is_target), min_cllr(llr, is_target)
    costs += actual_dcf(llr, is_target, prior), min_dcf(llr, is_target, prior)
    counts = is_target.sum(), (~is_target).sum()
    # Enough digits to give other trials the ratios that these had.
    figures = [f"{calibration.scale:.9g}", f"{calibration.offset:.9g}", f"{prior:.6g}"]
    row = [mode, *figures, *map(str, counts), *(f"{x:.4f}" for x in costs)]
    terms = "".join(
        f" {weight:+.4g} * {name}" for name, weight in zip(trials.quality, calibration.weights, strict=True)
    )
    print(
        f"{where}: llr = {calibration.scale:.4g} * score{terms} {calibration.offset:+.4g} from"
        f" {counts[0]} target and {counts[1]} non-target trials; Cllr on these {costs[0]:.3f} (minimum {costs[1]:.3f})"
    )
    # As read from the file, in which a score may equal the threshold.
    written = llr.astype(np.float32)
    found = find_thresholds(mode, written, is_target)
    for threshold in found:
        value = f"accept above {threshold.threshold:.4g}" if threshold.threshold is not None else "too few trials"
        print(f"{where}: false-accept rate {threshold.wanted:g} %: {value}")
    return row, found, (np.sort(written[is_target]), np.sort(written[~is_target]))


def _calibration_csv(rows: Sequence[list[str]], weights: Sequence[dict[str, float]]) -> str:
    # Each mode has only the measures that apply to it.
    names = list(dict.fromkeys(name for part in weights for name in part))
    table = [[*CALIBRATION_FIELDS, *names]]
    for row, part in zip(rows, weights, strict=True):
        table.append(row + [f"{part[name]:.9g}" if name in part else "" for name in names])
    return "".join(",".join(row) + "\n" for row in table)
