"""Batches of clips: windows of training utterances, and whole utterances for embedding."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avsv.audio.augment import NoiseReverb, draw_masks
from avsv.audio.speed import SPEEDS
from avsv.config.sections import DataConfig, EmbedConfig
from avsv.data.audio_source import (
    AudioSource,
    AugmentedAudio,
    ComputedAudio,
    FrontEnd,
    StoredFbank,
    Waveforms,
    WaveformSource,
    draw_speed,
)
from avsv.data.batch import Batch
from avsv.data.collate import Clip, collate
from avsv.data.face_source import FaceCrops, FaceSource, spread_rows
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.data.mixup import Partners
from avsv.data.threads import one_thread
from avsv.data.windows import WaveformWindows
from avsv.data.worth import Worth
from avsv.errors import DataError
from avsv.seeding import Draw, Numbers
from avsv.video.augment import augment_clip


class Clips(Dataset, ABC):
    """A dataset of batches, which are the same in any process.

    Args:
        table: the utterances.
        labels: (N,) class of each utterance, -1 for none.
        inputs: the form of the stored data and of the inputs of the networks.
    """

    def __init__(self, table: UtteranceTable, labels: np.ndarray, inputs: Inputs) -> None:
        self.table, self.labels, self.inputs = table, labels, inputs

    @abstractmethod
    def batch(self, item: Any) -> Batch:
        """The batch of an item. Raises DataError if it cannot be read."""

    def __getitem__(self, item: Any) -> Batch | DataError:
        """The batch of an item, or the error of reading it: a loader would wrap an exception in its own traceback."""
        # Always one thread: sums in another order differ in the last bits.
        with one_thread():
            try:
                return self.batch(item)
            except DataError as error:
                return error


def reads_waveforms(config: DataConfig, inputs: Inputs, noise: NoiseReverb | None) -> bool:
    """Whether training windows are read from audio.scp instead of feats.scp."""
    return inputs.takes != "fbank" or noise is not None or config.speed_perturb


class TrainingClips(Clips):
    """Windows of audio and video, drawn and augmented by (seed, epoch, utterance).

    The audio and video windows of a clip start at the same time, on a video frame if there is video; with
    ``config.av_mixup`` the video is taken from another utterance of the same speaker. Fbank features are read from
    feats.scp, or computed with dither from a window of the waveform if the waveform is modified, for the whole batch by
    :meth:`avsv.data.batch.Batch.prepare`. Their mean is computed over the window, before masks are applied. An
    utterance shorter than the window is used completely and padded under a False mask, so that audio and video stay
    synchronous; the mask of a missing modality is all False.

    Args:
        table: the training utterances.
        labels: (N,) class of each utterance.
        config: window length and augmentation.
        inputs: the form of the stored data and of the inputs of the networks.
        seed: base seed.
        noise: adds noise or reverberation to a waveform; ``table.audio`` must then contain locations of waveforms.
        ages: (N,) ages in years, NaN if unknown; None if they are not needed.
        sessions: the source recording of each utterance; ``av_mixup`` prefers another one.
        genders: (N,) 0 for f, 1 for m, NaN if unknown; None if they are not needed.

    Raises:
        DataError: the window is shorter than a feature or video frame, or the networks cannot process the configured
            inputs.
    """

    def __init__(
        self,
        table: UtteranceTable,
        labels: np.ndarray,
        config: DataConfig,
        inputs: Inputs,
        seed: int,
        noise: NoiseReverb | None = None,
        ages: np.ndarray | None = None,
        sessions: np.ndarray | Sequence[str] | None = None,
        genders: np.ndarray | None = None,
    ) -> None:
        super().__init__(table, labels, inputs)
        self.config, self.seed, self.ages, self.genders = config, seed, ages, genders
        audio, video = inputs.audio, inputs.video
        self.audio_window = self.audio_length = 0
        if audio:
            samples = round(config.window * audio.sample_rate)
            self.audio_window = audio.num_frames(samples)
            self.audio_length = FrontEnd(inputs).num_frames(samples)
        self.video_window = round(config.window * video.fps) if video else 0
        self.video_rows = spread_rows(self.video_window, config.video_frames)
        for wanted, length, unit in ((audio, self.audio_window, "feature"), (video, self.video_window, "video")):
            if wanted is not None and length < 1:
                raise DataError(f"data.window: {config.window} s is shorter than one {unit} frame: make it longer")
        if inputs.takes != "fbank":
            if config.spec_augment is not None:
                raise DataError(f"data.spec_augment: the audio network takes {inputs.takes}: set it to null")
            # The frames whose samples contain the window.
            self.audio_window = 1 - (audio.window_samples - samples) // audio.shift_samples
        self._audio = self._audio_source(noise)
        self._computes_fbank = inputs.takes == "fbank" and isinstance(self._audio, AugmentedAudio)
        self._faces = FaceCrops(table, video) if video else None
        self._partners = Partners(table, sessions) if config.av_mixup else None
        self._worth = read_worth(table, inputs)

    def _audio_source(self, noise: NoiseReverb | None) -> AudioSource | None:
        table, config, inputs = self.table, self.config, self.inputs
        if inputs.audio is None:
            return None
        if reads_waveforms(config, inputs, noise):
            return AugmentedAudio(Waveforms(table, inputs.audio.sample_rate), table, config, inputs, noise)
        return StoredFbank(table, inputs.audio.num_mel_bins)

    def __len__(self) -> int:
        return len(self.table)

    def count_short(self) -> int:
        """The number of utterances that are shorter than the window in a modality that they have."""
        table = self.table
        short = np.zeros(len(table), dtype=bool)
        if self.inputs.audio is not None:
            short |= (table.audio_frames > 0) & (table.audio_frames < self.audio_window)
        if self.inputs.video is not None:
            short |= (table.video_frames > 0) & (table.video_frames < self.video_window)
        return int(short.sum())

    def batch(self, item: list[tuple[int, ...]]) -> Batch:
        """The batch of a list of (epoch, utterance index) or (epoch, utterance index, repeat).

        The same utterance with another ``repeat`` is another draw of window and augmentation.
        """
        indices = [index for _, index, *_ in item]
        draws = [self._draw(*clip) for clip in item]
        clips = [self._clip(index, draw) for index, draw in zip(indices, draws, strict=True)]
        lengths = (self.audio_length, len(self.video_rows))
        if self._computes_fbank:
            others = replace(self.inputs.only("V"), worth=self.inputs.worth)
            batch = collate(self.table, self.labels, others, indices, clips, lengths)
            noise = [draw.seed_for("dither") for draw in draws]
            waveforms = [clip.audio for clip in clips]
            batch.windows = WaveformWindows.of(waveforms, noise, self.inputs.audio, self.audio_window)
        else:
            batch = collate(self.table, self.labels, self.inputs, indices, clips, lengths)
        if self.config.spec_augment is not None and self.inputs.audio is not None:
            batch.hidden = torch.tensor([self._masks(index, draw) for index, draw in zip(indices, draws, strict=True)])
        if self.ages is not None:
            batch.age = torch.from_numpy(self.ages[indices].astype(np.float32))
        if self.genders is not None:
            batch.gender = torch.from_numpy(self.genders[indices])
        if self.config.speed_perturb:
            drawn = [draw_speed(self.seed, epoch, self.table.keys[index]) for epoch, index, *_ in item]
            speeds = torch.tensor([SPEEDS.index(speed) for speed in drawn])
            batch.label += speeds * (int(self.labels.max()) + 1)
        return batch

    def _draw(self, epoch: int, index: int, repeat: int = 0) -> Draw:
        key = self.table.keys[index]
        return Draw(self.seed, epoch, f"{key} {repeat}" if repeat else key)

    def _clip(self, index: int, draw: Draw) -> Clip:
        rng = draw.counter("window")
        seen = index
        if self._partners is None:
            audio_start, video_start = self._starts(index, index, rng)
        else:
            seen = self._partners.draw(index, draw.counter("av_mixup"))
            audio_start, video_start = self._starts(index, None, rng)[0], self._starts(None, seen, rng)[1]
        kept = self._kept(index, seen, draw)
        clip = Clip(
            self._hear(index, audio_start, draw) if "A" in kept else None,
            self._see(seen, video_start, draw) if "V" in kept else None,
        )
        if "A" in self._worth and clip.audio is not None:
            rows = audio_start + np.arange(min(self.audio_window, int(self.table.audio_frames[index]) - audio_start))
            times = rows * self.inputs.audio.frame_shift * 0.001
            clip.audio_worth = torch.from_numpy(self._worth["A"].at(index, times))
        if "V" in self._worth and clip.video is not None:
            times = self._rows_of(seen, video_start) / self.inputs.video.fps
            clip.video_worth = torch.from_numpy(self._worth["V"].at(seen, times))
        return clip

    def _starts(self, heard: int | None, seen: int | None, rng: Numbers) -> tuple[int, int]:
        """The first feature and video frames of a window inside both modalities, if they are long enough."""
        audio, video = self.inputs.audio, self.inputs.video
        has_audio = heard is not None and audio is not None and self.table.audio_frames[heard] > 0
        has_video = seen is not None and video is not None and self.table.video_frames[seen] > 0
        audio_spare = max(0, int(self.table.audio_frames[heard]) - self.audio_window) if has_audio else 0
        video_spare = max(0, int(self.table.video_frames[seen]) - self.video_window) if has_video else 0
        if not has_video:
            return rng.integers(audio_spare + 1), 0
        if not has_audio:
            return 0, rng.integers(video_spare + 1)
        shift = audio.frame_shift * 0.001 * video.fps
        start = rng.integers(min(video_spare, int(audio_spare * shift)) + 1)
        return min(round(start / shift), audio_spare), start

    def _kept(self, heard: int, seen: int, draw: Draw) -> str:
        """The modalities that remain of a clip; only of one that has both can one be dropped."""
        share = self.config.modality_dropout
        if share == 0 or self.table.audio_frames[heard] == 0 or self.table.video_frames[seen] == 0:
            return "AV"
        drawn = draw.counter("modality_dropout").uniform(0.0, 1.0)
        return "AV" if drawn >= share else "AV"[int(drawn >= share / 2)]

    def _hear(self, index: int, start: int, draw: Draw) -> Tensor | None:
        """The audio of a window, or None."""
        frames = int(self.table.audio_frames[index])
        if self._audio is None or frames == 0:
            return None
        return self._audio.read(index, start, min(start + self.audio_window, frames), draw)

    def _masks(self, index: int, draw: Draw) -> list[int]:
        """The masks of a window, see :func:`avsv.audio.augment.draw_masks`."""
        frames, widths = min(int(self.table.audio_frames[index]), self.audio_window), self.config.spec_augment
        return draw_masks(draw.counter("spec_augment"), frames, self.inputs.num_bins, widths.time, widths.frequency)

    def _rows_of(self, index: int, start: int) -> np.ndarray:
        """The face frames of a window."""
        frames = int(self.table.video_frames[index])
        rows = start + self.video_rows
        rows = rows[rows < frames]
        # A clip that ends before the first of the spread rows contributes its last frame.
        return rows if len(rows) else np.array([frames - 1])

    def _see(self, index: int, start: int, draw: Draw) -> Tensor | None:
        """The video of a window, or None."""
        frames = int(self.table.video_frames[index])
        if self._faces is None or frames == 0:
            return None
        video = self.inputs.show(self._faces.read(index, self._rows_of(index, start)))
        if self.config.video_augment:
            video = augment_clip(video, draw.generator("video"))
        return torch.from_numpy(np.ascontiguousarray(video))


def read_worth(table: UtteranceTable, inputs: Inputs) -> dict[str, Worth]:
    """The true worth of the moments of the modalities, A and V, that the networks need; see :class:`Worth`."""
    return {letter: Worth(table, letter) for letter in inputs.worth}


def whole_audio_list(config: EmbedConfig, inputs: Inputs) -> str | None:
    """The list from which whole utterances are read; None for a system without audio."""
    return "audio.scp" if config.speeds and inputs.audio is not None else inputs.audio_list


class WholeUtterances(Clips):
    """Whole utterances in batches of similar length: all feature frames, and face frames spread over the clip.

    Batches are made of the list sorted by length, separately for utterances with both modalities, only audio and only
    video, so that the content of a batch depends on the list alone.

    Args:
        table: the utterances; ``table.audio`` contains the locations from :func:`whole_audio_list`.
        labels: (N,) class of each utterance, -1 for none.
        config: batch size, number of face frames, speeds.
        inputs: the form of the stored data and of the inputs of the networks.
        waveforms: compute the audio from these samples; None to read it from the locations in ``table.audio``.
        faces: source of face frames; None to read them from the locations in ``table.video``.
    """

    # Face frames in a batch, whatever its number of utterances: bounds the memory for long clips.
    MAX_VIDEO_FRAMES = 128

    def __init__(
        self,
        table: UtteranceTable,
        labels: np.ndarray,
        config: EmbedConfig,
        inputs: Inputs,
        waveforms: WaveformSource | None = None,
        faces: FaceSource | None = None,
    ) -> None:
        super().__init__(table, labels, inputs)
        self.config = config
        self._audio: AudioSource | None = None
        if inputs.audio is not None:
            if waveforms is None and whole_audio_list(config, inputs) == "audio.scp":
                waveforms = Waveforms(table, inputs.audio.sample_rate)
            columns = inputs.audio.num_mel_bins
            self._audio = StoredFbank(table, columns) if waveforms is None else ComputedAudio(waveforms, inputs)
        self._faces = None if inputs.video is None else faces or FaceCrops(table, inputs.video)
        self._worth = read_worth(table, inputs)
        self.batches = self._plan()

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def _plan(self) -> list[np.ndarray]:
        audio, video = (
            np.zeros_like(frames) if form is None else frames
            for form, frames in (
                (self.inputs.audio, self.table.audio_frames),
                (self.inputs.video, self.table.video_frames),
            )
        )
        if self.inputs.video is not None:
            fps = self.inputs.video.fps
            video = np.array([self.config.num_faces(frames, fps) if frames else 0 for frames in video.tolist()])
        if self.config.mirror:
            video = 2 * video
        has = 2 * (audio > 0) + (video > 0)
        # The last key of lexsort is the primary one: longest first within each group; ties in the order of keys.
        order = np.lexsort((np.arange(len(audio)), -video, -audio, -has))
        batches, current = [], []
        for index in order[has[order] > 0]:
            longest = max([video[index], *(video[other] for other in current)])
            full = len(current) == self.config.batch_size or longest * (len(current) + 1) > self.MAX_VIDEO_FRAMES
            if current and (full or has[index] != has[current[0]]):
                batches.append(np.array(current))
                current = []
            current.append(int(index))
        if current:
            batches.append(np.array(current))
        return batches

    def batch(self, item: int) -> Batch:
        """A batch by its number; a modality that none of its utterances has is None."""
        if not 0 <= item < len(self):
            raise IndexError(item)
        return self.batch_of(self.batches[item].tolist())

    def prepared(self) -> Iterator[Batch]:
        """All batches one after another on the CPU, ready for the networks. Raises DataError as :meth:`batch`."""
        for number in range(len(self)):
            batch = self[number]
            if isinstance(batch, DataError):
                raise batch
            yield batch.prepare("cpu")

    def batch_of(self, indices: Sequence[int]) -> Batch:
        """Make a batch of some utterances, given by their rows in the table."""
        return collate(self.table, self.labels, self.inputs, indices, [self._clip(index) for index in indices])

    def _clip(self, index: int) -> Clip:
        clip = Clip()
        if self._audio is not None and (frames := int(self.table.audio_frames[index])) > 0:
            if self.config.speeds:
                clip.audio, *clip.others = self._audio.read_at_speeds(index, 0, frames)
            else:
                clip.audio = self._audio.read(index, 0, frames)
            if "A" in self._worth:
                times = np.arange(frames) * self.inputs.audio.frame_shift * 0.001
                clip.audio_worth = torch.from_numpy(self._worth["A"].at(index, times))
        if self._faces is not None and (frames := int(self.table.video_frames[index])) > 0:
            rows = spread_rows(frames, self.config.num_faces(frames, self.inputs.video.fps))
            video = self.inputs.show(self._faces.read(index, rows))
            if "V" in self._worth:
                worth = self._worth["V"].at(index, rows / self.inputs.video.fps)
                clip.video_worth = torch.from_numpy(np.tile(worth, 2 if self.config.mirror else 1))
            if self.config.mirror:
                video = np.concatenate([video, video[..., ::-1]])
            clip.video = torch.from_numpy(np.ascontiguousarray(video))
        return clip
