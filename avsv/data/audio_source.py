"""Sources of the audio of a clip: stored Fbank features, or inputs computed from the waveform."""

import math
from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avsv.audio.augment import NoiseReverb
from avsv.audio.fbank import Fbank, mean_normalize
from avsv.audio.log_mel import LogMel
from avsv.audio.speed import SPEEDS, change_speed
from avsv.audio.wav import read_window
from avsv.config.sections import DataConfig
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.data.stored import check_columns, naming
from avsv.io.ark import read_rows
from avsv.seeding import Draw


class AudioSource(ABC):
    """The audio of the utterances of a table, in the form that the audio network expects."""

    @abstractmethod
    def read(self, index: int, start: int, stop: int, draw: Draw | None = None) -> Tensor:
        """Read a part of an utterance.

        Args:
            index: row of the utterance in the table.
            start: first feature frame.
            stop: feature frame after the last.
            draw: random generators of the clip, for a source that augments.

        Returns:
            (stop - start, F) mean-normalized Fbank features; or the samples of these frames in the form that the
            network expects, (n,) samples or (T, F) log-mel energies. :class:`AugmentedAudio` returns the samples (n,)
            also where the network expects Fbank features, which are computed for a batch.

        Raises:
            DataError: the audio cannot be read; the message names the utterance.
        """


class StoredFbank(AudioSource):
    """Fbank features from ``feats.scp``.

    Args:
        table: the utterances; ``table.audio`` contains the locations of the features.
        columns: number F of mel filters.
    """

    def __init__(self, table: UtteranceTable, columns: int) -> None:
        self.table, self.columns = table, columns

    def read(self, index: int, start: int, stop: int, draw: Draw | None = None) -> Tensor:
        """See :meth:`AudioSource.read`."""
        location = self.table.audio[index]
        with naming(self.table.keys[index]):
            rows = read_rows(location, start, stop)
        check_columns(rows, self.columns, self.table, index, location, "steps/make_fbank.sh")
        return mean_normalize(torch.from_numpy(rows))


class WaveformSource(Protocol):
    """The samples of the utterances of a table."""

    def read(self, index: int, first: int, last: int) -> np.ndarray:
        """Samples ``first`` to ``last`` of an utterance: (last - first,) float32 in [-1, 1]."""


class Waveforms:
    """Samples from ``audio.scp``: a :class:`WaveformSource`.

    Args:
        table: the utterances; ``table.audio`` contains the locations of 16-bit mono wav.
        sample_rate: the sample rate that the files must have.
    """

    def __init__(self, table: UtteranceTable, sample_rate: int) -> None:
        self.table, self.sample_rate = table, sample_rate

    def read(self, index: int, first: int, last: int) -> np.ndarray:
        """See :meth:`WaveformSource.read`. Raises DataError as :func:`avsv.audio.wav.read_window`."""
        with naming(self.table.keys[index]):
            return read_window(self.table.audio[index], first, last, self.sample_rate)


class FrontEnd:
    """The input of an audio network from a waveform: mean-normalized Fbank features, log-mel energies, or the waveform.

    Args:
        inputs: the form of the audio and of the input of the network.

    Example:
        >>> from avsv.audio.config import FbankConfig
        >>> front_end = FrontEnd(Inputs(FbankConfig()))
        >>> front_end.num_frames(32000), tuple(front_end(np.zeros(32000, np.float32)).shape)
        (198, (198, 80))
    """

    def __init__(self, inputs: Inputs) -> None:
        self._fbank = Fbank(**inputs.audio.to_dict()) if inputs.takes == "fbank" else None
        self._log_mel = LogMel(inputs.audio.sample_rate, inputs.num_bins) if inputs.takes == "log_mel" else None

    def num_frames(self, num_samples: int) -> int:
        """Length of the result for a waveform; if the network expects waveforms, that of the waveform."""
        if self._fbank is not None:
            return self._fbank.config.num_frames(num_samples)
        return num_samples if self._log_mel is None else self._log_mel.num_frames(num_samples)

    def __call__(self, samples: np.ndarray) -> Tensor:
        """Convert (n,) float32 samples to (T, F) or (n,)."""
        waveform = torch.from_numpy(samples)
        if self._fbank is not None:
            return mean_normalize(self._fbank(waveform))
        return waveform if self._log_mel is None else self._log_mel(waveform)


