"""Whole utterances whose audio or video is corrupted before features are made of it."""

from dataclasses import replace

import numpy as np

from avsv.audio.fbank import Fbank
from avsv.config.sections import EmbedConfig
from avsv.corruption.kinds import Corruption
from avsv.data.clips import WholeUtterances
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.seeding import generator_for


class CorruptedUtterances(WholeUtterances):
    """Whole utterances with a corruption; without one, they are those of :class:`WholeUtterances`.

    Fbank features are computed from the corrupted waveform. Those of the data directory were stored in half precision
    after the same computation. Faces are corrupted as they are stored, before they are scaled for a network.

    Args:
        table: the utterances; ``table.audio`` locates waveforms, whatever the network takes.
        config: batch size and number of face frames.
        inputs: the form of what is stored, and of what the networks take.
        corruption: what happens to every utterance; None for nothing.
    """

    def __init__(
        self, table: UtteranceTable, config: EmbedConfig, inputs: Inputs, corruption: Corruption | None
    ) -> None:
        self.corruption = corruption
        self.full_frames = table.audio_frames, table.video_frames
        if corruption is not None and corruption.kind == "length":
            table = _shorten(table, inputs, corruption.level)
        super().__init__(table, np.full(len(table), -1), config, inputs)
        if inputs.takes == "fbank" and inputs.audio is not None:
            self._fbank = Fbank(**inputs.audio.to_dict())

    def _start(self, index: int) -> float:
        """Where the part of an utterance that is used begins, in seconds; on a video frame where there is video."""
        seconds, grids = [], []
        for form, full, used in (
            (self.audio_format and 1000 / self.audio_format.frame_shift, self.full_frames[0], self.table.audio_frames),
            (self.video_format and self.video_format.fps, self.full_frames[1], self.table.video_frames),
        ):
            if form and used[index] > 0:
                seconds.append((int(full[index]) - int(used[index])) / form)
                grids.append(form)
        if self.corruption is None or min(seconds, default=0) <= 0:
            return 0.0
        start = self.corruption.start(self.table.keys[index], min(seconds))
        return int(start * grids[-1]) / grids[-1]

    def _samples(self, index: int, first: int, last: int) -> np.ndarray:
        rate = self.audio_format.sample_rate
        offset = round(self._start(index) * rate)
        samples = super()._samples(index, first + offset, last + offset)
        return samples if self.corruption is None else self.corruption.sound(samples, self.table.keys[index], rate)

    def _frames(self, index: int, rows: np.ndarray) -> np.ndarray:
        if self.corruption is None:
            return super()._frames(index, rows)
        key, form = self.table.keys[index], self.video_format
        count = int(self.table.video_frames[index])
        seen = self.corruption.rows(rows, count, form.fps, key) + round(self._start(index) * form.fps)
        frames = self._pixels(index, seen)
        strange = self.corruption.strangers(rows, count, key)
        if strange.any():
            other = self._other_person(index)
            frames[strange] = self._pixels(other, seen[strange] % int(self.table.video_frames[other]))
        return self.inputs.show(self.corruption.picture(frames, key))

    def _pixels(self, index: int, rows: np.ndarray) -> np.ndarray:
        """Of rows in any order, some of them perhaps several times."""
        read, places = np.unique(rows, return_inverse=True)
        return super()._pixels(index, read)[places]

    def _other_person(self, index: int) -> int:
        """An utterance with video of another person of the same list, drawn for this utterance."""
        speaker, rng = (
            self.table.speakers[index],
            generator_for(self.corruption.seed, "stranger", self.table.keys[index]),
        )
        order = rng.permutation(len(self.table))
        strangers = (
            int(other)
            for other in order
            if self.table.video_frames[other] > 0 and self.table.speakers[int(other)] != speaker
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
