"""A trained system in use: two recordings to a decision."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avsv.embed.extract import embed_batches
from avsv.errors import DataError
from avsv.scoring.modes import assignments, available_modes, calibration_name, parse_mode
from avsv.verification.decision import Operating, check_far, operating_point
from avsv.verification.package import SETTINGS, FaceSettings, Package
from avsv.verification.pairs import Embedded, PairScores, possible_assignments, scale_to_unit, score_pairs
from avsv.verification.recording import ModalityError, Reader, Reading, Recording
from avsv.verification.run import package_of_run
from avsv.video.config import FacesConfig
from avsv.video.detect import weight_files


@dataclass(frozen=True)
class Used:
    """What a verification used of a recording.

    Args:
        name: the recording.
        modality: A for the voice, V for the face, AV for both.
        seconds: duration of the audio; None without.
        voice_seconds: how much of it is voice; None without.
        faces: how many different face crops the network saw; 0 without.
        face_pixels: the median side of the square around the face in pixels of the recording; None without a detector.
    """

    name: str
    modality: str
    seconds: float | None
    voice_seconds: float | None
    faces: int
    face_pixels: float | None


@dataclass(frozen=True)
class Verification:
    """Whether two recordings show the same person.

    Args:
        mode: which modalities of either side were compared.
        cosine: of the embeddings.
        score: the cosine, normalized against the cohort.
        llr: natural logarithm of the likelihood ratio of the same person to different ones; None where the development
            trials of the mode could not be calibrated.
        far: wanted false-accept rate.
        threshold: on ``llr``, for this rate; None without ``llr``.
        measured: whether there were enough development trials to measure the threshold; if not, it is extrapolated.
        accepted: whether ``llr`` is above the threshold; None without ``llr``.
        a: what was used of the first recording.
        b: likewise of the second.
        orders: 2 where the sides of the mode differ and both recordings have both: the scores are means over both
            orders; otherwise 1.
    """

    mode: str
    cosine: float
    score: float
    llr: float | None
    far: float
    threshold: float | None
    measured: bool
    accepted: bool | None
    a: Used
    b: Used
    orders: int

    def __bool__(self) -> bool:
        raise TypeError("a Verification is neither true nor false: use .accepted")


class Model:
    """A trained system that embeds and verifies.

    Use :func:`avsv.load` to get one.

    Args:
        package: the system.
        device: where the networks run.
    """

    def __init__(self, package: Package, device: str = "cpu") -> None:
        self.package, self.device = package, torch.device(device)
        self.name = package.settings.name
        self.embedder = package.embedder.to(self.device)
        self.reader = Reader(package.inputs, package.settings.system.embed, package.faces)
        self.modes = available_modes(set(self.embedder.modes))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        detector: str | None = None,
        detector_weights: str | Path | None = None,
    ) -> "Model":
        """Read the folder of a model, or of a system of a finished run.

        Args:
            folder: of the model or system.
            device: as torch names it, such as "cuda".
            detector: how to find faces, where the recordings are not framed like those of the training.
            detector_weights: folder with the detector's weights.

        Raises:
            DataError: the folder holds neither, or only a part of one; no such device; a detector without its weights,
                or weights without a detector.
        """
        package = load_package(folder)
        changes = {"detector": detector, "detector_weights": detector_weights and str(detector_weights)}
        changes = {name: value for name, value in changes.items() if value}
        if changes:
            package = _look_for_faces(package, changes)
        if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise DataError(f"device {device}: expected cpu, cuda or cuda:NUMBER")
        number = int(device.partition(":")[2] or 0)
        if device != "cpu" and number >= torch.cuda.device_count():
            raise DataError(f"device {device}: {torch.cuda.device_count()} GPUs are visible: use cpu")
        return cls(package, device)

    def find_mode(
        self,
        a: str,
        b: str,
        wanted: str | None = None,
        names: tuple[str, str] = ("the first recording", "the second recording"),
    ) -> str:
        """The evaluation mode for two sides that have these modalities (A, V or AV); ``names`` is for messages.

        Raises:
            DataError: the system lacks the mode, or a side lacks what the system or the mode needs.
        """
        if wanted is not None:
            parse_mode(wanted)
            if wanted not in self.modes:
                raise DataError(f"mode {wanted}: {self.name} verifies in {' '.join(self.modes)}")
            return wanted
        usable = []
        for name, letters in zip(names, (a, b), strict=True):
            usable.append("".join(letter for letter in letters if letter in self.embedder.letters))
            if not usable[-1]:
                what = "a voice" if self.embedder.letters == "A" else "a face"
                raise DataError(f"{name}: lacks what {self.name} needs: {what}")
        mode = "x".join(usable)
        return mode if mode in self.modes else "x".join(reversed(usable))

    def read(self, source: str | Path | Recording, letters: str | None = None) -> Reading:
        """Read a recording: all modalities that it has and the system takes, or some of them.

        Raises:
            DataError: it cannot be read, or has no speech or no face.
        """
        recording = source if isinstance(source, Recording) else Recording.of(source)
        if letters is None:
            letters = "".join(letter for letter in recording.letters if letter in self.embedder.letters)
        if not letters:
            takes = " and ".join({"A": "voices", "V": "faces"}[letter] for letter in self.embedder.letters)
            raise DataError(f"{recording.name}: lacks what {self.name} needs: {takes}")
        return self.reader.read(recording, letters)

    def raw_embeddings(self, reading: Reading, modes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Embeddings (D,) of a recording as the network gives them, in those modes for which it has the modalities."""
        able = [mode for mode in modes if all(letter in reading.letters for letter in mode)]
        (found,) = embed_batches(self.embedder, [reading.batch(self.package.inputs)], able, self.device)
        return {mode: vectors[0] for mode, (_, vectors) in found.items()}

    def embed_reading(self, reading: Reading) -> Embedded:
        """A recording as a side of trials, in all modes of the system for which it has the modalities."""
        seconds = reading.voice.seconds if reading.voice else reading.faces.seconds
        faces = reading.faces and reading.faces.count
        return self.side(reading.name, self.raw_embeddings(reading, self.embedder.modes), seconds, faces)

    def side(self, name: str, raw: Mapping[str, NDArray], seconds: float | None, faces: int | None) -> Embedded:
        """A side of trials, of embeddings (D,) per mode as the network gives them."""
        means = self.package.normalization.means
        vectors = {mode: scale_to_unit(name, vector, means.get(mode)) for mode, vector in raw.items()}
        lengths = {mode: float(np.linalg.norm(vector.astype(np.float64))) for mode, vector in raw.items()}
        return Embedded(name, vectors, lengths, seconds, faces)

    def embed(
        self,
        source: str | Path | Recording | None = None,
        *,
        waveform: NDArray | None = None,
        frames: NDArray | None = None,
        mode: str | None = None,
    ) -> NDArray[np.float32]:
        """The embedding of a recording, as the network gives it: not scaled.

        Args:
            source: a video, an audio file, an image or a folder of images; None to give arrays.
            waveform: (n,) samples in [-1, 1] at the system's sample rate.
            frames: face crops (T, H, W, 3) or (T, H, W) of bytes, framed like those of the training.
            mode: A, V or AV; by default all modalities that the recording has and the system takes.

        Returns:
            (D,) float32.

        Raises:
            DataError: as :meth:`read`; nothing given, or a recording and arrays; the system does not have this mode.
        """
        if mode is not None and mode not in self.embedder.modes:
            raise DataError(f"mode {mode}: {self.name} embeds in {' '.join(self.embedder.modes)}")
        if source is not None:
            if waveform is not None or frames is not None:
                raise DataError("embed: give a recording or arrays, not both")
            reading = self.read(source, mode)
        elif waveform is None and frames is None:
            raise DataError("embed: give a recording, a waveform or frames")
        else:
            voice = self.reader.hear(waveform) if waveform is not None else None
            faces = self.reader.see(frames) if frames is not None else None
            reading = Reading("arrays", voice, faces)
        mode = mode or "".join(letter for letter in reading.letters if letter in self.embedder.letters)
        embedded = self.raw_embeddings(reading, [mode]) if mode else {}
        if mode not in embedded:
            raise DataError(f"{reading.name}: lacks what {self.name} needs in mode {mode or self.embedder.modes[0]}")
        return embedded[mode]

    def score(
        self,
        sides: Sequence[Embedded],
        enroll: NDArray[np.int64],
        test: NDArray[np.int64],
        mode: str,
        orders: Sequence[tuple[str, str]],
    ) -> PairScores:
        """Scores of pairs of sides in one mode: see :func:`avsv.verification.pairs.score_pairs`."""
        calibration = self.package.settings.calibration.get(calibration_name(mode, len(orders)))
        calibrated = calibration and calibration.calibrated()
        return score_pairs(sides, enroll, test, mode, orders, self.package.normalization, calibrated)

    def operating_point(self, mode: str, far: float, orders: int) -> Operating | None:
        """The threshold for a false-accept rate between 0 and 1; None where there is no calibration.

        Args:
            mode: evaluation mode.
            far: wanted rate.
            orders: in how many orders the trials are scored, see :func:`possible_assignments`.
        """
        name = calibration_name(mode, orders)
        if name not in self.package.settings.calibration:
            return None
        return operating_point(*self.package.development[name], far)

    def verify(
        self, a: str | Path | Recording, b: str | Path | Recording, *, mode: str | None = None, far: float = 0.01
    ) -> Verification:
        """Decide whether two recordings show the same person.

        Args:
            a, b: each a video, an audio file, an image or a folder of images.
            mode: which modalities of either side are compared, as in AVxA; by default all that each has.
            far: false-accept rate for which the decision is made.

        Raises:
            DataError: a recording cannot be read, has no speech or no face, or lacks what the mode needs; ``far``
                is not between 0 and 1.
        """
        check_far(far)
        return self.verify_readings(*self.read_pair(a, b, mode), mode=mode, far=far)

    def read_pair(self, a: str | Path | Recording, b: str | Path | Recording, mode: str | None = None) -> list[Reading]:
        """Read two recordings as far as :meth:`verify` needs them. Raises DataError: as there."""
        first, second = (x if isinstance(x, Recording) else Recording.of(x) for x in (a, b))
        chosen = self.find_mode(first.letters, second.letters, mode, (first.name, second.name))
        letters = [None, None] if mode is None else _needed(chosen, first, second)
        return [self._read_side(n, letters[n], first, second) for n in range(2)]

    def _read_side(self, side: int, letters: str | None, *recordings: Recording) -> Reading:
        """Read one of two recordings. If its voice or its face cannot be used, the message names modes without it."""
        try:
            return self.read(recordings[side], letters)
        except ModalityError as error:
            other, what = ("V", "face") if error.letter == "A" else ("A", "voice")
            orders = {mode: _possible_orders(mode, recordings) for mode in self.modes}
            modes = [mode for mode, able in orders.items() if {order[side] for order in able} == {other}]
            way_out = f"; --mode {' or '.join(modes)} uses its {what} only" if modes else ""
            raise DataError(f"{error}{way_out}") from None

    def verify_readings(self, a: Reading, b: Reading, *, mode: str | None = None, far: float = 0.01) -> Verification:
        """As :meth:`verify`, for recordings that have been read."""
        check_far(far)
        chosen = self.find_mode(a.letters, b.letters, mode, (a.name, b.name))
        sides = [self.embed_reading(a), self.embed_reading(b)]
        orders = possible_assignments(chosen, *sides)
        found = self.score(sides, np.array([0]), np.array([1]), chosen, orders)
        point = self.operating_point(chosen, far, len(orders))
        llr = None if found.llr is None else float(found.llr[0])
        used = [_used(reading, {order[n] for order in orders}) for n, reading in enumerate((a, b))]
        return Verification(
            mode=chosen,
            cosine=float(found.cosine[0]),
            score=float(found.score[0]),
            llr=llr,
            far=far,
            threshold=point and point.threshold,
            measured=bool(point and point.measured),
            accepted=None if point is None else llr > point.threshold,
            a=used[0],
            b=used[1],
            orders=len(orders),
        )


