"""A whole recording as it is stored: 16-bit codes that features and windows are both made from."""

import warnings

import numpy as np

from avsv.audio.config import FbankConfig
from avsv.audio.decode import read_audio
from avsv.audio.wav import float_to_int16
from avsv.errors import DataError

# Decoders of lossy formats overshoot in a few samples; a large share means another value range.
_OUTSIDE_TO_WARN = 0.001
MAX_OUTSIDE = 0.01


def read_codes(source: str, config: FbankConfig) -> np.ndarray:
    """Decode a recording to 16-bit codes, so that features computed again from stored windows are the same ones.

    Raises:
        DataError: as :func:`avsv.audio.decode.read_audio`; shorter than one frame; all codes equal, which is silence;
            more than a share of :data:`MAX_OUTSIDE` of the samples outside [-1, 1].
    """
    waveform = read_audio(source, config.sample_rate, config.resample, config.downmix)
    if config.num_frames(len(waveform)) == 0:
        raise DataError(f"{source}: {len(waveform)} samples: shorter than one frame ({config.window_samples})")
    outside = np.count_nonzero(np.abs(waveform) > 1)
    if outside > MAX_OUTSIDE * len(waveform):
        raise DataError(
            f"{source}: {outside} of {len(waveform)} samples are outside [-1, 1], up to {np.abs(waveform).max():g}:"
            " scale them, as in 'sox -v 0.5', or divide integers that were stored as floats by their range"
        )
    if outside > _OUTSIDE_TO_WARN * len(waveform):
        warnings.warn(f"{source}: {outside} of {len(waveform)} samples outside [-1, 1] are clipped", stacklevel=2)
    codes = float_to_int16(waveform)
    if codes.min() == codes.max():
        quiet = waveform.min() < waveform.max()
        raise DataError(
            f"{source}: all {len(codes)} samples are {codes[0] / 32768:g}: nothing was recorded"
            + (", or it is too quiet for 16 bits: make it louder, as in 'sox --norm'" if quiet else "")
        )
    return codes
