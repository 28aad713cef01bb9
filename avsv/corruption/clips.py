"""Whole utterances whose audio or video is corrupted before features are made of it."""

from dataclasses import replace

import numpy as np

from avsv.config.sections import EmbedConfig
from avsv.corruption.kinds import Corruption
from avsv.data.audio_source import Waveforms, WaveformSource
from avsv.data.clips import WholeUtterances
from avsv.data.face_source import FaceCrops, FaceSource
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.seeding import generator_for


def corrupted_utterances(
    table: UtteranceTable, config: EmbedConfig, inputs: Inputs, corruption: Corruption
) -> WholeUtterances:
    """Whole utterances with a corruption.

    Fbank features are computed from the corrupted waveform. Those of the data directory were stored in half precision
    after the same computation. Faces are corrupted as they are stored, before they are scaled for a network.

    Args:
        table: the utterances; ``table.audio`` locates waveforms, whatever the network takes.
        config: batch size and number of face frames.
        inputs: the form of what is stored, and of what the networks take.
        corruption: what happens to every utterance.
    """
    used = _shorten(table, inputs, corruption.level) if corruption.kind == "length" else table
    excerpts = Excerpts(table, used, inputs, corruption)
    waveforms, faces = None, None
    if inputs.audio is not None:
        rate = inputs.audio.sample_rate
        waveforms = CorruptedWaveforms(Waveforms(used, rate), used, rate, corruption, excerpts)
    if inputs.video is not None:
        faces = CorruptedFaces(FaceCrops(used, inputs.video), used, inputs.video.fps, corruption, excerpts)
    return WholeUtterances(used, np.full(len(used), -1), config, inputs, waveforms, faces)


class Excerpts:
    """Where the part of an utterance that is used begins.

    Args:
        full: the utterances as they are.
        used: with the numbers of frames that are used.
        inputs: the form of what is stored.
        corruption: draws the place.
    """

    def __init__(self, full: UtteranceTable, used: UtteranceTable, inputs: Inputs, corruption: Corruption) -> None:
        self.full, self.used, self.corruption = full, used, corruption
        self.audio_rate = inputs.audio and 1000 / inputs.audio.frame_shift
        self.video_rate = inputs.video and inputs.video.fps

    def start(self, index: int) -> float:
        """In seconds; on a video frame where there is video."""
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
        waveforms: the samples as they are.
        table: the utterances.
        sample_rate: in Hz.
        corruption: what happens to them.
        excerpts: which part of an utterance is used.
    """

    def __init__(
        self,
        waveforms: WaveformSource,
        table: UtteranceTable,
        sample_rate: int,
        corruption: Corruption,
        excerpts: Excerpts,
    ) -> None:
        self.waveforms, self.table, self.sample_rate = waveforms, table, sample_rate
        self.corruption, self.excerpts = corruption, excerpts

    def read(self, index: int, first: int, last: int) -> np.ndarray:
        """See :meth:`avsv.data.audio_source.WaveformSource.read`; samples are counted from the excerpt's start."""
        offset = round(self.excerpts.start(index) * self.sample_rate)
        samples = self.waveforms.read(index, first + offset, last + offset)
        return self.corruption.sound(samples, self.table.keys[index], self.sample_rate)


class CorruptedFaces:
    """Face frames with a corruption: an :class:`avsv.data.face_source.FaceSource` around another.

    Args:
        faces: the frames as they are.
        table: the utterances, with the numbers of frames that are used.
        fps: frames a second.
        corruption: what happens to them.
        excerpts: which part of an utterance is used.
    """

    def __init__(
        self, faces: FaceSource, table: UtteranceTable, fps: float, corruption: Corruption, excerpts: Excerpts
    ) -> None:
        self.faces, self.table, self.fps = faces, table, fps
        self.corruption, self.excerpts = corruption, excerpts

    def read(self, index: int, rows: np.ndarray) -> np.ndarray:
        """See :meth:`avsv.data.face_source.FaceSource.read`; frames are counted from the excerpt's start."""
        key, count = self.table.keys[index], int(self.table.video_frames[index])
        seen = self.corruption.rows(rows, count, self.fps, key) + round(self.excerpts.start(index) * self.fps)
        frames = self.faces.read(index, seen)
        strange = self.corruption.strangers(rows, count, key)
        if strange.any():
            other = self._other_person(index)
            frames[strange] = self.faces.read(other, seen[strange] % int(self.table.video_frames[other]))
        return self.corruption.picture(frames, key)

    def _other_person(self, index: int) -> int:
        """An utterance with video of another person of the same list, drawn for this utterance."""
        table, speaker = self.table, self.table.speakers[index]
        rng = generator_for(self.corruption.seed, "stranger", table.keys[index])
        strangers = (
            int(other)
            for other in rng.permutation(len(table))
            if table.video_frames[other] > 0 and table.speakers[int(other)] != speaker
        )
        return next(strangers, index)


def _shorten(table: UtteranceTable, inputs: Inputs, seconds: float) -> UtteranceTable:
    audio, video = table.audio_frames, table.video_frames
    if inputs.audio is not None:
        most = max(1, inputs.audio.num_frames(round(seconds * inputs.audio.sample_rate)))
        audio = np.minimum(audio, np.int32(most))
    if inputs.video is not None:
        video = np.minimum(video, np.int32(max(1, round(seconds * inputs.video.fps))))
    return replace(table, audio_frames=audio, video_frames=video)
