"""Noise, music, babble and reverberation on waveforms; masks on features."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avsv.audio.wav import num_samples, read_window
from avsv.errors import DataError
from avsv.io.lists import read_list

# (minimum files, maximum files, minimum SNR, maximum SNR in dB); the SNR of every babble file is drawn separately.
_MIXES = {
    "music": ("music", 1, 1, 5.0, 15.0),
    "babble": ("speech", 3, 7, 13.0, 20.0),
    "noise": ("noise", 1, 1, 0.0, 15.0),
}
_TYPES = ("noise", "music", "speech")


class NoiseReverb:
    """Leave a waveform clean, reverberate it, or add music, babble or noise, each with equal probability.

    Music: one file at U(5, 15) dB; babble: 3 to 7 speech files at U(13, 20) dB each; noise: one file at U(0, 15) dB.
    These are the ranges of voxceleb_trainer, the continuous form of those of Kaldi's VoxCeleb recipe. Only the window
    of a noise file that is used is read. Types without files in the lists are not drawn.

    Args:
        noise_dir: folder with ``wav.scp`` and ``utt2type`` (noise, music or speech), or None.
        rir_dir: folder with a ``wav.scp`` of room impulse responses, or None.
        sample_rate: rate of the waveforms and of all files, which must be 16-bit mono wav.

    Raises:
        DataError: the lists are missing, empty or disagree; or, when it is drawn, a file from which windows cannot be
            read or a room response that is all zero.

    Example:
        >>> clean = np.ones(4, dtype=np.float32)
        >>> NoiseReverb(None, None)(clean, np.random.default_rng(0)).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, noise_dir: str | Path | None, rir_dir: str | Path | None, sample_rate: int = 16000) -> None:
        self.sample_rate = sample_rate
        self._files: dict[str, list[str]] = {}
        if noise_dir is not None:
            self._files = {kind: list(found.values()) for kind, found in noise_files(noise_dir).items()}
        self._rirs = list(read_list(Path(rir_dir) / "wav.scp").values()) if rir_dir is not None else []
        self.choices = ["clean"] + ["reverb"] * bool(self._rirs)
        self.choices += [name for name, (kind, *_) in _MIXES.items() if self._files.get(kind)]

    def __call__(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one of ``choices`` and apply it: (n,) float32 to (n,) float32."""
        return self.apply(self.choices[rng.integers(len(self.choices))], waveform, rng)

    def apply(self, choice: str, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply one of ``choices``, with files and levels drawn from ``rng``."""
        if choice == "clean":
            return waveform
        if choice == "reverb":
            location = self._rirs[rng.integers(len(self._rirs))]
            response = read_window(location, sample_rate=self.sample_rate)
            if not response.any():
                raise DataError(f"{location}: the room response is all zero")
            return reverberate(waveform, response)
        kind, fewest, most, low, high = _MIXES[choice]
        files = self._files[kind]
        count = rng.integers(fewest, most + 1)
        noisy = waveform.copy()
        for index in rng.choice(len(files), count, replace=count > len(files)):
            noise = noise_window(files[index], len(waveform), rng, self.sample_rate)
            noisy += scale_to_snr(noise, waveform, rng.uniform(low, high))
        return noisy


def noise_window(location: str, size: int, rng: np.random.Generator, sample_rate: int = 16000) -> np.ndarray:
    """Read ``size`` samples (float32) at a random position of a 16-bit mono wav file; a shorter file is repeated.

    Raises:
        DataError: the file has no samples, or windows cannot be read from it.
    """
    there = num_samples(location, sample_rate)
    if there == 0:
        raise DataError(f"{location}: no samples")
    start = int(rng.integers(max(0, there - size) + 1))
    noise = read_window(location, start, min(there, start + size), sample_rate)
    return noise if len(noise) == size else np.resize(noise, size)


def noise_files(folder: str | Path) -> dict[str, dict[str, str]]:
    """The ids and files of each type of noise, from ``wav.scp`` and ``utt2type`` (noise, music or speech).

    Raises:
        DataError: the lists are missing, empty or disagree, or contain another type.
    """
    folder = Path(folder)
    sources, types = read_list(folder / "wav.scp"), read_list(folder / "utt2type", fields=2)
    missing = next(iter(sources.keys() ^ types.keys()), None)
    if missing is not None:
        lacks = "utt2type" if missing in sources else "wav.scp"
        raise DataError(f"{folder / lacks}: no line for '{missing}'")
    files: dict[str, dict[str, str]] = {}
    for number, (key, kind) in enumerate(types.items(), 1):
        if kind not in _TYPES:
            raise DataError(f"{folder / 'utt2type'}:{number}: type '{kind}', expected one of {', '.join(_TYPES)}")
        files.setdefault(kind, {})[key] = sources[key]
    return files


def scale_to_snr(noise: np.ndarray, clean: np.ndarray, snr: float) -> np.ndarray:
    """Scale noise so that ``clean`` is ``snr`` dB above it.

    Example:
        >>> clean, noise = np.full(8, 0.1), np.full(8, 0.5)
        >>> added = scale_to_snr(noise, clean, 5.0)
        >>> round(float(10 * np.log10(np.mean(clean**2) / np.mean(added**2))), 6)
        5.0
    """
    # In double precision: the powers of quiet clips are far below 1. All-zero noise remains all zero.
    clean_power, noise_power = (float(np.mean(np.square(signal, dtype=np.float64))) for signal in (clean, noise))
    return noise * noise.dtype.type(np.sqrt(clean_power / max(noise_power, 1e-12) * 10 ** (-snr / 10)))


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve (n,) with a room response of unit energy and keep the first n samples.

    Example:
        >>> reverberate(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0])).round(6).tolist()
        [0.0, 1.0, 2.0]
    """
    from scipy import fft

    size = len(waveform)
    response = response / np.linalg.norm(response)
    # Later samples of the response affect only outputs that are dropped.
    response = response[:size].astype(waveform.dtype)
    length = fft.next_fast_len(size + len(response) - 1, real=True)
    spectrum = fft.rfft(waveform, length) * fft.rfft(response, length)
    return fft.irfft(spectrum, length)[:size].astype(waveform.dtype)


def spec_augment(
    features: Tensor,
    rng: np.random.Generator,
    time_width: int = 5,
    freq_width: int = 10,
) -> Tensor:
    """Set one range of frames and one range of bins per utterance to 0, the mean of normalized features.

    Widths are uniform between 0 and the largest width, starts uniform over the positions where the range fits. Source:
    Park et al. 2019, arXiv:1904.08779, section 2, without time warping; sizes as for ECAPA-TDNN.

    Args:
        features: (T, F) or (B, T, F), mean-normalized; the masks of every utterance of a batch are drawn separately.
        rng: generator of the masks.
        time_width: largest number of frames.
        freq_width: largest number of bins.

    Returns:
        A new tensor of the same shape.

    Example:
        >>> masked = spec_augment(torch.ones(50, 80), np.random.default_rng(1))
        >>> bool((masked == 0).any()), tuple(masked.shape)
        (True, (50, 80))
    """
    batch = features.reshape(-1, *features.shape[-2:])
    utterances, frames, bins = batch.shape
    hidden_frames = _stretches(rng, utterances, frames, time_width, features.device)
    hidden_bins = _stretches(rng, utterances, bins, freq_width, features.device)
    hidden = hidden_frames.unsqueeze(2) | hidden_bins.unsqueeze(1)
    return batch.masked_fill(hidden, 0).reshape(features.shape)


def _stretches(rng: np.random.Generator, count: int, size: int, largest: int, device: torch.device) -> Tensor:
    """(count, size) boolean, True on one random range per row."""
    width = rng.integers(0, min(largest, size) + 1, count)
    start = rng.integers(0, size - width + 1)
    place = np.arange(size)
    inside = (place >= start[:, None]) & (place < (start + width)[:, None])
    return torch.from_numpy(inside).to(device)
