"""What the report shows besides the results: scores of the leading systems, geometry and cost, from a run's files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.results.frames import read_frame, records
from avsv.results.scores import read_trial_scores, score_files
from avsv.scoring.metrics import eer_threshold
from avsv.scoring.trials import TrialList

STAGES = ("asnorm", "cos")
"""Score stages that are looked at trial by trial, the preferred one first."""


class ScoreSet(NamedTuple):
    """The scores of a system in a mode on a whole trial list of N trials.

    Attributes:
        system: name.
        mode, stage: which of its scores.
        values: (N,) NaN where it could not score a trial.
        is_target: (N,) the labels of the list.
        threshold: a trial is accepted above it; there the two error rates are nearest to each other.
    """

    system: str
    mode: str
    stage: str
    values: NDArray[np.float64]
    is_target: NDArray[np.bool_]
    threshold: float

    @property
    def margins(self) -> NDArray[np.float64]:
        """(N,) how far each score is on the right side of the threshold; negative for an error."""
        return np.where(self.is_target, 1, -1) * (self.values - self.threshold)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(N,) which trials have a score."""
        return ~np.isnan(self.values)


def read_score_set(exp: Path, system: str, mode: str, trials: TrialList) -> ScoreSet | None:
    """Normalized scores of a system on a list, raw ones where there are no others, None where there are none.

    Raises:
        DataError: scores of other trials or not finite, a class of trials missing.
    """
    files = {path.suffix[1:]: path for path in score_files(exp / system / "scores" / trials.name) if path.stem == mode}
    stage = next((stage for stage in STAGES if stage in files), None)
    if stage is None:
        return None
    scores = read_trial_scores(files[stage], trials)
    values = np.full(len(trials.enroll), np.nan)
    values[scores.places] = scores.values
    is_target = trials.trials.is_target
    scored = ~np.isnan(values)
    try:
        threshold = eer_threshold(values[scored], is_target[scored])
    except ValueError as error:
        raise DataError(f"{files[stage]}: {error}") from error
    return ScoreSet(system, mode, stage, values, is_target, threshold)


class Spread(NamedTuple):
    """One line of geometry.csv: the distribution of an angle in degrees, or of the silhouette in [-1, 1]."""

    modality: str
    measure: str
    count: int
    mean: float
    std: float
    p05: float
    median: float
    p95: float


def read_geometry(path: Path) -> list[Spread]:
    """The lines of a geometry.csv that have a count; none where the file is missing."""
    return [spread for spread in records(read_frame(path, Spread), Spread) if spread.count] if path.is_file() else []


class Point(NamedTuple):
    """One line of projection.csv: an utterance in the plane."""

    modality: str
    utterance: str
    identity: str
    x: float
    y: float


class Cost(NamedTuple):
    """One line of cost.csv: a part of a system, as :class:`avsv.analysis.cost.Cost`."""

    part: str
    parameters: int
    multiply_adds: int
    seconds: float