class ComputedAudio(AudioSource):
    """Audio computed from waveforms.

    Args:
        waveforms: samples of the utterances.
        inputs: the form of the audio and of the input of the network.
    """

    def __init__(self, waveforms: WaveformSource, inputs: Inputs) -> None:
        self.waveforms, self.form, self.front_end = waveforms, inputs.audio, FrontEnd(inputs)

    def _samples(self, index: int, start: int, stop: int) -> np.ndarray:
        form = self.form
        return self.waveforms.read(
            index, start * form.shift_samples, (stop - 1) * form.shift_samples + form.window_samples
        )

    def read(self, index: int, start: int, stop: int, draw: Draw | None = None) -> Tensor:
        """See :meth:`AudioSource.read`."""
        return self.front_end(self._samples(index, start, stop))

    def read_at_speeds(self, index: int, start: int, stop: int) -> list[Tensor]:
        """Read a part of an utterance as :meth:`read` does, at each of ``SPEEDS``; at least one feature frame."""
        samples = self._samples(index, start, stop)
        views = [samples, *(change_speed(samples, speed) for speed in SPEEDS[1:])]
        return [self.front_end(np.pad(view, (0, max(0, self.form.window_samples - len(view))))) for view in views]


class AugmentedAudio(AudioSource):
    """Waveforms with random speed and noise for each clip, as they are if the network expects Fbank features.

    Args:
        waveforms: samples of the utterances.
        table: the utterances.
        config: window length, and whether to change the speed.
        inputs: the form of the audio and of the input of the network.
        noise: adds noise or reverberation; None for neither.
    """

    def __init__(
        self,
        waveforms: WaveformSource,
        table: UtteranceTable,
        config: DataConfig,
        inputs: Inputs,
        noise: NoiseReverb | None,
    ) -> None:
        self.waveforms, self.table, self.noise = waveforms, table, noise
        self.form = inputs.audio
        self.front_end = torch.from_numpy if inputs.takes == "fbank" else FrontEnd(inputs)
        self.speed_perturb = config.speed_perturb
        # A network that does not take Fbank frames receives exactly the samples of the window.
        self.most_samples = None if inputs.takes == "fbank" else round(config.window * inputs.audio.sample_rate)

    def read(self, index: int, start: int, stop: int, draw: Draw | None = None) -> Tensor:
        """See :meth:`AudioSource.read`; ``draw`` is required."""
        samples = self._samples(index, start, stop, draw)
        if self.noise is not None:
            samples = self.noise(samples, draw.counter("noise"))
        return self.front_end(samples)

    def _samples(self, index: int, start: int, stop: int, draw: Draw) -> np.ndarray:
        form = self.form
        first, last = start * form.shift_samples, (stop - 1) * form.shift_samples + form.window_samples
        if self.most_samples is not None:
            last = min(last, first + self.most_samples)
        if not self.speed_perturb or (speed := draw_speed(draw.seed, draw.epoch, self.table.keys[index])) == 1.0:
            return self.waveforms.read(index, first, last)
        # The number of samples does not change if the utterance has enough of them.
        recorded = (int(self.table.audio_frames[index]) - 1) * form.shift_samples + form.window_samples
        wanted = last - first
        length = min(recorded, math.ceil(wanted * speed) + 1)
        first = min(first, recorded - length)
        return change_speed(self.waveforms.read(index, first, first + length), speed)[:wanted]


def draw_speed(seed: int, epoch: int, key: str) -> float:
    """The speed of an utterance in an epoch, one of ``SPEEDS``; the same for all its clips."""
    return SPEEDS[Draw(seed, epoch, key).counter("speed").integers(len(SPEEDS))]
