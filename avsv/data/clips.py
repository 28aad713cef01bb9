"""Batches of clips: windows of the training utterances, and whole utterances for embedding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avsv.audio.augment import NoiseReverb, spec_augment
from avsv.audio.fbank import Fbank, mean_normalise
from avsv.audio.log_mel import LogMel
from avsv.audio.speed import SPEEDS, change_speed
from avsv.audio.wav import read_window
from avsv.config.sections import DataConfig, EmbedConfig
from avsv.data.batch import Batch
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.data.mixup import Partners
from avsv.data.threads import one_thread
from avsv.errors import DataError
from avsv.io.ark import is_online, read_rows
from avsv.seeding import generator_for, seed_for
from avsv.video.augment import augment_clip

# Padding shows no image; masks keep networks from seeing it.
_GREY = 128


@dataclass
class _Clip:
    """One utterance's part of a batch; None for a modality that it lacks. ``others``: its audio at other speeds."""

    audio: Tensor | None = None
    video: np.ndarray | None = None
    others: Sequence[Tensor] = ()


def spread_rows(count: int, wanted: int | None) -> np.ndarray:
    """The middle rows of ``wanted`` equal parts of ``count`` rows; all rows when ``wanted`` is None.

    Source: the frame index floor((j + 0.5) * fps_src / fps_dst) of resampling a clip.

    Example:
        >>> spread_rows(50, 5).tolist(), spread_rows(3, None).tolist()
        ([5, 15, 25, 35, 45], [0, 1, 2])
    """
    if wanted is None:
        return np.arange(count)
    return ((2 * np.arange(wanted) + 1) * count) // (2 * wanted)


def _read_faces(location: str, rows: np.ndarray) -> np.ndarray:
    """Some rows of a clip's face crops, in increasing order."""
    if is_online(location):
        from avsv.video.online import read_faces

        return read_faces(location, rows)
    first, last = int(rows[0]), int(rows[-1])
    return read_rows(location, first, last + 1)[rows - first]


class Clips(Dataset):
    """What both kinds of clips share: reading rows, and putting clips together.

    Args:
        table: the utterances; ``table.audio`` locates Fbank features, or waveforms where the network takes them.
        labels: (N,) class of each utterance, -1 for none.
        inputs: the form of what is stored, and of what the networks take.
    """

    def __init__(self, table: UtteranceTable, labels: np.ndarray, inputs: Inputs) -> None:
        self.table, self.labels, self.inputs = table, labels, inputs
        self.audio_format, self.video_format = inputs.audio, inputs.video
        self._log_mel = LogMel(inputs.audio.sample_rate, inputs.num_bins) if inputs.takes == "log_mel" else None
        self._fbank: Fbank | None = None  # where features are computed from waveforms, and not read

    def _rows(
        self, index: int, location: str, columns: int, made_by: str, read: Callable[..., np.ndarray], *which: object
    ) -> np.ndarray:
        try:
            rows = read(location, *which)
        except DataError as error:
            raise DataError(f"{self.table.keys[index]}: {error}") from None
        if rows.shape[1] != columns:
            raise DataError(
                f"{self.table.keys[index]}: {location}: {rows.shape[1]} columns, not the {columns} that the"
                f" configuration says: run {made_by} on {self.table.directory}"
            )
        return rows

    def _features(self, index: int, start: int, stop: int) -> Tensor:
        location, columns = self.table.audio[index], self.audio_format.num_mel_bins
        return torch.from_numpy(self._rows(index, location, columns, "steps/make_fbank.sh", read_rows, start, stop))

    def _samples(self, index: int, first: int, last: int) -> np.ndarray:
        try:
            return read_window(self.table.audio[index], first, last, self.audio_format.sample_rate)
        except DataError as error:
            raise DataError(f"{self.table.keys[index]}: {error}") from None

    def _from_samples(self, samples: np.ndarray) -> Tensor:
        """What the network takes of a waveform."""
        waveform = torch.from_numpy(samples)
        if self.inputs.takes == "fbank":
            return mean_normalise(self._fbank(waveform))
        return waveform if self._log_mel is None else self._log_mel(waveform)

    def _pixels(self, index: int, rows: np.ndarray) -> np.ndarray:
        """Face crops (T, C, H, W) as they are stored, of rows in increasing order."""
        location, form = self.table.video[index], self.video_format
        pixels = self._rows(index, location, form.row, "steps/make_face_crops.sh", _read_faces, rows)
        return pixels.reshape(-1, form.channels, form.height, form.width)

    def _frames(self, index: int, rows: np.ndarray) -> np.ndarray:
        return self.inputs.show(self._pixels(index, rows))

    def _collate(self, indices: list[int], clips: list[_Clip], audio_length: int, video_length: int) -> Batch:
        """Pad to the given lengths."""
        fields = {}
        if self.audio_format is not None:
            columns = () if self.inputs.takes == "waveform" else (self.inputs.num_bins,)
            fields["audio"] = torch.zeros(len(clips), audio_length, *columns)
            fields["audio_mask"] = torch.zeros(len(clips), audio_length, dtype=torch.bool)
        if self.video_format is not None:
            shape = (len(clips), video_length, *self.inputs.image_shape)
            fields["video"] = torch.full(shape, _GREY, dtype=torch.uint8)
            fields["video_mask"] = torch.zeros(len(clips), video_length, dtype=torch.bool)
        for row, clip in enumerate(clips):
            if clip.audio is not None:
                fields["audio"][row, : len(clip.audio)] = clip.audio
                fields["audio_mask"][row, : len(clip.audio)] = True
            if clip.video is not None:
                fields["video"][row, : len(clip.video)] = torch.from_numpy(np.ascontiguousarray(clip.video))
                fields["video_mask"][row, : len(clip.video)] = True
        labels = torch.from_numpy(self.labels[indices].astype(np.int64))
        return Batch([self.table.keys[index] for index in indices], labels, **fields)

    def _load(self, make: Callable[[], Batch]) -> Batch | DataError:
        # One thread whoever loads: a sum in another order has other last bits. An error is handed over as it is,
        # because the loader would wrap it in the worker's traceback.
        with one_thread():
            try:
                return make()
            except DataError as error:
                return error


