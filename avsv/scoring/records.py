"""Files that keep the normalization and the calibration of a system, to score other trials later.

``SYSTEM/scores/normalization.safetensors``
    the speaker means of the cohort (``cohort.MODALITY``), and the mean that was subtracted first (``mean.MODALITY``)
``SYSTEM/scores/development.safetensors``
    the log-likelihood ratios of the development trials (``MODE.target`` and ``MODE.nontarget``), in increasing order
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.safetensors import TensorFile, read_tensors, write_tensors
from avsv.scoring.calibration import LinearCalibration
from avsv.scoring.norm import Cohort

NORMALIZATION, DEVELOPMENT, CALIBRATION = "normalization.safetensors", "development.safetensors", "calibration.csv"
CALIBRATION_FIELDS = [
    "mode",
    "scale",
    "offset",
    "prior",
    "n_target",
    "n_nontarget",
    "cllr",
    "min_cllr",
    "dcf",
    "min_dcf",
]
_AGAIN = "made by an earlier version: remove {} and run stages 8 and 9 again"


class Normalization(NamedTuple):
    """All that is needed to normalize a score, besides the two embeddings.

    Attributes:
        variant: as :func:`avsv.scoring.norm.find_variant` takes it.
        top_n: nearest cohort speakers of an utterance, for adaptive variants.
        cohorts: per modality.
        means: per modality (D,), subtracted from an embedding first; empty where nothing is subtracted.
    """

    variant: str
    top_n: int
    cohorts: Mapping[str, Cohort]
    means: Mapping[str, NDArray[np.float32]]

    def to_tensors(self) -> TensorFile:
        """Convert to arrays and text. Speakers become numbers, equal in all modalities: only their order matters."""
        number = {name: n for n, name in enumerate(sorted({s for c in self.cohorts.values() for s in c.speakers}))}
        arrays: dict[str, NDArray] = {}
        for modality, cohort in self.cohorts.items():
            arrays[f"cohort.{modality}"] = cohort.means
            arrays[f"speakers.{modality}"] = np.array([number[name] for name in cohort.speakers], np.int32)
        arrays.update({f"mean.{modality}": mean for modality, mean in self.means.items()})
        return TensorFile(arrays, {"variant": self.variant, "top_n": str(self.top_n)})

    @classmethod
    def of_tensors(cls, path: Path, content: TensorFile) -> "Normalization":
        """The inverse of :meth:`to_tensors`. Raises DataError where something is missing."""
        arrays = content.arrays
        modalities = [name.removeprefix("cohort.") for name in arrays if name.startswith("cohort.")]
        try:
            cohorts = {
                modality: Cohort([f"{n:08d}" for n in arrays[f"speakers.{modality}"]], arrays[f"cohort.{modality}"])
                for modality in sorted(modalities)
            }
            variant, top_n = content.metadata["variant"], int(content.metadata["top_n"])
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}: holds no cohort of speakers: {error}: make it again") from None
        means = {name.removeprefix("mean."): mean for name, mean in arrays.items() if name.startswith("mean.")}
        return cls(variant, top_n, cohorts, means)


Development = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Per mode the log-likelihood ratios of target and of non-target development trials, in increasing order."""


class Calibrated(NamedTuple):
    """A mode's calibration, and the names of the quality measures that it takes."""

    calibration: LinearCalibration
    quality: tuple[str, ...]


def write_normalization(scores_dir: Path, normalization: Normalization) -> None:
    """Write ``normalization.safetensors`` of a system."""
    write_tensors(scores_dir / NORMALIZATION, *normalization.to_tensors())


def read_normalization(scores_dir: Path) -> Normalization:
    """Read it. Raises DataError: no such file, or not a complete one."""
    path = _existing(scores_dir / NORMALIZATION, ".norm.done", "stages 6 to 9")
    return Normalization.of_tensors(path, read_tensors(path))


def _existing(path: Path, marker: str, stages: str) -> Path:
    """The path. Raises DataError with what to run if the file is missing; an older version only left the marker."""
    if not path.is_file():
        done = path.parent / marker
        reason = _AGAIN.format(done) if done.is_file() else f"run {stages} of the recipe first"
        raise DataError(f"{path}: no such file: {reason}")
    return path


def development_tensors(development: Development) -> dict[str, NDArray[np.float32]]:
    """As arrays by name."""
    targets = {f"{mode}.target": target for mode, (target, _) in development.items()}
    return targets | {f"{mode}.nontarget": nontarget for mode, (_, nontarget) in development.items()}


def development_of(arrays: Mapping[str, NDArray]) -> Development:
    """The inverse of :func:`development_tensors`."""
    modes = [name.removesuffix(".target") for name in arrays if name.endswith(".target")]
    return {mode: (arrays[f"{mode}.target"], arrays[f"{mode}.nontarget"]) for mode in modes}


def write_development(scores_dir: Path, development: Development) -> None:
    """Write ``development.safetensors`` of a system."""
    write_tensors(scores_dir / DEVELOPMENT, development_tensors(development), {})


def read_development(scores_dir: Path) -> Development:
    """Read it. Raises DataError: no such file, or not a complete one."""
    return development_of(read_tensors(_existing(scores_dir / DEVELOPMENT, ".calibration.done", "stage 9")).arrays)


def read_calibration(scores_dir: Path) -> dict[str, Calibrated]:
    """The calibration of every mode, from ``calibration.csv``.

    Raises:
        DataError: no such file, or not such a table.
    """
    path = scores_dir / CALIBRATION
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file: run stage 9 of the recipe first") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file (UTF-8): run stage 9 of the recipe again") from None
    try:
        calibrated = {}
        for row in rows:
            quality = {name: float(row[name]) for name in list(row)[len(CALIBRATION_FIELDS) :] if row[name]}
            linear = LinearCalibration(float(row["scale"]), float(row["offset"]), tuple(quality.values()))
            calibrated[row["mode"]] = Calibrated(linear, tuple(quality))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a table of calibrations: {error}: calibrate again") from None
    return calibrated
