"""Score files of a run, read with the labels and speakers of their trials."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.io.lists import read_scores
from avsv.scoring.bootstrap import speaker_bootstrap
from avsv.scoring.metrics import eer
from avsv.scoring.modes import MODES
from avsv.scoring.trials import TrialList, TrialSet, places_in

STAGES = ("cos", "asnorm", "llr")
"""Score stages in the order of processing: cosine, normalized, calibrated."""


class TrialScores(NamedTuple):
    """The M scores of a file for some trials of a list.

    Attributes:
        values: (M,) scores.
        is_target: (M,) labels.
        places: (M,) position of each trial in the list.
    """

    values: NDArray
    is_target: NDArray[np.bool_]
    places: NDArray[np.int64]

    def speakers(self, trials: TrialList, numbers: NDArray) -> tuple[NDArray, NDArray]:
        """Numbers (M,) of the speakers of both sides, from those of all utterances."""
        return numbers[trials.enroll[self.places]], numbers[trials.test[self.places]]

    def chosen(self, which: NDArray[np.bool_]) -> "TrialScores":
        """The scores (M,) for which ``which`` holds."""
        return TrialScores(*(column[which] for column in self))

    def counts(self) -> tuple[int, int]:
        """Numbers of target and non-target trials."""
        return int(self.is_target.sum()), int((~self.is_target).sum())


def score_files(folder: Path) -> list[Path]:
    """The score files of a list, by mode (widest first) and stage."""
    paths = [folder / f"{mode}.{stage}" for mode in MODES for stage in STAGES]
    return [path for path in paths if path.is_file()]


def preferred_scores(folder: Path) -> Path | None:
    """The normalized score file of a list in its widest mode, or the first stage of that mode; None without scores.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> preferred_scores(folder)
        >>> for name in ("AVxAV.cos", "AVxAV.llr", "AxA.asnorm", "AxA.cos"):
        ...     (folder / name).touch()
        >>> preferred_scores(folder).name
        'AVxAV.cos'
        >>> (folder / "AVxAV.asnorm").touch()
        >>> preferred_scores(folder).name
        'AVxAV.asnorm'
    """
    files = score_files(folder)
    widest = {path.suffix: path for path in files if path.stem == files[0].stem}
    return widest.get(".asnorm", next(iter(widest.values()), None))


def speaker_numbers(trial_set: TrialSet) -> NDArray[np.int64]:
    """A number (U,) for the speaker of each utterance of trial lists."""
    return np.unique(trial_set.speakers, return_inverse=True)[1]


def read_trial_scores(path: Path, trials: TrialList) -> TrialScores:
    """Read the scores of trials of a list.

    Raises:
        DataError: scores belong to other trials or are not finite.
    """
    scores = read_scores(path)
    places = places_in(path, scores, trials.trials)
    return TrialScores(scores.score, trials.trials.is_target[places], places)


def eer_and_interval(
    scores: TrialScores, sides: tuple[NDArray, NDArray], resamples: int, seed: int
) -> tuple[float, float, float]:
    """The equal error rate in percent, and the limits of its 95 % interval by resampling speakers.

    Args:
        scores: scores of M trials.
        sides: (M,) numbers of the speakers of both sides.
        resamples: draws of speakers.
        seed: seed of the draws.

    Raises:
        ValueError: a class of trials is missing.
    """
    low, high = speaker_bootstrap(scores.values, scores.is_target, *sides, resamples, seed)
    return 100 * eer(scores.values, scores.is_target), 100 * low, 100 * high
