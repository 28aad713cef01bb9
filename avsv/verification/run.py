"""The package of a system in the folder of a finished run."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import avsv
from avsv.config.strict import read_yaml
from avsv.errors import DataError
from avsv.model.saved import TrainedSystem
from avsv.scoring.records import read_calibration, read_development, read_normalization
from avsv.scoring.thresholds import read_thresholds
from avsv.verification.package import (
    FORMAT,
    NO_LICENSE,
    CalibrationSettings,
    FaceSettings,
    Package,
    Settings,
    Training,
    identity_of,
)
from avsv.video.config import FaceFormat, FacesConfig

_COLUMNS = [
    "corpus",
    "trials",
    "mode",
    "stage",
    "n_target",
    "n_nontarget",
    "eer",
    "eer_low",
    "eer_high",
    "mindcf",
    "cllr",
]


def package_of_run(folder: Path, license: str = NO_LICENSE) -> Package:
    """Gather what a system of a run needs.

    Args:
        folder: EXP/PRESET/SYSTEM, after stages 0 to 9.
        license: terms of use.

    Raises:
        DataError: the system was not trained, normalized or calibrated, or something of it cannot be read.
    """
    if (folder / "scores").is_dir() and not (folder / "final.pt").is_file() and not (folder / "embeddings").is_dir():
        raise DataError(f"{folder}: an ensemble has no networks of its own: give the folder of one of its members")
    trained = TrainedSystem.load(folder / "final.pt")
    scores = folder / "scores"
    normalization, development = read_normalization(scores), read_development(scores)
    calibration = {mode: CalibrationSettings.of(part) for mode, part in read_calibration(scores).items()}
    lacking = [mode for mode in trained.config.modalities if mode not in normalization.cohorts]
    if lacking:
        raise DataError(f"{scores}: no cohort in mode {lacking[0]}: run stages 6 to 9 again without --modes")
    about = read_yaml(folder / "run.yaml")
    thresholds: dict[str, dict[str, float | None]] = {}
    for row in read_thresholds(scores / "thresholds.csv"):
        thresholds.setdefault(row.mode, {})[f"{row.wanted:g}"] = row.threshold
    results = _results(folder)
    settings = Settings(
        format=FORMAT,
        name=folder.resolve().name,
        license=license,
        avsv=avsv.__version__,
        identity=identity_of(trained.embedder),
        system=trained.config,
        fbank=trained.audio,
        faces=trained.video and FaceSettings(_with_weights(trained.video, about)),
        calibration=calibration,
        thresholds=thresholds,
        training=_training(trained, about, _corpus(folder, about, results)),
        results=results,
    )
    return Package(folder, settings, trained.build(), normalization, development)


def _training(trained: TrainedSystem, about: dict[str, Any], corpus: str | None) -> Training:
    lists = {}
    for path, digest in about.get("files", {}).items():
        name = "/".join(Path(path).parts[-2:])
        if not Path(path).name.startswith("."):
            lists[name] = str(digest)
    versions = {name: str(version) for name, version in about.get("versions", {}).items()}
    return Training(len(trained.classes), about.get("seed", 0), about.get("git"), versions, lists, corpus)


def _corpus(folder: Path, about: dict[str, Any], results: tuple[dict[str, str], ...]) -> str | None:
    """The corpus of a run: that of its results, or the word in the file ``corpus`` beside the training data."""
    names = {row["corpus"] for row in results if "corpus" in row}
    if not names:
        # Paths of the lists may be relative to the folder in which the recipe ran, which is one above EXP or higher.
        bases = [Path(), *folder.resolve().parents]
        files = {base / Path(path).parent.parent / "corpus" for path in about.get("files", {}) for base in bases}
        names = {file.read_text(encoding="utf-8").strip() for file in files if file.is_file()}
    return ", ".join(sorted(names)) or None


def _with_weights(form: FaceFormat, about: dict[str, Any]) -> FaceFormat:
    """The settings of the face crops, with the folder of the detector's weights as the training data name it."""
    if not isinstance(form, FacesConfig) or form.detector == "none":
        return form
    for path in map(Path, about.get("files", {})):
        if path.name == "faces.conf" and path.is_file():
            found = FaceFormat.read(path)
            if isinstance(found, FacesConfig) and Path(found.detector_weights).is_dir():
                return dataclasses.replace(form, detector_weights=found.detector_weights)
    return form


def _results(folder: Path) -> tuple[dict[str, str], ...]:
    """The rows of the system in the results table of its run; none before stage 11."""
    path = folder.resolve().parent / "results" / "results.csv"
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("system") == folder.resolve().name]
    return tuple({name: row[name] for name in _COLUMNS if row.get(name)} for row in rows)
