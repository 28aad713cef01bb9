"""Faces and voices as data URIs that are small enough for a page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.audio.decode import read_audio
from avsv.data.face_source import read_crops, spread_rows
from avsv.errors import DataError
from avsv.io.ark import is_online
from avsv.io.lists import ENROLL, read_list, read_models
from avsv.video.config import FaceFormat

FRAMES = 3  # in a strip of face crops
SIDE = 96  # of a crop in the page, in pixels
SECONDS = 6  # of a voice
RATE = 16000


class Clip(NamedTuple):
    """The properties of an utterance; None or empty if the data directory does not have them.

    Attributes:
        key: id of the utterance.
        speaker, session, gender: labels.
        duration: duration in seconds.
        faces: data URI of a strip of crops.
        voice: data URI of its sound.
        heard: duration of that sound in seconds.
        missing: what is not shown, and why.
    """

    key: str
    speaker: str
    session: str | None
    gender: str | None
    duration: float | None
    faces: str | None
    voice: str | None
    heard: float
    missing: list[str]


class ClipReader:
    """Look up utterances of a data directory, and the models made of them.

    Args:
        data: the data directory; only ``utt2spk`` is required.

    Raises:
        DataError: a list is malformed.
    """

    def __init__(self, data: str | Path) -> None:
        self.data = Path(data)
        self.speakers = self._list("utt2spk")
        enroll = self.data / ENROLL
        self._models = read_models(enroll, self.speakers) if enroll.is_file() else {}
        self.sessions = self._list("utt2session")
        self.genders = self._list("spk2gender")
        self.durations = {key: float(value) for key, value in self._list("utt2dur").items()}
        self._faces = self._list("faces.scp")
        self._counts = self._list("utt2num_faces")
        # With audio.scp, sound is already decoded.
        self._voices = self._list("wav.scp") | self._list("audio.scp")

    def _list(self, name: str) -> dict[str, str]:
        path = self.data / name
        return read_list(path) if path.is_file() else {}

    def read(self, key: str) -> Clip:
        """Read an utterance with its picture and sound; failures are explained in ``missing``.

        Of a model made of several utterances, the first is shown.
        """
        if key in self._models:
            members = self._models[key]
            clip = self.read(members[0])
            seconds = [self.durations[member] for member in members if member in self.durations]
            sessions = {self.sessions.get(member) for member in members}
            shown = [f"made of {len(members)} utterances, of which {members[0]} is shown"] if len(members) > 1 else []
            return clip._replace(
                key=key,
                duration=float(np.mean(seconds)) if seconds else None,
                session=clip.session if len(sessions) == 1 else None,
                missing=[*shown, *clip.missing],
            )
        faces, voice, heard, missing = None, None, 0.0, []
        try:
            faces = strip(self._read_faces(key)) if key in self._faces else None
        except DataError as error:
            missing.append(f"faces cannot be shown: {error}")
        try:
            samples = read_audio(self._voices[key], RATE, resample=True, downmix=True) if key in self._voices else None
        except DataError as error:
            samples = None
            missing.append(f"the voice cannot be played: {error}")
        if samples is not None:
            samples = samples[: SECONDS * RATE]
            voice, heard = mp3(samples), len(samples) / RATE
        missing += [f"no {what}" for what, of in (("faces", self._faces), ("voice", self._voices)) if key not in of]
        speaker = self.speakers[key]
        session, gender = self.sessions.get(key), self.genders.get(speaker)
        return Clip(key, speaker, session, gender, self.durations.get(key), faces, voice, heard, missing)

    def speaker(self, key: str) -> str:
        """The speaker of an utterance or of a model."""
        return self.speakers[self._models[key][0] if key in self._models else key]

    def _read_faces(self, key: str) -> NDArray[np.uint8]:
        form = FaceFormat.read(self.data / "faces.conf")
        location = self._faces[key]
        if key not in self._counts:
            raise DataError(f"{self.data}/utt2num_faces: no line for {key}")
        places = np.unique(spread_rows(int(self._counts[key]), FRAMES))
        # An ark gives single frames; a film is decoded once.
        parts = [places] if is_online(location) else np.split(places, len(places))
        rows = np.concatenate([read_crops(location, part) for part in parts])
        if rows.shape[1] != form.row:
            raise DataError(f"{location}: {rows.shape[1]} columns instead of {form.row} as in faces.conf")
        return rows.astype(np.uint8).reshape(-1, form.channels, form.height, form.width)


def strip(frames: NDArray[np.uint8]) -> str:
    """Data URI of a JPEG with frames (T, C, H, W) side by side.

    Example:
        >>> strip(np.zeros((3, 1, 32, 32), np.uint8))[:23]
        'data:image/jpeg;base64,'
    """
    import cv2

    # In OpenCV, blue comes first.
    pictures = [frame.transpose(1, 2, 0)[:, :, ::-1] for frame in frames]
    how = cv2.INTER_AREA if frames.shape[2] > SIDE else cv2.INTER_CUBIC
    joined = cv2.hconcat([cv2.resize(np.ascontiguousarray(p), (SIDE, SIDE), interpolation=how) for p in pictures])
    _, coded = cv2.imencode(".jpg", joined, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return _uri("image/jpeg", coded.tobytes())


def mp3(samples: NDArray[np.float32]) -> str:
    """Data URI of an MP3 file, which every browser can play, of mono samples (n,) in [-1, 1] at 16 kHz.

    The loudest sample is scaled to 0.8, because coding changes it slightly; the recordings are meant for listening.

    Example:
        >>> mp3(np.zeros(16000, np.float32))[:23]
        'data:audio/mpeg;base64,'
    """
    import soundfile

    peak = float(np.abs(samples).max())
    file = io.BytesIO()
    scaled = samples * (0.8 / peak) if peak > 0 else samples
    soundfile.write(file, scaled, RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7)
    return _uri("audio/mpeg", file.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