def load_package(folder: str | Path) -> Package:
    """The package in a folder of a model, or of a system of a finished run. Raises DataError: there is neither."""
    if not str(folder):
        raise DataError("the name of a model is empty: give its folder")
    folder = Path(folder)
    if (folder / SETTINGS).is_file():
        return Package.load(folder)
    if not folder.exists():
        raise DataError(
            f"{folder}: no such model: give the folder of a model, or of a system of a run (EXP/PRESET/NAME)"
        )
    if (folder / "config.yaml").is_file() or (folder / "scores").is_dir():
        return package_of_run(folder)
    systems = sorted(path.parent.name for path in folder.glob("*/final.pt"))
    if systems:
        raise DataError(f"{folder}: holds the systems {', '.join(systems)}: choose one, as in {folder / systems[0]}")
    return Package.load(folder)


def _needed(mode: str, *recordings: Recording) -> list[str]:
    """The modalities to read from each recording for a mode: those of either side, as far as the recording has them."""
    able = _possible_orders(mode, recordings)
    if not able:
        for side, recording in zip(assignments(mode)[0], recordings, strict=True):
            for letter, what in (("A", "audio"), ("V", "video")):
                if letter in side and letter not in recording.letters:
                    raise DataError(f"{recording.name}: has no {what}, which mode {mode} needs")
    return ["".join(x for x in "AV" if any(x in order[n] for order in able)) for n in range(len(recordings))]


