"""Scores of pairs of embedded recordings, as stages 7 to 9 of the recipe compute them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.scoring.cosine import cosine_scores
from avsv.scoring.modes import assignments, parse_mode
from avsv.scoring.norm import Normalizer
from avsv.scoring.quality import quality_columns
from avsv.scoring.records import Calibrated, Normalization
from avsv.scoring.trials import Embeddings


class Embedded(NamedTuple):
    """One side of trials: a recording, or what several recordings of a person have in common.

    Attributes:
        name: for messages.
        vectors: per mode of the embedder (D,) float32 of length 1; a mode that it lacks is left out.
        lengths: of the embeddings before they were scaled, per mode.
        seconds: duration; None if unknown.
        faces: number of face crops; None if unknown.
    """

    name: str
    vectors: Mapping[str, NDArray[np.float32]]
    lengths: Mapping[str, float]
    seconds: float | None = None
    faces: int | None = None


class PairScores(NamedTuple):
    """Scores (N,) of pairs: raw cosines, normalized, and log-likelihood ratios (None for an uncalibrated mode)."""

    cosine: NDArray[np.float64]
    score: NDArray[np.float64]
    llr: NDArray[np.float64] | None


def scale_to_unit(name: str, vector: NDArray, mean: NDArray | None) -> NDArray[np.float32]:
    """Subtract the mean from an embedding (D,) and scale it to length 1. Raises DataError for a result of zeros."""
    vector = np.array(vector, dtype=np.float32)
    if mean is not None:
        vector -= mean
    length = np.sqrt(np.einsum("d,d->", vector, vector, dtype=np.float64))
    if length == 0:
        raise DataError(f"{name}: its embedding is all zeros: check the training")
    return (vector / length).astype(np.float32)


def possible_assignments(mode: str, enroll: Embedded, test: Embedded) -> list[tuple[str, str]]:
    """The orders in which a trial can be scored in a mode: two if its sides differ and both recordings have both.

    Raises:
        DataError: a side lacks what the mode needs.
    """
    able = [(a, b) for a, b in assignments(mode) if a in enroll.vectors and b in test.vectors]
    if not able:
        has = ", ".join(f"{side.name}: {' '.join(side.vectors)}" for side in (enroll, test))
        raise DataError(f"mode {mode}: the recordings lack the modalities that it needs ({has})")
    return able


def score_pairs(
    sides: Sequence[Embedded],
    enroll: NDArray[np.int64],
    test: NDArray[np.int64],
    mode: str,
    orders: Sequence[tuple[str, str]],
    normalization: Normalization,
    calibrated: Calibrated | None,
) -> PairScores:
    """Score pairs of sides in one mode.

    Args:
        sides: U embedded recordings or persons.
        enroll, test: (N,) rows of the two sides of every pair.
        mode: evaluation mode.
        orders: the modalities of both sides in every order that is scored; the scores are averaged.
        normalization: of the system.
        calibrated: the mode's calibration; None for none.

    Raises:
        DataError: a quality measure of the calibration is unknown for a side.
    """
    embeddings = {modality: _matrix(sides, modality) for modality in {m for order in orders for m in order}}
    normalizer = Normalizer(embeddings, normalization.cohorts, normalization.variant, normalization.top_n)
    raw = [cosine_scores(embeddings[a].matrix, embeddings[b].matrix, enroll, test) for a, b in orders]
    scores = np.mean([normalizer.score(a, b, enroll, test) for a, b in orders], axis=0)
    llr = None
    if calibrated is not None:
        columns = _quality(sides, enroll, test, mode, calibrated, normalizer)
        # The recipe calibrates scores as it reads them from files.
        llr = calibrated.calibration(scores.astype(np.float32), columns)
    return PairScores(np.mean(raw, axis=0), scores, llr)


def _matrix(sides: Sequence[Embedded], modality: str) -> Embeddings:
    present = np.array([modality in side.vectors for side in sides])
    size = next(len(side.vectors[modality]) for side in sides if modality in side.vectors)
    nothing = np.zeros(size, np.float32)
    return Embeddings(np.stack([side.vectors.get(modality, nothing) for side in sides]), present)


def _quality(sides, enroll, test, mode, calibrated: Calibrated, normalizer: Normalizer) -> list[NDArray[np.float64]]:
    """The columns (N,) that a calibration takes, in its order."""
    wanted = {column.split("_")[0] for column in calibrated.quality}
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    modalities = sorted(set(parse_mode(mode)))
    for name in wanted:
        if name in ("duration", "faces"):
            known = [side.seconds if name == "duration" else side.faces for side in sides]
            for side, value in zip(sides, known, strict=True):
                if not value:
                    raise DataError(f"{side.name}: the calibration of mode {mode} needs its {name}, which is unknown")
            column = np.log(np.array(known, dtype=np.float64))
            values[name] = {m: column for m in modalities if name == "duration" or "V" in m}
        elif name == "norm":
            values[name] = {m: np.array([side.lengths.get(m, np.nan) for side in sides]) for m in modalities}
        else:
            values[name] = {m: normalizer.statistics(m).mean.copy() for m in modalities}
            for modality, column in values[name].items():
                column[~normalizer.embeddings[modality].present] = np.nan
    columns = quality_columns(values, mode, enroll, test)
    return [_known(columns[name], values, name, enroll, test) for name in calibrated.quality]


def _known(column, values, name: str, enroll, test) -> NDArray[np.float64]:
    """A mean of both sides' values; only one exists where only one order was scored."""
    missing = np.isnan(column)
    if missing.any():
        measure, modality = name.split("_")
        both = np.stack([values[measure][modality][enroll], values[measure][modality][test]])
        column = np.where(missing, np.nanmean(both, axis=0), column)
    return column
