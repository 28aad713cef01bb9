"""Recordings of one person as files, and the input of a system's networks made from them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsv.audio.config import FbankConfig
from avsv.audio.fbank import Fbank, mean_normalize
from avsv.audio.recording import read_codes
from avsv.audio.voice import voice_seconds
from avsv.audio.wav import float_to_int16, int16_to_float
from avsv.config.sections import EmbedConfig
from avsv.data.audio_source import ComputedAudio
from avsv.data.batch import Batch
from avsv.data.clips import whole_audio_list
from avsv.data.collate import Clip, collate
from avsv.data.face_source import spread_rows
from avsv.data.inputs import FEATURE_LISTS, Inputs
from avsv.data.lists import PackedStrings, UtteranceTable
from avsv.errors import DataError
from avsv.io.ark import as_stored
from avsv.io.command import is_command
from avsv.io.media import stream_kinds
from avsv.video.config import FacesConfig
from avsv.video.crop import FaceCropper, FaceCutter, shows_nothing
from avsv.video.decode import IMAGE_SUFFIXES, VideoSource

LEAST_VOICE = 0.2
"""Seconds of voice below which a recording counts as one without speech."""


@dataclass(frozen=True)
class Recording:
    """Where the voice and the face of a person are.

    Args:
        name: what messages call it.
        audio: as in ``wav.scp``; None for no voice.
        video: as in ``video.scp``; None for no face.
    """

    name: str
    audio: str | None = None
    video: str | None = None

    @classmethod
    def of(cls, path: str | Path) -> "Recording":
        """Find out what a file or folder holds: a video, audio only, an image, or a folder of images.

        Raises:
            DataError: no such file or folder, a pipe, a file of an unknown kind, a name that is empty or not
                UTF-8, something that is not a path.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise DataError(f"{type(path).__name__}: expected a path or a Recording; 'embed' takes arrays by keyword")
        if not os.fspath(path):
            raise DataError("the name of a recording is empty")
        path = Path(path)
        name = str(path)
        # Python keeps the bytes of such a name as surrogates, which no output can hold.
        if not _is_text(name):
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            raise DataError(f"{shown}: the name is not UTF-8: rename the file")
        if is_command(name):
            raise DataError(f"{name}: a name that ends in | stands for a command: rename the file")
        if not path.exists():
            raise DataError(f"{name}: no such file or folder")
        if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
            return cls(name, video=name)
        if not path.is_file():
            raise DataError(f"{name}: is a pipe or a device, which is not read: write its content to a file")
        if path.stat().st_size == 0:
            raise DataError(f"{name}: the file is empty (0 bytes): copy or download it again")
        try:
            kinds = stream_kinds(name)
        except DataError:
            # Only libsndfile reads some formats of audio; its message tells what is wrong with other files.
            kinds = {"audio"}
        if not kinds:
            raise DataError(f"{name}: contains neither audio nor video")
        return cls(name, name if "audio" in kinds else None, name if "video" in kinds else None)

    @property
    def letters(self) -> str:
        """What there is: A, V or AV."""
        return "A" * (self.audio is not None) + "V" * (self.video is not None)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class ModalityError(DataError):
    """One modality of a recording cannot be used.

    Args:
        message: as of the error.
        letter: A or V.
    """

    def __init__(self, message: str, letter: str) -> None:
        super().__init__(message)
        self.letter = letter


class Voice(NamedTuple):
    """The voice of a recording.

    Attributes:
        clip: audio as the network takes it, at the recorded speed and at others.
        seconds: of the recording.
        voice_seconds: how much of it is voice.
    """

    clip: Clip
    seconds: float
    voice_seconds: float


class Faces(NamedTuple):
    """The face in a recording.

    Attributes:
        clip: video as the network takes it.
        crops: (T, C, H, W) uint8, the face crops that are used.
        count: how many face crops the recording has.
        seconds: of the recording.
        pixels: the median side, in pixels of the recording, of the square that a crop shows; None without a detector.
    """

    clip: Clip
    crops: NDArray[np.uint8]
    count: int
    seconds: float
    pixels: float | None

    @property
    def distinct(self) -> NDArray[np.uint8]:
        """The different ones of ``crops``: of a picture and of few frames, the network receives copies."""
        _, first = np.unique(spread_rows(self.count, len(self.crops)), return_index=True)
        return self.crops[first]


