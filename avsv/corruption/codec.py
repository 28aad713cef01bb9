"""Encoding and decoding of speech with lossy codecs in memory, with the FFmpeg libraries that PyAV includes."""

import io
from typing import NamedTuple

import numpy as np

from avsv.audio.wav import float_to_int16
from avsv.errors import DataError


class Codec(NamedTuple):
    """A codec and its encoders.

    Attributes:
        encoders: names of its encoders, the preferred one first.
        container: container format.
        sample_rate: sample rate of the coded signal.
    """

    encoders: tuple[str, ...]
    container: str
    sample_rate: int


CODECS = {
    "opus": Codec(("libopus",), "ogg", 16000),
    "mp3": Codec(("libmp3lame", "libshine"), "mp3", 16000),
    "aac": Codec(("aac",), "adts", 16000),
    "g722": Codec(("g722",), "wav", 16000),
    "g711": Codec(("pcm_mulaw",), "wav", 8000),
    "amr": Codec(("libopencore_amrnb",), "amr", 8000),
    "gsm": Codec(("libgsm", "gsm"), "gsm", 8000),
}


def parse_codec(text: str) -> tuple[str, int | None]:
    """Parse the name and bit rate (bits per second) of 'opus 12' (kbit/s) or 'g711', a codec with a single rate.

    Raises:
        ValueError: an unknown codec, or something other than a number after it.

    Example:
        >>> parse_codec("amr 4.75"), parse_codec("g711")
        (('amr', 4750), ('g711', None))
    """
    name, _, rate = text.partition(" ")
    if name not in CODECS:
        raise ValueError(f"'{text}': choose one of the codecs {', '.join(CODECS)}")
    try:
        return name, round(1000 * float(rate)) if rate else None
    except ValueError:
        raise ValueError(f"'{text}': '{rate}' is not a bit rate in kbit/s") from None


def find_encoder(name: str) -> str | None:
    """The first available encoder of a codec, or None."""
    import av

    for encoder in CODECS[name].encoders:
        try:
            av.codec.Codec(encoder, "w")
        except ValueError:
            continue
        return encoder
    return None


def through_codec(waveform: np.ndarray, name: str, bit_rate: int | None, sample_rate: int) -> np.ndarray:
    """Encode and decode (n,) float32 in [-1, 1]; the result has n samples and starts with the delay of the codec.

    Args:
        waveform: the signal.
        name: one of :data:`CODECS`.
        bit_rate: bits per second; None for the default of the encoder.
        sample_rate: sample rate of the signal, which is resampled to the rate of the codec and back.

    Raises:
        DataError: no encoder is available, or the encoder does not support the bit rate.
    """
    import av

    encoder, codec = find_encoder(name), CODECS[name]
    if encoder is None:
        raise DataError(f"codec {name}: PyAV has none of its encoders ({', '.join(codec.encoders)}): remove it")
    codes = float_to_int16(_resample(waveform, sample_rate, codec.sample_rate))
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=codec.container) as output:
            stream = output.add_stream(encoder, rate=codec.sample_rate)
            stream.layout = "mono"
            if bit_rate is not None:
                stream.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(codes[np.newaxis], format="s16", layout="mono")
            frame.sample_rate, frame.pts = codec.sample_rate, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        file.seek(0)
        with av.open(file) as source:
            resampler = av.AudioResampler("flt", "mono", sample_rate)
            parts = [part for frame in source.decode(audio=0) for part in resampler.resample(frame)]
            parts += resampler.resample(None)
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"codec {name} at {bit_rate} bit/s: {encoder} fails: {error}") from None
    decoded = np.concatenate([part.to_ndarray()[0] for part in parts])[: len(waveform)]
    return np.pad(decoded, (0, len(waveform) - len(decoded))).astype(np.float32)


def _resample(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    if rate == wanted:
        return waveform
    from scipy.signal import resample_poly

    common = np.gcd(rate, wanted)
    return resample_poly(waveform, wanted // common, rate // common).astype(np.float32)
