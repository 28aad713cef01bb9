"""The results table: one row per system, trial list, mode and score stage."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.results.scores import eer_and_interval, read_trial_scores, score_files, speaker_numbers
from avsv.scoring.metrics import cllr, eer_rocch, min_dcf
from avsv.scoring.trials import TrialList, TrialSet


class Row(NamedTuple):
    """One line of results.csv; rates in percent; ``cllr`` is None if scores are not log-likelihood ratios."""

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
    """The properties that all rows of a table share.

    Attributes:
        corpus, preset: names of the corpus and the preset.
        seed: seed of the run.
        git: revision of the code, ``none`` outside a repository.
        resamples: draws of speakers for each interval and difference.
        command: the command that makes the table.
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
        run: the properties that all rows share.

    Raises:
        DataError: a system has no scores of a list, scores belong to other trials or are not finite, or a class of
            trials is missing.
    """
    rows = []
    for trial_set in trial_sets:
        speakers = speaker_numbers(trial_set)
        for trials in trial_set.lists:
            md5 = hashlib.md5(trials.path.read_bytes(), usedforsecurity=False).hexdigest()
            for system in systems:
                files = score_files(exp / system / "scores" / trials.name)
                if not files:
                    raise DataError(f"{exp}/{system}/scores/{trials.name}: no scores of {trials.path}: score it first")
                for path in files:
                    rows.append(_evaluate_file(path, system, trials, speakers, md5, run))
    return rows


def _evaluate_file(path: Path, system: str, trials: TrialList, speakers: NDArray, md5: str, run: Run) -> Row:
    scores = read_trial_scores(path, trials)
    values, is_target, _ = scores
    stage = path.suffix[1:]
    try:
        figures = eer_and_interval(scores, scores.speakers(trials, speakers), run.resamples, run.seed)
        return Row(
            run.corpus,
            run.preset,
            system,
            trials.name,
            path.stem,
            stage,
            *scores.counts(),
            *figures,
            100 * eer_rocch(values, is_target),
            min_dcf(values, is_target),
            cllr(values, is_target) if stage == "llr" else None,
            run.seed,
            run.git,
            md5,
        )
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
