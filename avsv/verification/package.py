"""A trained system with everything needed to verify people: in memory, and as one folder.

``model.json``
    all settings, see :class:`Settings`
``weights.safetensors``
    the weights of the networks
``scores.safetensors``
    the cohort, and the log-likelihood ratios of the development trials, see :mod:`avsv.scoring.records`
``detector/``
    the weights of the face detector, where the run took them from a folder
``MODEL.md``
    a description for readers, see :mod:`avsv.verification.card`

The folder contains no code, and reading it runs none.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from avsv.audio.config import FbankConfig
from avsv.config.strict import read_dataclass
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.safetensors import read_tensors, write_tensors
from avsv.model.build import load_exactly
from avsv.model.config import SystemConfig
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.scoring.calibration import LinearCalibration
from avsv.scoring.records import (
    Calibrated,
    Development,
    Normalization,
    development_of,
    development_tensors,
)
from avsv.video.config import FaceFormat, FacesConfig
from avsv.video.detect import weight_files

FORMAT = 2
BUILTIN = "builtin"  # what local/prepare_data.sh of the built-in corpus writes to DATA/corpus
NO_LICENSE = "not stated"
SETTINGS, WEIGHTS, SCORES, DETECTOR = "model.json", "weights.safetensors", "scores.safetensors", "detector"
DESCRIPTION = "MODEL.md"
_NEW, _OLD = ".avsv-new", ".avsv-old"  # where a model is while it is written, and the one that it replaces


@dataclass(frozen=True)
class CalibrationSettings:
    """A mode's calibration: llr = scale * score + sum of weight * quality measure + offset."""

    scale: float
    offset: float
    quality: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, calibrated: Calibrated) -> "CalibrationSettings":
        """As settings."""
        scale, offset, weights = calibrated.calibration
        return cls(scale, offset, dict(zip(calibrated.quality, weights, strict=True)))

    def calibrated(self) -> Calibrated:
        """The inverse of :meth:`of`."""
        linear = LinearCalibration(self.scale, self.offset, tuple(self.quality.values()))
        return Calibrated(linear, tuple(self.quality))


@dataclass(frozen=True)
class Training:
    """Where a system comes from.

    Args:
        speakers: how many it was trained on.
        seed: of the training.
        git: revision of the code; null where it was not known.
        versions: of the packages that computed.
        lists: md5 of every list and file that it was trained on.
        corpus: name of the corpus, as in the file DATA/corpus; null where it was not known.
    """

    speakers: int
    seed: int
    git: str | None
    versions: dict[str, str]
    lists: dict[str, str]
    corpus: str | None = None


