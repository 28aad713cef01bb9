"""Data of the report besides the results, from the files of a run: scores of the best systems, geometry and cost."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.analysis.rows import Agreement, Averaging, NullRepresentation
from avsv.errors import DataError
from avsv.results.frames import read_frame, records
from avsv.results.scores import read_trial_scores, score_files
from avsv.scoring.metrics import eer_threshold
from avsv.scoring.trials import TrialList

STAGES = ("asnorm", "cos")
"""Score stages that are shown trial by trial, the preferred one first."""


class ScoreSet(NamedTuple):
    """The scores of a system in a mode on a whole trial list of N trials.

    Attributes:
        system: name of the system.
        mode, stage: mode and stage of the scores.
        values: (N,) scores, NaN for trials that could not be scored.
        is_target: (N,) labels of the list.
        threshold: trials above it are accepted; the threshold at which the two error rates differ least.
    """

    system: str
    mode: str
    stage: str
    values: NDArray[np.float64]
    is_target: NDArray[np.bool_]
    threshold: float

    @property
    def margins(self) -> NDArray[np.float64]:
        """(N,) distance of each score from the threshold on the right side; negative for an error."""
        return np.where(self.is_target, 1, -1) * (self.values - self.threshold)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(N,) which trials have a score."""
        return ~np.isnan(self.values)


def read_score_set(exp: Path, system: str, mode: str, trials: TrialList) -> ScoreSet | None:
    """Read the normalized scores of a system on a list, or raw ones if there are no others; None without scores.

    Raises:
        DataError: scores belong to other trials or are not finite, or a class of trials is missing.
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
    """Read the lines of a geometry.csv that have a count; empty if the file is missing."""
    return [spread for spread in records(read_frame(path, Spread), Spread) if spread.count] if path.is_file() else []


def read_mechanisms(folder: Path) -> dict[tuple[str, str], float]:
    """What worth.csv, averaging.csv and null.csv in the folder of a system's analyses say, by modality and kind.

    ``attention`` of A and V is the rank correlation of the attention with the true worth, ``averaging`` of AV that of
    the fused cosines with the means of those of voice and face, ``null`` of A and V the distance of their embeddings
    without the other modality from the mean.
    """
    found = {}
    if (path := folder / "worth.csv").is_file():
        for row in records(read_frame(path, Agreement), Agreement):
            found["A" if row.modality == "audio" else "V", "attention"] = row.correlation
    if (path := folder / "averaging.csv").is_file():
        found["AV", "averaging"] = records(read_frame(path, Averaging), Averaging)[0].correlation
    if (path := folder / "null.csv").is_file():
        for row in records(read_frame(path, NullRepresentation), NullRepresentation):
            found["V" if row.missing == "audio" else "A", "null"] = row.distance
    return found


class Point(NamedTuple):
    """One line of projection.csv: an utterance in the plane."""

    modality: str
    utterance: str
    identity: str
    x: float
    y: float
