"""Noise, music, babble and reverberation on waveforms; masks on features."""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avsv.audio.wav import WavFile
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.seeding import Numbers

# (minimum files, maximum files, minimum SNR, maximum SNR in dB); the SNR of every babble file is drawn separately.
_MIXES = {
    "music": ("music", 1, 1, 5.0, 15.0),
    "babble": ("speech", 3, 7, 13.0, 20.0),
    "noise": ("noise", 1, 1, 0.0, 15.0),
}
_TYPES = ("noise", "music", "speech")
# Files whose headers are kept, which is more than MUSAN has; a header takes about as long to read as a window.
_KEPT_FILES = 4096
# A waveform is reverberated in as many parts at a time as a processor's vectors hold numbers; more parts would each be
# prolonged by the room response.
_PARTS = 4


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
        >>> from avsv.seeding import Counter
        >>> NoiseReverb(None, None)(clean, Counter(0)).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, noise_dir: str | Path | None, rir_dir: str | Path | None, sample_rate: int = 16000) -> None:
        self._open = functools.lru_cache(_KEPT_FILES)(functools.partial(WavFile, sample_rate=sample_rate))
        self._files: dict[str, list[str]] = {}
        if noise_dir is not None:
            self._files = {kind: list(found.values()) for kind, found in noise_files(noise_dir).items()}
        self._rirs = list(read_list(Path(rir_dir) / "wav.scp").values()) if rir_dir is not None else []
        self.choices = ["clean"] + ["reverb"] * bool(self._rirs)
        self.choices += [name for name, (kind, *_) in _MIXES.items() if self._files.get(kind)]

    def __call__(self, waveform: np.ndarray, rng: Numbers) -> np.ndarray:
        """Draw one of ``choices`` and apply it: (n,) float32 to (n,) float32."""
        return self.apply(self.choices[rng.integers(len(self.choices))], waveform, rng)

    def apply(self, choice: str, waveform: np.ndarray, rng: Numbers) -> np.ndarray:
        """Apply one of ``choices``, with files and levels drawn from ``rng``."""
        if choice == "clean":
            return waveform
        if choice == "reverb":
            file = self._open(self._rirs[rng.integers(len(self._rirs))])
            response = file.read()
            if not response.any():
                raise DataError(f"{file.location}: the room response is all zero")
            return reverberate(waveform, response)
        kind, fewest, most, low, high = _MIXES[choice]
        files = self._files[kind]
        noisy = waveform.copy()
        for index in _choose(len(files), rng.integers(fewest, most + 1), rng):
            noise = noise_window(self._open(files[index]), len(waveform), rng)
            noisy += scale_to_snr(noise, waveform, rng.uniform(low, high))
        return noisy


def _choose(total: int, count: int, rng: Numbers) -> list[int]:
    """``count`` numbers below ``total``, different ones if there are enough."""
    chosen: list[int] = []
    while len(chosen) < count:
        number = int(rng.integers(total))
        if number not in chosen or count > total:
            chosen.append(number)
    return chosen


def noise_window(file: WavFile, size: int, rng: Numbers) -> np.ndarray:
    """Read ``size`` samples (float32) at a random position of a file; a shorter file is repeated.

    Raises:
        DataError: the file has no samples, or fewer than its header promises.
    """
    there = file.num_samples
    if there == 0:
        raise DataError(f"{file.location}: no samples")
    start = int(rng.integers(max(0, there - size) + 1))
    noise = file.read(start, min(there, start + size))
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
    # Not np.dot, whose last bits change with the number of its threads. All-zero noise remains all zero.
    clean_power, noise_power = (float(np.square(signal).mean()) for signal in (clean, noise))
    return noise * noise.dtype.type(np.sqrt(clean_power / max(noise_power, 1e-12) * 10 ** (-snr / 10)))


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve (n,) with a room response of unit energy and keep the first n samples.

    Example:
        >>> reverberate(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0])).round(6).tolist()
        [0.0, 1.0, 2.0]
    """
    from scipy import fft

    size = len(waveform)
    # Later samples of the response affect only outputs that are dropped.
    response = response[:size] / np.sqrt(np.square(response).sum())
    response = response.astype(waveform.dtype, copy=False)
    part = -(-size // _PARTS)
    length = fft.next_fast_len(part + len(response) - 1, real=True)
    parts = np.zeros((_PARTS, length), dtype=waveform.dtype)
    for number, padded in enumerate(parts):
        piece = waveform[number * part : (number + 1) * part]
        padded[: len(piece)] = piece
    echoes = fft.irfft(fft.rfft(parts) * fft.rfft(response, length), length)
    result = np.zeros((_PARTS - 1) * part + length, dtype=waveform.dtype)
    for number, echo in enumerate(echoes):
        result[number * part : number * part + length] += echo
    return result[:size]


def draw_masks(rng: Numbers, frames: int, bins: int, time_width: int = 5, freq_width: int = 10) -> list[int]:
    """Draw one range of frames and one range of bins: the first and the end of each.

    Widths are uniform between 0 and the largest width, starts uniform over the positions where the range fits. Source:
    Park et al. 2019, arXiv:1904.08779, section 2, without time warping; sizes as for ECAPA-TDNN.

    Args:
        rng: source of the draws.
        frames: number of feature frames.
        bins: number of bins.
        time_width: largest number of frames.
        freq_width: largest number of bins.

    Example:
        >>> from avsv.seeding import Counter
        >>> draw_masks(Counter(1), 198, 80)
        [146, 149, 31, 41]
    """
    masks = []
    for size, largest in ((frames, time_width), (bins, freq_width)):
        width = int(rng.integers(min(largest, size) + 1))
        start = int(rng.integers(size - width + 1))
        masks += [start, start + width]
    return masks


def hide(features: Tensor, masks: Tensor) -> Tensor:
    """Set masked frames and bins to 0, the mean of normalized features.

    Args:
        features: (B, T, F), mean-normalized.
        masks: (B, 4) integers, see :func:`draw_masks`.

    Returns:
        A new tensor of the same shape.

    Example:
        >>> hide(torch.ones(1, 3, 4), torch.tensor([[1, 2, 0, 3]])).tolist()
        [[[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]]
    """
    places = (torch.arange(size, device=features.device) for size in features.shape[1:])
    frames, bins = (
        (place >= masks[:, first, None]) & (place < masks[:, first + 1, None])
        for place, first in zip(places, (0, 2), strict=True)
    )
    return features.masked_fill(frames.unsqueeze(2) | bins.unsqueeze(1), 0)