@dataclass(frozen=True)
class Settings:
    """The content of ``model.json``.

    Args:
        format: of the folder; 2.
        name: of the system.
        license: terms of use.
        avsv: version of the program that wrote the folder.
        identity: md5 of the weights, by which galleries recognize their model.
        system: networks, how they were trained, and how whole utterances are embedded.
        fbank: how audio is read and features are made; null for a system without audio.
        faces: how face crops are made; null for a system without video.
        calibration: per mode, and as AVxA/1 for trials of which only one order can be scored.
        thresholds: per mode, on the log-likelihood ratio, by false-accept rate in percent; null where the development
            trials are too few.
        training: where it comes from.
        results: the rows of the run's results table.
    """

    format: int
    name: str
    license: str
    avsv: str
    identity: str
    system: SystemConfig
    fbank: FbankConfig | None
    faces: "FaceSettings | None"
    calibration: dict[str, CalibrationSettings]
    thresholds: dict[str, dict[str, float | None]]
    training: Training
    results: tuple[dict[str, str], ...] = ()

    def to_json(self) -> str:
        """As the text of the file."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["system"] = self.system.to_mapping()
        for name in ("fbank", "training"):
            values[name] = values[name] and dataclasses.asdict(values[name])
        values["faces"] = self.faces and self.faces.form.settings()
        values["calibration"] = {mode: dataclasses.asdict(part) for mode, part in self.calibration.items()}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read the file. Raises DataError: no such file, another format, a wrong or missing key."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file: {path.parent} is not the folder of a model") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        if not isinstance(values, dict) or type(values.get("format")) is not int:
            raise DataError(f"{path}: has no number under 'format': it is not the description of a model")
        if values["format"] != FORMAT:
            raise DataError(
                f"{path}: format {values['format']}, this version of avsv reads format {FORMAT}: "
                + ("update avsv" if values["format"] > FORMAT else "export the model again")
            )
        return read_dataclass(cls, values, str(path))


@dataclass(frozen=True)
class FaceSettings:
    """How face crops are made; where a run did not record that, only their form is known."""

    form: FaceFormat

    @classmethod
    def from_mapping(cls, mapping: Any, where: str) -> "FaceSettings":
        """Check the section ``faces``; see :func:`avsv.config.strict.read_dataclass`."""
        if not isinstance(mapping, dict):
            raise DataError(f"{where}: expected 'key: value' pairs")
        return cls(FaceFormat.from_settings(mapping, where))


@dataclass(frozen=True)
class Package:
    """A trained system with everything needed to verify people.

    Args:
        where: the folder it was read from.
        settings: see :class:`Settings`.
        embedder: the networks with their weights, in evaluation mode, on the CPU.
        normalization: of scores.
        development: log-likelihood ratios of the development trials.
    """

    where: Path
    settings: Settings
    embedder: Embedder
    normalization: Normalization
    development: Development

    FILES: ClassVar = (SETTINGS, WEIGHTS, SCORES)

    @property
    def faces(self) -> FacesConfig | None:
        """How face crops are made; None for a system without video, or where that is not known."""
        form = self.settings.faces and self.settings.faces.form
        return form if isinstance(form, FacesConfig) else None

    @property
    def caution(self) -> str | None:
        """What a user must know before trusting a decision; None if nothing is known."""
        if self.settings.training.corpus != BUILTIN:
            return None
        return (
            "made for the built-in corpus of synthetic voices and drawn faces: its decisions say nothing about people"
        )

    @property
    def inputs(self):
        """What the networks take: :class:`avsv.data.inputs.Inputs`."""
        faces = self.settings.faces
        return inputs_of(self.settings.system, self.settings.fbank, faces and faces.form)

    def save(self, folder: Path, description: str) -> None:
        """Write the folder of the model.

        A model that is there is replaced when the new one is complete.

        Args:
            folder: new, empty, or that of a model.
            description: the text of ``MODEL.md``.

        Raises:
            DataError: the folder holds something else; the detector's weights are not there.
        """
        model_to_replace(folder)
        settings, faces = self.settings, self.faces
        sources = []
        if faces is not None and faces.detector_weights:
            sources = [Path(faces.detector_weights) / name for name in weight_files(faces)]
            settings = dataclasses.replace(
                settings, faces=FaceSettings(dataclasses.replace(faces, detector_weights=DETECTOR))
            )
        for source in sources:
            if not source.is_file():
                raise DataError(f"{source}: no such file: the model needs the weights of its face detector")
        with _replace_content(folder) as new:
            for source in sources:
                (new / DETECTOR).mkdir(exist_ok=True)
                shutil.copyfile(source, new / DETECTOR / source.name)
            arrays = {name: value.numpy() for name, value in self.embedder.state_dict().items()}
            write_tensors(new / WEIGHTS, arrays, {})
            content = self.normalization.to_tensors()
            write_tensors(new / SCORES, content.arrays | development_tensors(self.development), content.metadata)
            write_text(new / DESCRIPTION, description)
            write_text(new / SETTINGS, settings.to_json())

    @classmethod
    def load(cls, folder: Path) -> "Package":
        """Read the folder of a model.

        Raises:
            DataError: a file is missing or damaged, has another format, or the files do not belong together.
        """
        settings = Settings.read(folder / SETTINGS)
        for name in cls.FILES:
            if not (folder / name).is_file():
                raise DataError(f"{folder / name}: no such file: only a part of the model is there: copy it again")
        weights = read_tensors(folder / WEIGHTS).arrays
        embedder = Embedder(settings.system)
        state = {name: torch.from_numpy(value) for name, value in weights.items()}
        load_exactly(embedder, state, str(folder / WEIGHTS))
        if (found := identity_of(embedder.state_dict())) != settings.identity:
            raise DataError(
                f"{folder / WEIGHTS}: md5 {found}, {SETTINGS} expects {settings.identity}: the files of two models are"
                " mixed, or the weights are damaged: copy the model again"
            )
        content = read_tensors(folder / SCORES)
        normalization = Normalization.of_tensors(folder / SCORES, content)
        development = development_of(content.arrays)
        lacking = [m for m in embedder.modes if m not in normalization.cohorts]
        lacking += [mode for mode in settings.calibration if mode not in development]
        if lacking:
            raise DataError(f"{folder / SCORES}: lacks {lacking[0]}: the files of two models are mixed: copy it again")
        form = settings.faces and settings.faces.form
        if isinstance(form, FacesConfig) and form.detector_weights:
            form = dataclasses.replace(form, detector_weights=str(folder / form.detector_weights))
            settings = dataclasses.replace(settings, faces=FaceSettings(form))
            for name in weight_files(form):
                if not Path(form.detector_weights, name).is_file():
                    raise DataError(
                        f"{form.detector_weights}/{name}: no such file: only a part of the model is there: copy it"
                        " again"
                    )
        return cls(folder, settings, embedder.eval(), normalization, development)


def model_to_replace(folder: Path) -> Settings | None:
    """The settings of the model in a folder that is written; None for a new or empty folder.

    Raises:
        DataError: the folder holds anything other than a model, which would be lost.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file: give a new folder")
    names = {path.name for path in folder.iterdir()} - {_NEW, _OLD} if folder.is_dir() else set()
    if not names:
        return None
    advice = "give a new folder, or that of a model"
    if SETTINGS not in names:
        raise DataError(f"{folder}: holds other files: {advice}")
    try:
        settings = Settings.read(folder / SETTINGS)
    except DataError as error:
        raise DataError(f"{error}: {folder} is not replaced: {advice}") from None
    form = settings.faces and settings.faces.form
    others = names - {*Package.FILES, DESCRIPTION}
    if DETECTOR in others and isinstance(form, FacesConfig) and form.detector_weights:
        inside = {path.name for path in (folder / DETECTOR).iterdir()} - set(weight_files(form))
        others = others - {DETECTOR} | {f"{DETECTOR}/{name}" for name in inside}
    if others:
        raise DataError(f"{folder}: holds other files, as {min(others)}: {advice}")
    return settings


@contextlib.contextmanager
def _replace_content(folder: Path) -> Iterator[Path]:
    """A folder to write to, inside another, whose content it replaces if the block succeeds."""
    new, old = folder / _NEW, folder / _OLD
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        yield new
        # From here on there are only renames, which need no space.
        shutil.rmtree(old, ignore_errors=True)
        before, after = [path for path in folder.iterdir() if path != new], list(new.iterdir())
        old.mkdir()
        for path in before:
            path.rename(old / path.name)
        for path in after:
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def identity_of(state: Mapping[str, Tensor]) -> str:
    """The md5 of weights and their names, in whatever file they are."""
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(state[name].cpu().numpy()).tobytes())
    return digest.hexdigest()