class Reading(NamedTuple):
    """The voice and the face read from a recording; None where they were not wanted or do not exist."""

    name: str
    voice: Voice | None
    faces: Faces | None

    @property
    def letters(self) -> str:
        """What there is: A, V or AV."""
        return "A" * (self.voice is not None) + "V" * (self.faces is not None)

    def batch(self, inputs: Inputs) -> Batch:
        """A batch of this recording alone."""
        clip = Clip()
        if self.voice is not None:
            clip.audio, clip.others = self.voice.clip.audio, self.voice.clip.others
        if self.faces is not None:
            clip.video = self.faces.clip.video
        nothing = PackedStrings([""]), np.zeros(1, np.int32)
        table = UtteranceTable(Path(), PackedStrings([self.name]), PackedStrings([""]), *nothing, *nothing)
        return collate(table, np.array([-1]), inputs, [0], [clip])


class _Samples:
    """One recording's samples: a :class:`avsv.data.audio_source.WaveformSource`."""

    def __init__(self, waveform: NDArray[np.float32]) -> None:
        self._waveform = waveform

    def read(self, index: int, first: int, last: int) -> NDArray[np.float32]:
        return self._waveform[first:last]


class Reader:
    """Reads recordings in the way in which the recipe makes features and face crops.

    Audio of any sample rate and with any number of channels is converted.

    Args:
        inputs: what the networks take.
        config: how whole utterances are embedded.
        faces: how face crops are made; None where that is not known, and then no video is read.
    """

    def __init__(self, inputs: Inputs, config: EmbedConfig, faces: FacesConfig | None) -> None:
        self.inputs, self.config = inputs, config
        # Each image of a folder is a crop, unless a file in the folder gives their rate.
        self.faces = faces and replace(faces, source_fps=faces.fps)
        self._cropper: FaceCropper | None = None
        self._fbank: Fbank | None = None

    def read(self, recording: Recording, letters: str) -> Reading:
        """Read some modalities of a recording.

        Args:
            recording: must have them.
            letters: A, V or AV.

        Raises:
            DataError: it lacks one.
            ModalityError: one cannot be read, or has no speech or no face.
        """
        found: dict[str, Voice | Faces] = {}
        for letter, source, what, read in (
            ("A", recording.audio, "audio", self.read_voice),
            ("V", recording.video, "video", self.read_faces),
        ):
            if letter in letters and source is None:
                raise DataError(f"{recording.name}: has no {what}")
            if letter in letters:
                try:
                    found[letter] = read(source)
                except DataError as error:
                    raise ModalityError(str(error), letter) from error
        return Reading(recording.name, found.get("A"), found.get("V"))

    def read_voice(self, source: str) -> Voice:
        """Read the voice. Raises DataError: as :func:`avsv.audio.recording.read_codes`, or no speech in it."""
        form = replace(self.inputs.audio, resample=True, downmix=True)
        return self._voice(read_codes(source, form), form, source)

    def hear(self, waveform: NDArray, name: str = "waveform") -> Voice:
        """The voice in samples (n,) in [-1, 1] at the system's sample rate. Raises DataError: too short, no speech."""
        form = self.inputs.audio
        waveform = np.asarray(waveform, dtype=np.float32)
        if waveform.ndim != 1 or form.num_frames(len(waveform)) == 0:
            raise DataError(f"{name}: shape {waveform.shape}: expected (n,) with n at least {form.window_samples}")
        if not np.isfinite(waveform).all():
            raise DataError(f"{name}: samples that are not finite numbers")
        if not np.abs(waveform).max() <= 1:
            raise DataError(f"{name}: samples outside [-1, 1]: divide integers by their range, as in x / 32768")
        return self._voice(float_to_int16(waveform), form, name)

    def _voice(self, codes: NDArray[np.int16], form: FbankConfig, name: str) -> Voice:
        waveform = int16_to_float(codes)
        heard = voice_seconds(waveform, form.sample_rate)
        if heard < LEAST_VOICE:
            raise DataError(f"{name}: no speech: {heard:.2f} s of voice, at least {LEAST_VOICE:g} s are needed")
        clip, frames = Clip(), form.num_frames(len(waveform))
        if whole_audio_list(self.config, self.inputs) == FEATURE_LISTS["fbank"]:
            clip.audio = self._features(waveform)
        else:
            source = ComputedAudio(_Samples(waveform), self.inputs)
            if self.config.speeds:
                clip.audio, *clip.others = source.read_at_speeds(0, 0, frames)
            else:
                clip.audio = source.read(0, 0, frames)
        return Voice(clip, len(waveform) / form.sample_rate, heard)

    def _features(self, waveform: NDArray[np.float32]) -> Tensor:
        if self._fbank is None:
            self._fbank = Fbank(**self.inputs.audio.to_dict())
        with torch.inference_mode():
            features = self._fbank(torch.from_numpy(waveform)).numpy()
        # Training and calibration used features with the precision of arks.
        return mean_normalize(torch.from_numpy(as_stored(features)))

    def read_faces(self, location: str) -> Faces:
        """Find and cut out the face. Raises DataError: the video cannot be read, or shows no face."""
        config = self.faces
        if config is None:
            raise DataError(
                f"{location}: it is not known how the face crops of the training were made, so none can be made like"
                " them: make the crops again and retrain, or use the voice only"
            )
        if self._cropper is None:
            self._cropper = FaceCropper(config)
        if config.detector == "none":
            rows, pixels = self._cropper(location), None
            count = len(rows)
            rows = rows[self._chosen(count)]
        else:
            count, matrices = self._cropper.locate(location)
            wanted, places = np.unique(self._chosen(count), return_inverse=True)
            rows = FaceCutter(config)(VideoSource(location, config.source_fps), matrices, wanted)[places]
            scales = np.hypot(*np.array(matrices)[:, :, 0].T)
            pixels = float(np.median(min(config.width, config.height) / scales))
        if shows_nothing(rows, config):
            raise DataError(f"{location}: no face: all of it is of one color")
        return self._faces(rows.reshape(-1, config.channels, config.height, config.width), count, pixels)

    def see(self, frames: NDArray | Sequence[NDArray], name: str = "frames") -> Faces:
        """The face in crops (T, H, W, 3) or (T, H, W) of bytes. Raises DataError: something else."""
        frames = np.asarray(frames)
        if frames.ndim == 3 and frames.shape[2] in (3, 4):
            raise DataError(f"{name}: {frames.dtype} {frames.shape}: a single picture: use image[None], red first")
        known = frames.ndim in (3, 4) and frames.shape[3:] in ((), (3,))
        if frames.dtype != np.uint8 or not known or len(frames) == 0:
            raise DataError(
                f"{name}: {frames.dtype} {frames.shape}: expected bytes (T, height, width, 3), red first, or gray ones"
                " (T, height, width)"
            )
        crops = frames[:, None] if frames.ndim == 3 else frames.transpose(0, 3, 1, 2)
        chosen = crops[self._chosen(len(crops))]
        return self._faces(chosen, len(crops), None)

    def _chosen(self, count: int) -> NDArray[np.int64]:
        """The face frames, of this number, that the network receives."""
        return spread_rows(count, self.config.num_faces(count, self.inputs.video.fps))

    def _faces(self, crops: NDArray[np.uint8], count: int, pixels: float | None) -> Faces:
        video = self.inputs.show(crops)
        if self.config.mirror:
            video = np.concatenate([video, video[..., ::-1]])
        clip = Clip(video=torch.from_numpy(np.ascontiguousarray(video)))
        return Faces(clip, crops, count, count / self.inputs.video.fps, pixels)
