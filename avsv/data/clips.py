"""Batches of clips: windows of the training utterances, and whole utterances for embedding."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avsv.audio.augment import NoiseReverb, spec_augment
from avsv.audio.config import FbankConfig
from avsv.audio.fbank import Fbank, mean_normalise
from avsv.audio.wav import read_window
from avsv.data.batch import Batch
from avsv.data.lists import UtteranceTable
from avsv.data.threads import one_thread
from avsv.errors import DataError
from avsv.io.ark import read_rows
from avsv.seeding import generator_for, seed_for
from avsv.system.config import DataConfig, EmbedConfig
from avsv.video.augment import augment_clip
from avsv.video.config import FaceFormat

# Padding shows no image; masks keep networks from seeing it.
_GREY = 128


@dataclass
class _Clip:
    """One utterance's part of a batch; None for a modality that it lacks."""

    audio: Tensor | None = None
    video: np.ndarray | None = None


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


class Clips(Dataset):
    """What both kinds of clips share: reading rows, and putting clips together.

    Args:
        table: the utterances.
        labels: (N,) class of each utterance, -1 for none.
        bins: columns of the features; None for a system without audio.
        video_format: what the face frames are; None for a system without video.
    """

    def __init__(
        self, table: UtteranceTable, labels: np.ndarray, bins: int | None, video_format: FaceFormat | None
    ) -> None:
        self.table, self.labels, self.bins, self.video_format = table, labels, bins, video_format

    def _rows(self, index: int, location: str, start: int, stop: int, columns: int, made_by: str) -> np.ndarray:
        try:
            rows = read_rows(location, start, stop)
        except DataError as error:
            raise DataError(f"{self.table.keys[index]}: {error}") from None
        if rows.shape[1] != columns:
            raise DataError(
                f"{self.table.keys[index]}: {location}: {rows.shape[1]} columns, not the {columns} that the"
                f" configuration says: run {made_by} on {self.table.directory}"
            )
        return rows

    def _features(self, index: int, start: int, stop: int) -> Tensor:
        rows = self._rows(index, self.table.audio[index], start, stop, self.bins, "steps/make_fbank.sh")
        return torch.from_numpy(rows)

    def _frames(self, index: int, rows: np.ndarray) -> np.ndarray:
        first, last = int(rows[0]), int(rows[-1])
        form = self.video_format
        pixels = self._rows(index, self.table.video[index], first, last + 1, form.row, "steps/make_face_crops.sh")
        return pixels[rows - first].reshape(-1, form.channels, form.height, form.width)

    def _collate(self, indices: list[int], clips: list[_Clip], audio_length: int, video_length: int) -> Batch:
        """Pad to the given lengths."""
        fields = {}
        if self.bins is not None:
            fields["audio"] = torch.zeros(len(clips), audio_length, self.bins)
            fields["audio_mask"] = torch.zeros(len(clips), audio_length, dtype=torch.bool)
        if self.video_format is not None:
            form = self.video_format
            shape = (len(clips), video_length, form.channels, form.height, form.width)
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


