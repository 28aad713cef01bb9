"""Error rates on other trials at thresholds chosen on development trials: results/thresholds.csv."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from avsv.errors import DataError
from avsv.results.rates import Run
from avsv.results.scores import read_trial_scores
from avsv.scoring.thresholds import read_thresholds
from avsv.scoring.trials import TrialSet


class OperatingPoint(NamedTuple):
    """One line of results/thresholds.csv; rates in percent.

    ``wanted`` is the false-accept rate of the development trials at ``threshold``, which is None if these were too few;
    the other rates are those of the evaluation trials, which were not used to choose the threshold.
    """

    corpus: str
    preset: str
    trials: str
    system: str
    mode: str
    wanted: float
    threshold: float | None
    false_accept: float | None
    false_reject: float | None
    n_target: int
    n_nontarget: int
    seed: int


def apply_thresholds(
    exp: Path, systems: Sequence[str], trial_sets: Sequence[TrialSet], run: Run
) -> list[OperatingPoint]:
    """The error rates of calibrated scores at the thresholds of each system and mode.

    Args:
        exp: folder of the systems; a mode without calibrated scores of a list is omitted for that list.
        systems: their names, in the order of the table.
        trial_sets: the lists.
        run: the properties that all lines share.

    Raises:
        DataError: calibrated scores have no thresholds, scores belong to other trials, or a class of trials is missing.
    """
    rows = []
    for trials in (trials for trial_set in trial_sets for trials in trial_set.lists):
        for system in systems:
            folder = exp / system / "scores"
            if not any((folder / trials.name).glob("*.llr")):
                continue
            modes: dict[str, list] = {}
            for threshold in read_thresholds(folder / "thresholds.csv"):
                modes.setdefault(threshold.mode, []).append(threshold)
            for mode, thresholds in modes.items():
                path = folder / trials.name / f"{mode}.llr"
                if not path.is_file():
                    continue
                scores, is_target, _ = read_trial_scores(path, trials)
                targets, others = scores[is_target], scores[~is_target]
                if not len(targets) or not len(others):
                    raise DataError(f"{path}: target and non-target trials are needed")
                for _, wanted, threshold, *_ in thresholds:
                    rates = None, None
                    if threshold is not None:
                        rates = 100 * float((others > threshold).mean()), 100 * float((targets <= threshold).mean())
                    names = run.corpus, run.preset, trials.name, system, mode
                    rows.append(OperatingPoint(*names, wanted, threshold, *rates, len(targets), len(others), run.seed))
    return rows