def reads_waveforms(config: DataConfig, inputs: Inputs, noise: NoiseReverb | None) -> bool:
    """Whether training windows are read from audio.scp and not from feats.scp."""
    return inputs.takes != "fbank" or noise is not None or config.speed_perturb


def _pad(views: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """B utterances' S series (T, ...) as (S, B, longest T, ...) and a mask."""
    longest = max(len(series) for utterance in views for series in utterance)
    first = views[0][0]
    values = first.new_zeros(len(views[0]), len(views), longest, *first.shape[1:])
    mask = torch.zeros(values.shape[:3], dtype=torch.bool)
    for row, utterance in enumerate(views):
        for number, series in enumerate(utterance):
            values[number, row, : len(series)] = series
            mask[number, row, : len(series)] = True
    return values, mask


class TrainingClips(Clips):
    """Windows of audio and video, drawn and augmented by (seed, epoch, utterance).

    Both windows of a clip begin together, on a video frame where there is video; with ``config.av_mixup`` the video is
    of another utterance of the same speaker. Fbank features are read from feats.scp, or computed from a window of the
    waveform where it is changed (then with dither). Their mean is taken over the window, before masks. An utterance
    shorter than the window is used whole and padded under a False mask, which keeps audio and video in step; one that
    lacks a modality has an all-False mask there.

    Args:
        table: the training utterances.
        labels: (N,) class of each utterance.
        config: window length and augmentation.
        inputs: the form of what is stored, and of what the networks take.
        seed: base seed.
        noise: adds noise or a room to a waveform; then ``table.audio`` must locate waveforms.
        ages: (N,) years, NaN where not known; None where no age is asked for.
        sessions: the source recording of each utterance; with ``av_mixup`` another one is preferred.

    Raises:
        DataError: the window is shorter than a feature or video frame, or the configuration asks for what the
            networks cannot take.
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
    ) -> None:
        super().__init__(table, labels, inputs)
        self.config, self.seed, self.noise, self.ages = config, seed, noise, ages
        audio, video = self.audio_format, self.video_format
        self.audio_samples = round(config.window * audio.sample_rate) if audio else 0
        self.audio_window = audio.num_frames(self.audio_samples) if audio else 0
        self.video_window = round(config.window * video.fps) if video else 0
        self.video_rows = spread_rows(self.video_window, config.video_frames)
        for wanted, length, unit in ((audio, self.audio_window, "feature"), (video, self.video_window, "video")):
            if wanted is not None and length < 1:
                raise DataError(f"data.window: {config.window} s is shorter than one {unit} frame: make it longer")
        if inputs.takes != "fbank":
            if config.spec_augment is not None:
                raise DataError(f"data.spec_augment: the audio network takes {inputs.takes}: set it to null")
            # The frames whose samples hold the window.
            self.audio_window = 1 - (audio.window_samples - self.audio_samples) // audio.shift_samples
        if reads_waveforms(config, inputs, noise) and inputs.takes == "fbank":
            self._fbank = Fbank(**audio.to_dict())
        self._partners = Partners(table, sessions) if config.av_mixup else None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def audio_length(self) -> int:
        """Frames or samples of a whole window as the network takes it."""
        if self.inputs.takes == "waveform":
            return self.audio_samples
        return self.audio_window if self._log_mel is None else self._log_mel.num_frames(self.audio_samples)

    def count_short(self) -> int:
        """How many utterances are shorter than the window in a modality that they have."""
        table = self.table
        short = np.zeros(len(table), dtype=bool)
        if self.audio_format is not None:
            short |= (table.audio_frames > 0) & (table.audio_frames < self.audio_window)
        if self.video_format is not None:
            short |= (table.video_frames > 0) & (table.video_frames < self.video_window)
        return int(short.sum())

    def __getitem__(self, items: list[tuple[int, ...]]) -> Batch | DataError:
        """The batch of (epoch, utterance index) or (epoch, utterance index, repeat) items, or the error of reading one.

        The same utterance with another ``repeat`` is another draw of window and augmentation.
        """
        return self._load(lambda: self._batch(items))

    def _batch(self, items: list[tuple[int, ...]]) -> Batch:
        indices = [item[1] for item in items]
        batch = self._collate(indices, [self._clip(*item) for item in items], self.audio_length, len(self.video_rows))
        if self.ages is not None:
            batch.age = torch.from_numpy(self.ages[indices].astype(np.float32))
        if self.config.speed_perturb:
            speeds = [SPEEDS.index(self._speed(epoch, self.table.keys[index])) for epoch, index, *_ in items]
            batch.label += torch.tensor(speeds) * (int(self.labels.max()) + 1)
        return batch

    def _clip(self, epoch: int, index: int, repeat: int = 0) -> _Clip:
        key = self.table.keys[index]
        if repeat:
            key = f"{key} {repeat}"
        rng = generator_for(self.seed, "window", epoch, key)
        seen = index
        if self._partners is None:
            audio_start, video_start = self._starts(index, index, rng)
        else:
            seen = self._partners.draw(index, generator_for(self.seed, "av_mixup", epoch, key))
            audio_start, video_start = self._starts(index, None, rng)[0], self._starts(None, seen, rng)[1]
        clip = _Clip()
        if self.audio_format is not None and self.table.audio_frames[index] > 0:
            stop = min(audio_start + self.audio_window, int(self.table.audio_frames[index]))
            clip.audio = self._audio(index, epoch, key, audio_start, stop)
        if self.video_format is not None and self.table.video_frames[seen] > 0:
            rows = video_start + self.video_rows
            rows = rows[rows < self.table.video_frames[seen]]
            # A clip that ends before the first spread row still shows its last frame.
            rows = rows if len(rows) else np.array([int(self.table.video_frames[seen]) - 1])
            clip.video = self._frames(seen, rows)
            if self.config.video_augment:
                clip.video = augment_clip(clip.video, generator_for(self.seed, "video", epoch, key))
        return clip

    def _starts(self, heard: int | None, seen: int | None, rng: np.random.Generator) -> tuple[int, int]:
        """First feature and video frame of a window that lies inside both modalities, where they are long enough."""
        has_audio = heard is not None and self.audio_format is not None and self.table.audio_frames[heard] > 0
        has_video = seen is not None and self.video_format is not None and self.table.video_frames[seen] > 0
        audio_spare = max(0, int(self.table.audio_frames[heard]) - self.audio_window) if has_audio else 0
        video_spare = max(0, int(self.table.video_frames[seen]) - self.video_window) if has_video else 0
        if not has_video:
            return int(rng.integers(audio_spare + 1)), 0
        if not has_audio:
            return 0, int(rng.integers(video_spare + 1))
        shift = self.audio_format.frame_shift * 0.001 * self.video_format.fps
        start = int(rng.integers(min(video_spare, int(audio_spare * shift)) + 1))
        return min(round(start / shift), audio_spare), start

    def _audio(self, index: int, epoch: int, key: str, start: int, stop: int) -> Tensor:
        if self._fbank is None and self.inputs.takes == "fbank":
            features = self._features(index, start, stop)
        else:
            samples = self._waveform(index, epoch, start, stop)
            if self.noise is not None:
                samples = self.noise(samples, generator_for(self.seed, "noise", epoch, key))
            if self._fbank is None:
                return self._from_samples(samples)
            dither = torch.Generator().manual_seed(seed_for(self.seed, "dither", epoch, key))
            features = self._fbank(torch.from_numpy(samples), dither)
        features = mean_normalise(features)
        masks = self.config.spec_augment
        if masks is not None:
            rng = generator_for(self.seed, "spec_augment", epoch, key)
            features = spec_augment(features, rng, masks.time, masks.frequency)
        return features

    def _speed(self, epoch: int, key: str) -> float:
        return SPEEDS[int(generator_for(self.seed, "speed", epoch, key).integers(len(SPEEDS)))]

    def _waveform(self, index: int, epoch: int, start: int, stop: int) -> np.ndarray:
        """The samples of the window that begins at feature frame ``start``: those under its frames, at most."""
        form, key = self.audio_format, self.table.keys[index]
        first, last = start * form.shift_samples, (stop - 1) * form.shift_samples + form.window_samples
        if self.inputs.takes != "fbank":
            last = min(last, first + self.audio_samples)
        if not self.config.speed_perturb or (speed := self._speed(epoch, key)) == 1.0:
            return self._samples(index, first, last)
        # As many samples as there were before, where the utterance has enough of them.
        recorded = (int(self.table.audio_frames[index]) - 1) * form.shift_samples + form.window_samples
        wanted = last - first
        length = min(recorded, math.ceil(wanted * speed) + 1)
        first = min(first, recorded - length)
        return change_speed(self._samples(index, first, first + length), speed)[:wanted]


def whole_audio_list(config: EmbedConfig, inputs: Inputs) -> str | None:
    """The list that whole utterances are read from; None for a system without audio."""
    return "audio.scp" if config.speeds and inputs.audio is not None else inputs.audio_list


class WholeUtterances(Clips):
    """Whole utterances in batches of similar length: all feature frames, and face frames spread over the clip.

    Batches are cut from the list sorted by length, separately for utterances that have both modalities, only audio and
    only video, so that what a batch holds depends on the list alone.

    Args:
        table: the utterances; ``table.audio`` locates what :func:`whole_audio_list` names.
        labels: (N,) class of each utterance, -1 for none.
        config: batch size, number of face frames, speeds.
        inputs: the form of what is stored, and of what the networks take.
    """

    # Face frames in a batch, whatever its size in utterances: bounds the memory of long clips.
    MAX_VIDEO_FRAMES = 128

    def __init__(self, table: UtteranceTable, labels: np.ndarray, config: EmbedConfig, inputs: Inputs) -> None:
        super().__init__(table, labels, inputs)
        self.config = config
        if config.speeds and inputs.audio is not None and inputs.takes == "fbank":
            self._fbank = Fbank(**inputs.audio.to_dict())
        self.batches = self._plan()

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def _plan(self) -> list[np.ndarray]:
        audio = self.table.audio_frames if self.audio_format is not None else np.zeros_like(self.table.audio_frames)
        video = self.table.video_frames if self.video_format is not None else np.zeros_like(self.table.video_frames)
        if self.config.video_frames is not None:
            video = np.where(video > 0, self.config.video_frames, 0)
        if self.config.mirror:
            video = 2 * video
        has = 2 * (audio > 0) + (video > 0)
        # The last key of lexsort counts first: longest first within each group; ties stay in the order of keys.
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

    def __getitem__(self, number: int) -> Batch | DataError:
        """A batch by its number, or the error that reading it met; a modality that it lacks as a whole is None."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._load(lambda: self._batch(self.batches[number].tolist()))

    def _batch(self, indices: list[int]) -> Batch:
        clips = [self._clip(index) for index in indices]
        audio_length = max(0 if clip.audio is None else len(clip.audio) for clip in clips)
        video_length = max(0 if clip.video is None else len(clip.video) for clip in clips)
        batch = self._collate(indices, clips, audio_length, video_length)
        if audio_length == 0:
            batch.audio = batch.audio_mask = None
        elif self.config.speeds:
            batch.other_speeds, batch.other_speeds_mask = _pad([clip.others for clip in clips])
        if video_length == 0:
            batch.video = batch.video_mask = None
        return batch

    def _at_speed(self, samples: np.ndarray, speed: float) -> np.ndarray:
        """At least a feature frame of samples, played ``speed`` times as fast."""
        changed = change_speed(samples, speed)
        return np.pad(changed, (0, max(0, self.audio_format.window_samples - len(changed))))

    def _clip(self, index: int) -> _Clip:
        clip = _Clip()
        if self.audio_format is not None and (frames := int(self.table.audio_frames[index])) > 0:
            form = self.audio_format
            if self._fbank is None and self.inputs.takes == "fbank":
                clip.audio = mean_normalise(self._features(index, 0, frames))
            else:
                samples = self._samples(index, 0, (frames - 1) * form.shift_samples + form.window_samples)
                clip.audio = self._from_samples(samples)
                if self.config.speeds:
                    clip.others = [self._from_samples(self._at_speed(samples, speed)) for speed in SPEEDS[1:]]
        if self.video_format is not None and self.table.video_frames[index] > 0:
            rows = spread_rows(int(self.table.video_frames[index]), self.config.video_frames)
            clip.video = self._frames(index, rows)
            if self.config.mirror:
                clip.video = np.concatenate([clip.video, clip.video[..., ::-1]])
        return clip
