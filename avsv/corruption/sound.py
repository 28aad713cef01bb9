"""Corruptions of voices: noise, babble, reverberation, clipping, a narrow band."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from avsv.audio.augment import noise_files, noise_window, reverberate, scale_to_snr
from avsv.audio.wav import WavFile
from avsv.seeding import seed_for

VOICES = 5  # in a babble
ROOM_VOLUME = 100.0  # cubic meters
DISTANCE = 1.0  # meters from mouth to microphone
HELD_OUT = 4  # one in this many noises is used for evaluation
EDGE = 50.0  # width of the band edges in Hz


def held_out(ids: Iterable[str]) -> list[str]:
    """The noises used for evaluation: the quarter of the ids of a list with the smallest hashes, at least one.

    It depends only on the ids, so training can exclude the same noises.

    Example:
        >>> held_out([f"noise{n}" for n in range(8)])
        ['noise0', 'noise3']
    """
    ids = sorted(ids, key=lambda name: seed_for(0, "held out", name))
    return sorted(ids[: max(1, len(ids) // HELD_OUT)])


class Noises:
    """The held-out recordings of a noise list, or the others; :func:`held_out` is applied to each type separately.

    Args:
        folder: folder with ``wav.scp`` and ``utt2type`` (noise, music or speech).
        sample_rate: sample rate of the recordings, which must be 16-bit mono wav.
        others: use those that are not held out instead; a type of which there are none is missing.

    Raises:
        DataError: lists that are missing, empty or disagree.
    """

    def __init__(self, folder: str | Path, sample_rate: int = 16000, others: bool = False) -> None:
        self.sample_rate = sample_rate
        self.files = {}
        for kind, found in noise_files(folder).items():
            chosen = set(held_out(found))
            files = [found[key] for key in sorted(found) if (key in chosen) != others]
            if files:
                self.files[kind] = files

    def window(self, kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
        """``size`` samples at a random position of a random recording of a type; a shorter recording is repeated."""
        files = self.files[kind]
        return noise_window(WavFile(files[rng.integers(len(files))], self.sample_rate), size, rng)

    def babble(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """The sum of five equally loud voices."""
        voices = [self.window("speech", size, rng).astype(np.float64) for _ in range(VOICES)]
        return sum(voice / max(np.sqrt(np.mean(voice**2)), 1e-6) for voice in voices).astype(np.float32)


def add_noise(waveform: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add noise with a power ``snr`` dB below that of the whole utterance.

    Example:
        >>> waveform = np.full(4, 0.5, np.float32)
        >>> add_noise(waveform, np.array([1, -1, 1, -1], np.float32), 20.0).round(3).tolist()
        [0.550000011920929, 0.44999998807907104, 0.550000011920929, 0.44999998807907104]
    """
    return waveform + scale_to_snr(noise, waveform, snr).astype(np.float32)


def room_response(rt60: float, rng: np.random.Generator, sample_rate: int = 16000) -> np.ndarray:
    """A simulated room response: the direct sound, then noise whose level falls by 60 dB in ``rt60`` seconds.

    The energy of the reverberation relative to the direct sound is that of a speaker 1 m from the microphone in a room
    of 100 cubic meters. Rooms are simulated because lists of room responses do not state their reverberation times.

    Source: Polack 1988 (exponentially decaying noise); critical distance 0.057 sqrt(V / RT60), Sabine.

    Example:
        >>> response = room_response(0.5, np.random.default_rng(0))
        >>> round(float(np.sum(response[1:] ** 2)), 4)  # the critical distance is 0.806 m
        1.5389
    """
    time = np.arange(1, round(rt60 * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    critical = 0.057 * np.sqrt(ROOM_VOLUME / rt60)
    tail *= DISTANCE / critical / np.linalg.norm(tail)
    return np.concatenate([[1.0], tail]).astype(np.float32)


def add_room(waveform: np.ndarray, rt60: float, rng: np.random.Generator, sample_rate: int = 16000) -> np.ndarray:
    """Convolve the waveform with a :func:`room_response`; the number of samples does not change."""
    return reverberate(waveform, room_response(rt60, rng, sample_rate))


def clip_peaks(waveform: np.ndarray, share: float) -> np.ndarray:
    """Clip the loudest ``share`` of the samples at one level.

    Example:
        >>> clip_peaks(np.array([0.1, -0.2, 0.3, -0.8], np.float32), 0.25).round(2).tolist()
        [0.10000000149011612, -0.20000000298023224, 0.30000001192092896, -0.30000001192092896]
    """
    loudness = np.sort(np.abs(waveform))
    kept = len(loudness) - round(share * len(loudness))
    level = loudness[max(0, kept - 1)]
    return np.clip(waveform, -level, level)


def limit_band(waveform: np.ndarray, low: float, high: float, sample_rate: int = 16000) -> np.ndarray:
    """Keep the frequencies from ``low`` to ``high`` Hz; the signal is zero from 50 Hz beyond them."""
    from scipy import fft

    size = fft.next_fast_len(len(waveform) + sample_rate // 10, real=True)
    spectrum = fft.rfft(waveform, size)
    frequency = fft.rfftfreq(size, 1 / sample_rate)
    outside = np.maximum(low - frequency, frequency - high)
    spectrum *= (0.5 + 0.5 * np.cos(np.pi * np.clip(outside / EDGE, 0, 1))).astype(np.float32)
    return fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)
