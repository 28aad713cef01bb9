"""Whole utterances whose audio or video is corrupted before features are computed."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from avsv.config.sections import EmbedConfig
from avsv.corruption.kinds import Corruption
from avsv.corruption.mixture import Mixture
from avsv.data.audio_source import Waveforms, WaveformSource
from avsv.data.clips import WholeUtterances
from avsv.data.face_source import FaceCrops, FaceSource
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.seeding import generator_for


class Sources(NamedTuple):
    """Where the corrupted data of utterances are read; None for what the inputs lack.

    Attributes:
        table: the utterances, with the numbers of frames that are used.
        waveforms: of the voices.
        faces: as stored.
    """

    table: UtteranceTable
    waveforms: "CorruptedWaveforms | None"
    faces: "CorruptedFaces | None"


def corrupted_sources(table: UtteranceTable, inputs: Inputs, corruption: Corruption | Mixture) -> Sources:
    """Sources of corrupted waveforms and face frames.

    Args:
        table: the utterances; ``table.audio`` contains the locations of waveforms, whatever the input of the network.
        inputs: the form of the stored data.
        corruption: the corruption of every utterance.
    """
    used = _shorten(table, inputs, corruption)
    excerpts = Excerpts(table, used, inputs, corruption)
    waveforms, faces = None, None
    if inputs.audio is not None:
        rate = inputs.audio.sample_rate
        waveforms = CorruptedWaveforms(Waveforms(used, rate), used, rate, corruption, excerpts)
    if inputs.video is not None:
        faces = CorruptedFaces(FaceCrops(used, inputs.video), used, inputs.video.fps, corruption, excerpts)
    return Sources(used, waveforms, faces)


def corrupted_utterances(
    table: UtteranceTable, config: EmbedConfig, inputs: Inputs, corruption: Corruption | Mixture
) -> WholeUtterances:
    """Whole utterances with a corruption.

    Fbank features are computed from the corrupted waveform. The features of the data directory are the result of the
    same computation, stored in half precision. Faces are corrupted in their stored form, before they are scaled for a
    network.

    Args:
        table: see :func:`corrupted_sources`.
        config: batch size and number of face frames.
        inputs: the form of the stored data and of the inputs of the networks.
        corruption: the corruption of every utterance.
    """
    used, waveforms, faces = corrupted_sources(table, inputs, corruption)
    return WholeUtterances(used, np.full(len(used), -1), config, inputs, waveforms, faces)


class Excerpts:
    """The start of the part of an utterance that is used.

    Args:
        full: the original utterances.
        used: the utterances with the numbers of frames that are used.
        inputs: the form of the stored data.
        corruption: draws the start.
    """

    def __init__(
        self, full: UtteranceTable, used: UtteranceTable, inputs: Inputs, corruption: Corruption | Mixture
    ) -> None:
        self.full, self.used, self.corruption = full, used, corruption
        self.audio_rate = inputs.audio and 1000 / inputs.audio.frame_shift
        self.video_rate = inputs.video and inputs.video.fps

    def start(self, index: int) -> float:
        """The start in seconds; on a video frame if there is video."""
        spare, rates = [], []
        for rate, full, used in (
            (self.audio_rate, self.full.audio_frames, self.used.audio_frames),
            (self.video_rate, self.full.video_frames, self.used.video_frames),
        ):
            if rate and used[index] > 0:
                spare.append((int(full[index]) - int(used[index])) / rate)
                rates.append(rate)
        if min(spare, default=0) <= 0:
            return 0.0
        start = self.corruption.start(self.used.keys[index], min(spare))
        return int(start * rates[-1]) / rates[-1]


class CorruptedWaveforms:
    """Samples with a corruption: an :class:`avsv.data.audio_source.WaveformSource` around another.

    Args:
        waveforms: the original samples.
        table: the utterances.
        sample_rate: sample rate in Hz.
        corruption: the corruption.
        excerpts: the part of each utterance that is used.
    """

    def __init__(
        self,
        waveforms: WaveformSource,
        table: UtteranceTable,
        sample_rate: int,
        corruption: Corruption | Mixture,
        excerpts: Excerpts,
    ) -> None:
        self.waveforms, self.table, self.sample_rate = waveforms, table, sample_rate
        self.corruption, self.excerpts = corruption, excerpts

    def read(self, index: int, first: int, last: int) -> np.ndarray:
        """See :meth:`avsv.data.audio_source.WaveformSource.read`; samples are counted from the start of the excerpt."""
        offset = round(self.excerpts.start(index) * self.sample_rate)
        samples = self.waveforms.read(index, first + offset, last + offset)
        return self.corruption.sound(samples, self.table.keys[index], self.sample_rate)


class CorruptedFaces:
    """Face frames with a corruption: an :class:`avsv.data.face_source.FaceSource` around another.

    Args:
        faces: the original frames.
        table: the utterances with the numbers of frames that are used.
        fps: frames per second.
        corruption: the corruption.
        excerpts: the part of each utterance that is used.
    """

    def __init__(
        self,
        faces: FaceSource,
        table: UtteranceTable,
        fps: float,
        corruption: Corruption | Mixture,
        excerpts: Excerpts,
    ) -> None:
        self.faces, self.table, self.fps = faces, table, fps
        self.corruption, self.excerpts = corruption, excerpts

    def read(self, index: int, rows: np.ndarray) -> np.ndarray:
        """See :meth:`avsv.data.face_source.FaceSource.read`; frames are counted from the start of the excerpt."""
        key, count = self.table.keys[index], int(self.table.video_frames[index])
        seen = self.corruption.rows(rows, count, self.fps, key) + round(self.excerpts.start(index) * self.fps)
        frames = self.faces.read(index, seen)
        strange = self.corruption.strangers(rows, count, key)
        if strange.any():
            other = self._other_person(index)
            frames[strange] = self.faces.read(other, seen[strange] % int(self.table.video_frames[other]))
        return self.corruption.picture(frames, key)

    def _other_person(self, index: int) -> int:
        """An utterance with video of another speaker in the same list, drawn for this utterance."""
        table, speaker = self.table, self.table.speakers[index]
        rng = generator_for(self.corruption.seed, "stranger", table.keys[index])
        strangers = (
            int(other)
            for other in rng.permutation(len(table))
            if table.video_frames[other] > 0 and table.speakers[int(other)] != speaker
        )
        return next(strangers, index)


def _shorten(table: UtteranceTable, inputs: Inputs, corruption: Corruption | Mixture) -> UtteranceTable:
    audio, video = table.audio_frames.copy(), table.video_frames.copy()
    for row, key in enumerate(table.keys):
        seconds = {letter: corruption.seconds(key, letter) for letter in "AV"}
        if inputs.audio is not None and seconds["A"] < math.inf:
            most = max(1, inputs.audio.num_frames(round(seconds["A"] * inputs.audio.sample_rate)))
            audio[row] = min(audio[row], most)
        if inputs.video is not None and seconds["V"] < math.inf:
            video[row] = min(video[row], max(1, round(seconds["V"] * inputs.video.fps)))
    return replace(table, audio_frames=audio, video_frames=video)
