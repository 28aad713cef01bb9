"""The settings of ``conf/fbank.yaml``. This module does not import torch."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import yaml

from avsv.config.strict import read_dataclass, read_yaml
from avsv.io.atomic import write_text

Window = Literal["hamming", "hanning", "povey"]


@dataclass(frozen=True)
class FbankConfig:
    """How waveforms are read and converted to log-mel filterbank features.

    Args:
        sample_rate: samples per second of the waveform from which features are computed.
        resample: convert audio with another sample rate; otherwise it is an error.
        downmix: average the channels of stereo audio; otherwise it is an error.
        frame_length: length of a frame in milliseconds.
        frame_shift: time between frames in milliseconds.
        num_mel_bins: number F of filters.
        low_freq: lower edge of the first filter in Hz.
        high_freq: upper edge of the last filter in Hz; 0 means half the sample rate, and a negative number is added to
            that.
        window: hamming, hanning or povey.
        preemphasis: coefficient of the pre-emphasis filter.
        dither: standard deviation, in 16-bit steps, of the noise added to the waveform in training only.

    Raises:
        ValueError: a value outside its range; a filter that contains no frequency.

    Example:
        >>> FbankConfig().window_samples, FbankConfig().shift_samples
        (400, 160)
    """

    sample_rate: int = 16000
    resample: bool = False
    downmix: bool = False
    frame_length: float = 25.0
    frame_shift: float = 10.0
    num_mel_bins: int = 80
    low_freq: float = 20.0
    high_freq: float = 0.0
    window: Window = "hamming"
    preemphasis: float = 0.97
    dither: float = 1.0

    def __post_init__(self) -> None:
        for name in ("sample_rate", "frame_length", "frame_shift", "num_mel_bins"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)}: must be larger than 0")
        if self.window not in get_args(Window):
            raise ValueError(f"window: {self.window}: choose one of {', '.join(get_args(Window))}")
        for name, samples in (("frame_length", self.window_samples), ("frame_shift", self.shift_samples)):
            if samples < 1:
                raise ValueError(f"{name}: {getattr(self, name)}: less than a sample of {self.sample_rate} Hz")
        nyquist = self.sample_rate / 2
        if not 0 <= self.low_freq < self.top_freq <= nyquist:
            raise ValueError(
                f"high_freq: {self.high_freq:g}: leaves no band between low_freq {self.low_freq:g} and {nyquist:g} Hz"
            )
        if self.dither < 0:
            raise ValueError(f"dither: {self.dither}: must not be negative")
        if not 0 <= self.preemphasis <= 1:
            raise ValueError(f"preemphasis: {self.preemphasis}: must be 0 to 1")
        self._check_filters()

    def _check_filters(self) -> None:
        """Raise ValueError if a filter lies between two frequencies of the spectrum: its feature would be constant."""

        def mel(frequency: float) -> float:
            return 1127.0 * math.log1p(frequency / 700.0)

        # The edges in frequencies of the spectrum, of which the last, half the sample rate, has weight 0.
        low, width = mel(self.low_freq), (mel(self.top_freq) - mel(self.low_freq)) / (self.num_mel_bins + 1)
        edges = [
            700.0 * math.expm1((low + n * width) / 1127.0) * self.fft_size / self.sample_rate
            for n in range(self.num_mel_bins + 2)
        ]
        empty = sum(
            math.floor(below + 1e-6) + 1 > min(math.ceil(above - 1e-6), self.fft_size // 2) - 1
            for below, above in zip(edges[:-2], edges[2:], strict=True)
        )
        if empty:
            raise ValueError(
                f"num_mel_bins: {self.num_mel_bins}: {empty} of the filters would contain no frequency of frames of"
                f" {self.frame_length:g} ms: choose fewer filters or a longer frame_length"
            )

    @property
    def window_samples(self) -> int:
        """Samples in a frame."""
        return int(self.sample_rate * self.frame_length * 0.001)

    @property
    def fft_size(self) -> int:
        """Samples of a frame that is padded with zeros to a power of two."""
        return 1 << (self.window_samples - 1).bit_length()

    @property
    def shift_samples(self) -> int:
        """Samples from the start of one frame to the start of the next."""
        return int(self.sample_rate * self.frame_shift * 0.001)

    @property
    def top_freq(self) -> float:
        """Upper edge of the last filter in Hz."""
        return self.high_freq if self.high_freq > 0 else self.sample_rate / 2 + self.high_freq

    def num_frames(self, num_samples: int) -> int:
        """The number of frames of a waveform; an incomplete last frame is dropped.

        Example:
            >>> [FbankConfig().num_frames(n) for n in (24000, 32000, 48000, 399)]
            [148, 198, 298, 0]
        """
        return max(0, 1 + (num_samples - self.window_samples) // self.shift_samples)

    def difference(self, other: "FbankConfig") -> str | None:
        """In which settings of stored features two differ, as in 'sample_rate 8000, not 16000'; None where they agree.

        Dither is added in training only, and how a recording becomes one channel at the sample rate is its own affair.

        Example:
            >>> FbankConfig(sample_rate=8000, dither=0.0).difference(FbankConfig())
            'sample_rate 8000, not 16000'
        """
        first, second = self.to_dict(), other.to_dict()
        names = [
            name for name in first if name not in ("resample", "downmix", "dither") and first[name] != second[name]
        ]
        return "; ".join(f"{name} {_plain(first[name])}, not {_plain(second[name])}" for name in names) or None

    def to_dict(self) -> dict[str, object]:
        """The settings as in the file."""
        return asdict(self)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_path(ark: str | Path) -> Path:
    """The path of the settings of the features in an ark: a file ``.conf`` next to it.

    Example:
        >>> settings_path("data/arks/fbank_train.3.ark").name
        'fbank_train.3.conf'
    """
    return Path(ark).with_suffix(".conf")


def write_settings(config: FbankConfig, ark: str | Path) -> None:
    """Write the settings of the features in an ark to a file next to it."""
    write_text(settings_path(ark), yaml.safe_dump(config.to_dict(), sort_keys=False))


def load_fbank_config(path: str | Path) -> FbankConfig:
    """Read a filterbank configuration; missing keys have their default values.

    Raises:
        DataError: no such file, an unknown key (the message names the nearest known one), a value of the wrong type or
            range.
    """
    return read_dataclass(FbankConfig, read_yaml(path), str(path))