class TrainingClips(Clips):
    """Synchronous windows of audio and video, drawn and augmented by (seed, epoch, utterance).

    A window starts on a video frame where there is video, so that both modalities begin together; its features are
    read from feats.scp, or computed from a window of the waveform where noise is added (then with dither). The mean is
    taken over the window, before masks. An utterance shorter than the window is used whole and padded under a False
    mask, which keeps audio and video in step; one that lacks a modality has an all-False mask there.

    Args:
        table: the training utterances.
        labels: (N,) class of each utterance.
        config: window length and augmentation.
        audio: what the features are; None for a system without audio.
        video: what the face frames are; None for a system without video.
        seed: base seed.
        noise: adds noise or a room to a waveform; then ``table.audio`` must locate waveforms. None reads features.

    Raises:
        DataError: the window is shorter than a feature or video frame.
    """

    def __init__(
        self,
        table: UtteranceTable,
        labels: np.ndarray,
        config: DataConfig,
        audio: FbankConfig | None,
        video: FaceFormat | None,
        seed: int,
        noise: NoiseReverb | None = None,
    ) -> None:
        super().__init__(table, labels, audio.num_mel_bins if audio else None, video)
        self.config, self.audio_format, self.seed, self.noise = config, audio, seed, noise
        self.audio_window = audio.num_frames(round(config.window * audio.sample_rate)) if audio else 0
        self.video_window = round(config.window * video.fps) if video else 0
        self.video_rows = spread_rows(self.video_window, config.video_frames)
        for wanted, length, unit in ((audio, self.audio_window, "feature"), (video, self.video_window, "video")):
            if wanted is not None and length < 1:
                raise DataError(f"data.window: {config.window} s is shorter than one {unit} frame: make it longer")
        self._fbank = Fbank(**audio.to_dict()) if noise is not None else None

    def __len__(self) -> int:
        return len(self.table)

    def count_short(self) -> int:
        """How many utterances are shorter than the window in a modality that they have."""
        table = self.table
        short = np.zeros(len(table), dtype=bool)
        if self.audio_format is not None:
            short |= (table.audio_frames > 0) & (table.audio_frames < self.audio_window)
        if self.video_format is not None:
            short |= (table.video_frames > 0) & (table.video_frames < self.video_window)
        return int(short.sum())

    def __getitem__(self, items: list[tuple[int, int]]) -> Batch | DataError:
        """The batch of (epoch, utterance index) items, or the error that reading one of them met."""
        indices = [index for _, index in items]
        return self._load(
            lambda: self._collate(
                indices, [self._clip(*item) for item in items], self.audio_window, len(self.video_rows)
            )
        )

    def _clip(self, epoch: int, index: int) -> _Clip:
        key = self.table.keys[index]
        audio_start, video_start = self._starts(index, generator_for(self.seed, "window", epoch, key))
        clip = _Clip()
        if self.audio_format is not None and self.table.audio_frames[index] > 0:
            stop = min(audio_start + self.audio_window, int(self.table.audio_frames[index]))
            clip.audio = self._audio(index, epoch, key, audio_start, stop)
        if self.video_format is not None and self.table.video_frames[index] > 0:
            rows = video_start + self.video_rows
            rows = rows[rows < self.table.video_frames[index]]
            # A clip that ends before the first spread row still shows its last frame.
            rows = rows if len(rows) else np.array([int(self.table.video_frames[index]) - 1])
            clip.video = self._frames(index, rows)
            if self.config.video_augment:
                clip.video = augment_clip(clip.video, generator_for(self.seed, "video", epoch, key))
        return clip

    def _starts(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """First feature and video frame of a window that lies inside both modalities, where they are long enough."""
        has_audio = self.audio_format is not None and self.table.audio_frames[index] > 0
        has_video = self.video_format is not None and self.table.video_frames[index] > 0
        audio_spare = max(0, int(self.table.audio_frames[index]) - self.audio_window)
        video_spare = max(0, int(self.table.video_frames[index]) - self.video_window)
        if not has_video:
            return int(rng.integers(audio_spare + 1)), 0
        if not has_audio:
            return 0, int(rng.integers(video_spare + 1))
        shift = self.audio_format.frame_shift * 0.001 * self.video_format.fps
        start = int(rng.integers(min(video_spare, int(audio_spare * shift)) + 1))
        return min(round(start / shift), audio_spare), start

    def _audio(self, index: int, epoch: int, key: str, start: int, stop: int) -> Tensor:
        if self.noise is None:
            features = self._features(index, start, stop)
        else:
            waveform = self._waveform(index, start, stop)
            waveform = self.noise(waveform, generator_for(self.seed, "noise", epoch, key))
            dither = torch.Generator().manual_seed(seed_for(self.seed, "dither", epoch, key))
            features = self._fbank(torch.from_numpy(waveform), dither)
        features = mean_normalise(features)
        masks = self.config.spec_augment
        if masks is not None:
            rng = generator_for(self.seed, "spec_augment", epoch, key)
            features = spec_augment(features, rng, masks.time, masks.frequency)
        return features

    def _waveform(self, index: int, start: int, stop: int) -> np.ndarray:
        """The samples under the feature frames ``start`` to ``stop``."""
        form = self.audio_format
        first, last = start * form.shift_samples, (stop - 1) * form.shift_samples + form.window_samples
        try:
            return read_window(self.table.audio[index], first, last, form.sample_rate)
        except DataError as error:
            raise DataError(f"{self.table.keys[index]}: {error}") from None


class WholeUtterances(Clips):
    """Whole utterances in batches of similar length: all feature frames, and face frames spread over the clip.

    Batches are cut from the list sorted by length, separately for utterances that have both modalities, only audio and
    only video, so that what a batch holds depends on the list alone.

    Args:
        table: the utterances.
        labels: (N,) class of each utterance, -1 for none.
        config: batch size and number of face frames.
        bins: columns of the features; None for a system without audio.
        video: what the face frames are; None for a system without video.
    """

    # Face frames in a batch, whatever its size in utterances: bounds the memory of long clips.
    MAX_VIDEO_FRAMES = 128

    def __init__(
        self, table: UtteranceTable, labels: np.ndarray, config: EmbedConfig, bins: int | None, video: FaceFormat | None
    ) -> None:
        super().__init__(table, labels, bins, video)
        self.config = config
        self.batches = self._plan()

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def _plan(self) -> list[np.ndarray]:
        audio = self.table.audio_frames if self.bins is not None else np.zeros_like(self.table.audio_frames)
        video = self.table.video_frames if self.video_format is not None else np.zeros_like(self.table.video_frames)
        if self.config.video_frames is not None:
            video = np.where(video > 0, self.config.video_frames, 0)
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
        if video_length == 0:
            batch.video = batch.video_mask = None
        return batch

    def _clip(self, index: int) -> _Clip:
        clip = _Clip()
        if self.bins is not None and self.table.audio_frames[index] > 0:
            clip.audio = mean_normalise(self._features(index, 0, int(self.table.audio_frames[index])))
        if self.video_format is not None and self.table.video_frames[index] > 0:
            rows = spread_rows(int(self.table.video_frames[index]), self.config.video_frames)
            clip.video = self._frames(index, rows)
        return clip