def _possible_orders(mode: str, recordings: Sequence[Recording]) -> list[tuple[str, str]]:
    """The orders of a mode for which both recordings have the modalities."""
    orders = assignments(mode)
    return [o for o in orders if all(set(side) <= set(r.letters) for side, r in zip(o, recordings, strict=True))]


def _look_for_faces(package: Package, changes: Mapping[str, str]) -> Package:
    """A package with another detector, or other weights of it. Raises DataError: they do not go together."""
    if package.faces is None:
        raise DataError(f"--{next(iter(changes)).replace('_', '-')}: {package.settings.name} looks for no faces")
    form = FacesConfig.from_settings({**package.faces.settings(), **changes}, "face detection")
    if form.detector == "none" and "detector_weights" in changes:
        raise DataError(f"--detector-weights: {package.settings.name} uses no detector: give --detector as well")
    files = weight_files(form)
    if files and not form.detector_weights:
        raise DataError(
            f"--detector {form.detector}: give --detector-weights FOLDER with {' and '.join(files)}, as in data/weights"
            " of the recipe: docs/pretrained.md says where to get them"
        )
    return replace(package, settings=replace(package.settings, faces=FaceSettings(form)))


def _used(reading: Reading, modes: set[str]) -> Used:
    letters = "".join(letter for letter in "AV" if any(letter in mode for mode in modes))
    voice = reading.voice if "A" in letters else None
    faces = reading.faces if "V" in letters else None
    return Used(
        reading.name,
        letters,
        voice and round(voice.seconds, 3),
        voice and round(voice.voice_seconds, 3),
        len(faces.distinct) if faces else 0,
        None if faces is None or faces.pixels is None else round(faces.pixels, 1),
    )
