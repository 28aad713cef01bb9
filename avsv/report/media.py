"""Faces and voices small enough to stand inside a page, as data URIs."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.audio.decode import read_audio
from avsv.errors import DataError
from avsv.io.ark import matrix_shape, read_rows
from avsv.io.lists import read_list
from avsv.video.config import FaceFormat

FRAMES = 3  # of a strip of face crops
SIDE = 96  # of a crop in the page, in pixels
SECONDS = 6  # of a voice
RATE = 16000


class Clip(NamedTuple):
    """What is known of an utterance; None or empty where the data directory does not say.

    Attributes:
        key: id.
        speaker, session, gender: labels.
        duration: seconds.
        faces: data URI of a strip of crops.
        voice: data URI of its sound.
        heard: seconds of the sound.
        missing: why there is no picture or no sound, in words.
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
    """Look up utterances of a data directory.

    Args:
        data: the directory; only ``utt2spk`` must be there.

    Raises:
        DataError: a list that is not well formed.
    """

    def __init__(self, data: str | Path) -> None:
        self.data = Path(data)
        self.speakers = self._list("utt2spk")
        self.sessions = self._list("utt2session")
        self.genders = self._list("spk2gender")
        self.durations = {key: float(value) for key, value in self._list("utt2dur").items()}
        self._faces = self._list("faces.scp")
        # Sound is already decoded where audio.scp is there.
        self._voices = self._list("wav.scp") | self._list("audio.scp")

    def _list(self, name: str) -> dict[str, str]:
        path = self.data / name
        return read_list(path) if path.is_file() else {}

    def read(self, key: str) -> Clip:
        """An utterance with its picture and sound; what cannot be read is named in ``missing``."""
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

    def _read_faces(self, key: str) -> NDArray[np.uint8]:
        form = FaceFormat.read(self.data / "faces.conf")
        location = self._faces[key]
        count, columns = matrix_shape(location)
        if columns != form.row:
            raise DataError(f"{location}: {columns} columns, faces.conf promises {form.row}")
        places = ((np.arange(FRAMES) + 0.5) * count / FRAMES).astype(int)
        rows = [read_rows(location, place, place + 1) for place in dict.fromkeys(places.tolist())]
        return np.concatenate(rows).astype(np.uint8).reshape(-1, form.channels, form.height, form.width)


def strip(frames: NDArray[np.uint8]) -> str:
    """Data URI of a JPEG with frames (T, C, H, W) side by side.

    Example:
        >>> strip(np.zeros((3, 1, 32, 32), np.uint8))[:23]
        'data:image/jpeg;base64,'
    """
    import cv2

    # OpenCV wants blue first.
    pictures = [frame.transpose(1, 2, 0)[:, :, ::-1] for frame in frames]
    how = cv2.INTER_AREA if frames.shape[2] > SIDE else cv2.INTER_CUBIC
    joined = cv2.hconcat([cv2.resize(np.ascontiguousarray(p), (SIDE, SIDE), interpolation=how) for p in pictures])
    _, coded = cv2.imencode(".jpg", joined, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return _uri("image/jpeg", coded.tobytes())


def mp3(samples: NDArray[np.float32]) -> str:
    """Data URI of an MP3 file, which every browser plays, of mono samples (n,) in [-1, 1] at 16 kHz.

    The loudest sample is brought to 0.8, for coding moves it a little: these are recordings to compare by ear.

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
