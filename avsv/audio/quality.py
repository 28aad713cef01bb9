"""Measures of the quality of a voice recording, which need no reference."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.audio.voice import voice_seconds

_FRAME, _SHIFT = 0.025, 0.01  # seconds
_QUIET, _LOUD = 10, 90  # percentiles of the power of frames
_CLIPPED = 0.98  # of the largest sample
_SILENCE = 1e-10  # power that counts as silence, -100 dB
_HEARD = 1e-5  # of the power of the strongest frequency, -50 dB
_WINDOW = 512  # samples of a spectrum
_BLOCK = 4096  # spectra that are computed at a time


class VoiceQuality(NamedTuple):
    """The quality of a voice recording.

    Attributes:
        level: power of the recording in dB relative to full scale.
        snr: estimated signal-to-noise ratio in dB: the power of its loud frames over that of its quiet frames.
        bandwidth: natural logarithm of the share of the frequencies whose mean power is within 50 dB of the strongest.
        clipping: share of the samples at the largest amplitude, in percent.
        length: natural logarithm of the seconds of voice.
    """

    level: float
    snr: float
    bandwidth: float
    clipping: float
    length: float


def voice_quality(waveform: NDArray[np.float32], sample_rate: int) -> VoiceQuality:
    """Measure a recording.

    The signal-to-noise ratio is estimated as the ratio of the 90th to the 10th percentile of the power of frames of
    25 ms: speech pauses every few seconds, and noise fills the pauses.

    Args:
        waveform: (n,) samples in [-1, 1], at least one.
        sample_rate: samples per second.

    Example (a tone with pauses, in noise 20 dB below it):
        >>> tone = np.sin(np.arange(32000) * 0.3) * (np.arange(32000) % 8000 < 4000)
        >>> noise = np.random.default_rng(0).normal(size=32000) * np.sqrt(0.5) / 10
        >>> measured = voice_quality(0.1 * (tone + noise).astype(np.float32), 16000)
        >>> round(measured.snr), round(measured.level)
        (20, -26)
    """
    samples = np.asarray(waveform, dtype=np.float64)
    power = np.mean(samples**2)
    size, shift = min(round(_FRAME * sample_rate), len(samples)), round(_SHIFT * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::shift]
    # The frames overlap: their squares would take the memory of several recordings.
    quiet, loud = np.percentile(np.einsum("tn,tn->t", frames, frames) / size, [_QUIET, _LOUD])
    peak = np.abs(samples).max()
    return VoiceQuality(
        level=_decibel(power),
        snr=_decibel(loud) - _decibel(quiet),
        bandwidth=_bandwidth(samples),
        clipping=100 * float(np.mean(np.abs(samples) >= _CLIPPED * peak)) if peak > 0 else 0.0,
        length=float(np.log(max(voice_seconds(waveform, sample_rate), _FRAME))),
    )


def _bandwidth(samples: NDArray[np.float64]) -> float:
    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:: _WINDOW // 2]
    power, window = np.zeros(_WINDOW // 2 + 1), np.hanning(_WINDOW)
    for start in range(0, len(frames), _BLOCK):
        power += (np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window)) ** 2).sum(axis=0)
    power = power[1:] / len(frames)
    return float(np.log(max(np.mean(power > _HEARD * power.max()), 1 / len(power))))


def _decibel(power: float) -> float:
    return float(10 * np.log10(max(power, _SILENCE)))
