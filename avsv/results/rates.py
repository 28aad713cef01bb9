"""The results table: one row per system, trial list, mode and score stage."""

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.lists import read_scores
from avsv.scoring.bootstrap import speaker_bootstrap
from avsv.scoring.metrics import cllr, eer, eer_rocch, min_dcf
from avsv.scoring.modes import MODES
from avsv.scoring.trials import TrialList, TrialSet, places_in

STAGES = ("cos", "asnorm", "llr")
"""Score stages in the order they are made: cosine, normalised, calibrated."""


class Row(NamedTuple):
    """One line of results.csv; rates in percent, ``cllr`` None where scores are no log-likelihood ratios."""

    corpus: str
    preset: str
    system: str
    trials: str
    mode: str
    stage: str
    n_target: int
    n_nontarget: int
    eer: float
    eer_low: float
    eer_high: float
    eer_rocch: float
    mindcf: float
    cllr: float | None
    seed: int
    git: str
    list_md5: str


class Run(NamedTuple):
    """What all rows of a table share.

    Attributes:
        corpus, preset: names.
        seed: of the run.
        git: revision of the code, ``none`` outside a repository.
        resamples: draws of speakers for each interval and difference.
        command: what makes the table again.
    """

    corpus: str
    preset: str
    seed: int
    git: str
    resamples: int
    command: str


def evaluate(exp: Path, systems: Sequence[str], trial_sets: Sequence[TrialSet], run: Run) -> list[Row]:
    """Evaluate all score files of systems on the trial lists.

    Args:
        exp: folder of the systems.
        systems: their names, in the order of the table.
        trial_sets: the lists to report on.
        run: what the rows share.

    Raises:
        DataError: a system without scores of a list, scores of other trials or not finite, a class of trials missing.
    """
    rows = []
    for trial_set in trial_sets:
        speakers = np.unique(trial_set.speakers, return_inverse=True)[1]
        for trials in trial_set.lists:
            md5 = hashlib.md5(trials.path.read_bytes(), usedforsecurity=False).hexdigest()
            for system in systems:
                files = score_files(exp / system / "scores" / trials.name)
                if not files:
                    raise DataError(f"{exp}/{system}/scores/{trials.name}: no scores of {trials.path}: score it first")
                for path in files:
                    rows.append(_evaluate_file(path, system, trials, speakers, md5, run))
    return rows


def score_files(folder: Path) -> list[Path]:
    """The score files of a list, by mode (widest first) and stage."""
    paths = [folder / f"{mode}.{stage}" for mode in MODES for stage in STAGES]
    return [path for path in paths if path.is_file()]


def _evaluate_file(path: Path, system: str, trials: TrialList, speakers: NDArray, md5: str, run: Run) -> Row:
    scores = read_scores(path)
    places = places_in(path, scores, trials.trials)
    is_target = trials.trials.is_target[places]
    enroll, test = (speakers[side[places]] for side in (trials.enroll, trials.test))
    stage, values = path.suffix[1:], scores.score
    try:
        low, high = speaker_bootstrap(values, is_target, enroll, test, run.resamples, run.seed)
        figures = [100 * x for x in (eer(values, is_target), low, high, eer_rocch(values, is_target))]
        return Row(
            run.corpus,
            run.preset,
            system,
            trials.name,
            path.stem,
            stage,
            int(is_target.sum()),
            int((~is_target).sum()),
            *figures,
            min_dcf(values, is_target),
            cllr(values, is_target) if stage == "llr" else None,
            run.seed,
            run.git,
            md5,
        )
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def to_csv(rows: Sequence[NamedTuple], columns: Sequence[str] = Row._fields) -> str:
    """The text of a table such as results.csv: numbers with four digits after the point, nothing for a missing one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow("" if x is None else f"{x:.4f}" if isinstance(x, float) else x for x in row)
    return text.getvalue()
