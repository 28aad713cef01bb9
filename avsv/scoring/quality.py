"""Quality measures of trials, which tell a calibration how far to trust a score.

Source: Thienpondt et al. 2021, "The IDLab VoxSRC-20 submission", arXiv:2010.11255.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.ark import read_vectors
from avsv.io.lists import read_list
from avsv.scoring.modes import parse_mode

MEASURES = ("duration", "faces", "norm", "cohort")
"""Logarithms of seconds and of face crops, lengths of embeddings, means of the nearest cohort speakers' scores."""

OF_EMBEDDINGS = ("norm", "cohort")
"""Those that an ensemble lacks, which has no embeddings."""

Values = Mapping[str, NDArray[np.float64]]
"""A measure of U utterances, per modality that it applies to; the same array where it is the same in several."""


def read_measures(
    names: Sequence[str], data_dir: Path, utterances: list[str], system: Path, modalities: Sequence[str]
) -> dict[str, Values]:
    """Read measures of utterances.

    Args:
        names: some of :data:`MEASURES`.
        data_dir: has ``utt2dur`` and ``utt2num_faces``.
        utterances: U ids.
        system: has ``embeddings/SET.MODALITY.scp`` and ``scores/SET.MODALITY.cohort``.
        modalities: which of A, V and AV are needed.

    Returns:
        Per measure its values; NaN for an utterance that has none.

    Raises:
        DataError: a file is missing, or holds something else than numbers, or not above 0 where its logarithm is taken.
    """
    measures: dict[str, Values] = {}
    for name in names:
        if name == "duration":
            seconds = np.log(_read(data_dir / "utt2dur", utterances, positive=True))
            measures[name] = dict.fromkeys(modalities, seconds)
        elif name == "faces":
            seen = [modality for modality in modalities if "V" in modality]
            if seen:
                crops = np.log(_read(data_dir / "utt2num_faces", utterances, positive=True))
                measures[name] = dict.fromkeys(seen, crops)
        elif name == "norm":
            paths = {m: system / "embeddings" / f"{data_dir.name}.{m}.scp" for m in modalities}
            measures[name] = {m: _norms(path, utterances) for m, path in paths.items()}
        elif name == "cohort":
            paths = {m: system / "scores" / f"{data_dir.name}.{m}.cohort" for m in modalities}
            measures[name] = {m: _read(path, utterances) for m, path in paths.items()}
        else:
            raise DataError(f"quality measure '{name}' is not one of {' '.join(MEASURES)}")
    return measures


def quality_columns(
    measures: Mapping[str, Values], mode: str, enroll_rows: NDArray, test_rows: NDArray
) -> dict[str, NDArray[np.float64]]:
    """Measures (N,) of trials, the same when enrolment and test change places.

    A measure that both sides of a mode share gives the smaller and the larger of the two utterances' values. Where the
    sides differ (AVxA), a trial is scored in both orders, and so each side's value is the mean over the utterances.

    Args:
        measures: values by measure and modality.
        mode: evaluation mode.
        enroll_rows, test_rows: (N,) the pairs.

    Example:
        >>> seconds = np.log([2.0, 8.0])
        >>> columns = quality_columns({"duration": {"A": seconds}}, "AxA", np.array([1]), np.array([0]))
        >>> {name: np.exp(column).round(6).tolist() for name, column in columns.items()}
        {'duration_min': [2.0], 'duration_max': [8.0]}
    """
    columns = {}
    for name, values in measures.items():
        there = {modality: values[modality] for modality in parse_mode(mode) if modality in values}
        first = next(iter(there.values()), None)
        if set(parse_mode(mode)) == set(there) and all(side is first for side in there.values()):
            columns[f"{name}_min"] = np.minimum(first[enroll_rows], first[test_rows])
            columns[f"{name}_max"] = np.maximum(first[enroll_rows], first[test_rows])
        else:
            for modality, side in there.items():
                columns[f"{name}_{modality}"] = (side[enroll_rows] + side[test_rows]) / 2
    return columns


def _read(path: Path, utterances: list[str], positive: bool = False) -> NDArray[np.float64]:
    """The numbers of a list, in the order of the utterances; NaN for one that is not in it."""
    values = {}
    for number, (key, word) in enumerate(read_list(path, fields=2).items(), 1):
        try:
            values[key] = float(word)
        except ValueError:
            values[key] = np.nan
        if not np.isfinite(values[key]) or (positive and values[key] <= 0):
            raise DataError(f"{path}:{number}: '{word}', expected a number{' above 0' if positive else ''}")
    return np.array([values.get(utterance, np.nan) for utterance in utterances])


def _norms(path: Path, utterances: list[str]) -> NDArray[np.float64]:
    keys, matrix = read_vectors(path)
    norms = dict(zip(keys, np.linalg.norm(matrix.astype(np.float64), axis=1).tolist(), strict=True))
    return np.array([norms.get(utterance, np.nan) for utterance in utterances])
