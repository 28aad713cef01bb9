"""How much of a recording is voice, by its energy."""

import numpy as np

# Kaldi's settings for telephone and interview speech (sre16): natural logarithms of energies of 16-bit samples.
_THRESHOLD, _MEAN_SCALE = 5.5, 0.5
_CONTEXT, _PROPORTION = 2, 0.12
_FRAME, _SHIFT = 0.025, 0.01  # seconds


def voice_seconds(waveform: np.ndarray, sample_rate: int) -> float:
    """The number of seconds in which a recording has the energy of speech.

    A frame of 25 ms is loud where the logarithm of its energy is above 5.5 plus half the mean over the recording; it
    counts where at least 12 % of the five frames around it are loud.

    Source: compute-vad of Kaldi, with the settings of its recipe sre16.

    Args:
        waveform: (n,) float32 in [-1, 1].
        sample_rate: samples per second.

    Example (a second of a tone, a second of silence with faint noise):
        >>> tone = 0.1 * np.sin(np.arange(16000) * 0.3)
        >>> noise = 1e-4 * np.random.default_rng(0).normal(size=16000)
        >>> round(voice_seconds(np.concatenate([tone, noise]), 16000), 1), voice_seconds(noise, 16000)
        (1.0, 0.0)
    """
    size, shift = round(_FRAME * sample_rate), round(_SHIFT * sample_rate)
    if len(waveform) < size:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float32) * np.float32(32768), size)[::shift]
    energies = np.log(np.maximum(np.einsum("tn,tn->t", frames, frames), 1.0))
    loud = (energies > _THRESHOLD + _MEAN_SCALE * energies.mean()).astype(np.float64)
    around = np.ones(2 * _CONTEXT + 1)
    # At both ends there are fewer frames around.
    share = np.convolve(loud, around, "same") / np.convolve(np.ones_like(loud), around, "same")
    return float(np.count_nonzero(share >= _PROPORTION) * _SHIFT)
