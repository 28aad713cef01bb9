"""Quality measures of trials, which indicate to a calibration how reliable a score is.

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
from avsv.scoring.trials import TrialSet

MEASURES = ("duration", "faces", "norm", "cohort")
"""Logarithms of seconds and of face crops, lengths of embeddings, mean scores of the nearest cohort speakers."""

OF_EMBEDDINGS = ("norm", "cohort")
"""Measures that an ensemble cannot use, because it has no embeddings."""

Values = Mapping[str, NDArray[np.float64]]
"""A measure of the S sides of trials, per modality to which it applies; modalities can share one array."""


def read_measures(
    names: Sequence[str], data_dir: Path, trial_set: TrialSet, system: Path, modalities: Sequence[str]
) -> dict[str, Values]:
    """Read measures of the sides of trials; those of a model are the means of its utterances.

    Args:
        names: some of :data:`MEASURES`.
        data_dir: data directory with ``utt2dur`` and ``utt2num_faces``.
        trial_set: the trials of the data directory.
        system: folder with ``embeddings/SET.MODALITY.scp`` and ``scores/SET.MODALITY.cohort``.
        modalities: the required ones of A, V and AV.

    Returns:
        The values of each measure; NaN for a side without a value.

    Raises:
        DataError: a file is missing, or contains something other than numbers, or numbers that must be positive are
            not.
    """
    utterances, mean = trial_set.members.utterances, trial_set.members.mean
    measures: dict[str, Values] = {}
    for name in names:
        if name == "duration":
            seconds = np.log(mean(_read(data_dir / "utt2dur", utterances, positive=True)))
            measures[name] = dict.fromkeys(modalities, seconds)
        elif name == "faces":
            seen = [modality for modality in modalities if "V" in modality]
            if seen:
                crops = np.log(mean(_read(data_dir / "utt2num_faces", utterances, positive=True)))
                measures[name] = dict.fromkeys(seen, crops)
        elif name == "norm":
            paths = {m: system / "embeddings" / f"{data_dir.name}.{m}.scp" for m in modalities}
            measures[name] = {m: mean(_norms(path, utterances)) for m, path in paths.items()}
        elif name == "cohort":
            paths = {m: system / "scores" / f"{data_dir.name}.{m}.cohort" for m in modalities}
            measures[name] = {m: _read(path, trial_set.sides) for m, path in paths.items()}
        else:
            raise DataError(f"quality measure '{name}' is not one of {' '.join(MEASURES)}")
    return measures


def quality_columns(
    measures: Mapping[str, Values], mode: str, enroll_rows: NDArray, test_rows: NDArray
) -> dict[str, NDArray[np.float64]]:
    """Measures (N,) of trials, which do not change if enrollment and test are exchanged.

    A measure that both sides of a mode have gives the smaller and the larger value of the two utterances. If the sides
    differ (AVxA), a trial is scored in both orders, so the value of each side is the mean over the utterances.

    Args:
        measures: values by measure and modality.
        mode: evaluation mode.
        enroll_rows, test_rows: (N,) rows of the pairs.

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


def _read(path: Path, keys: list[str], positive: bool = False) -> NDArray[np.float64]:
    """The numbers in a list, in the order of the keys; NaN for a key that is not in the list."""
    values = {}
    for number, (key, word) in enumerate(read_list(path, fields=2).items(), 1):
        try:
            values[key] = float(word)
        except ValueError:
            values[key] = np.nan
        if not np.isfinite(values[key]) or (positive and values[key] <= 0):
            raise DataError(f"{path}:{number}: '{word}', expected a number{' above 0' if positive else ''}")
    return np.array([values.get(key, np.nan) for key in keys])


def _norms(path: Path, utterances: list[str]) -> NDArray[np.float64]:
    keys, matrix = read_vectors(path)
    norms = dict(zip(keys, np.linalg.norm(matrix.astype(np.float64), axis=1).tolist(), strict=True))
    return np.array([norms.get(utterance, np.nan) for utterance in utterances])
