"""Whole waveforms from audio files, video files and commands."""

import io
import os
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from avsv.audio.wav import WavHeader, int16_to_float, parse_wav_header, read_wav_header
from avsv.errors import DataError
from avsv.io.command import command_output, is_command
from avsv.io.files import file_size, read_at
from avsv.io.media import (
    check_gaps,
    check_memory,
    check_order,
    choose_stream,
    decode_frames,
    library_errors,
    open_media,
    stated_seconds,
)
from avsv.io.place import split_location
from avsv.io.text import check_regular_file
from avsv.io.whole import check_file_once, check_once, check_whole

if TYPE_CHECKING:
    import soundfile

# The duration of a container is rounded to its packets; less than this share of it means that packets are missing.
_LEAST_SHARE = 0.9
_SILENT = 0.5 / 32768  # half a step of 16 bits
MIN_RATE, MAX_RATE = 1000, 768000
"""Samples per second of recordings. Others come from damaged headers, and their conversion may take any memory."""


def read_audio(source: str, sample_rate: int = 16000, resample: bool = False, downmix: bool = False) -> np.ndarray:
    """Decode a recording to one channel.

    Args:
        source: a file that soundfile or FFmpeg's libraries can read (wav, flac, mp3, m4a, mp4, mpg, ...),
            ``ark:offset`` of a wav file inside an ark, or ``command |``, run by bash, whose standard output is wav or
            flac.
        sample_rate: sample rate of the result.
        resample: convert audio with another sample rate (polyphase filter); otherwise it is an error.
        downmix: average several channels; otherwise they are an error.

    Returns:
        (n,) float32 in [-1, 1], n > 0.

    Raises:
        DataError: no such file, not audio, truncated, no samples, another sample rate without ``resample``, several
            channels without ``downmix`` or that cancel each other, samples that are not finite, a command that fails.
    """
    if is_command(source):
        channels, rate = _read_command(source)
    else:
        channels, rate = _read_file(source)
    if channels.shape[1] == 0:
        raise DataError(f"{source}: no samples")
    if not np.isfinite(channels.min() + channels.max()):
        raise DataError(f"{source}: samples that are not finite numbers")
    check_rate(source, rate)
    reasons = []
    if len(channels) > 1 and not downmix:
        reasons.append(f"{len(channels)} channels, expected 1: set 'downmix: true' in conf/fbank.yaml")
    if rate != sample_rate and not resample:
        reasons.append(f"sample rate {rate}, expected {sample_rate}: set 'resample: true' in conf/fbank.yaml")
    if reasons:
        raise DataError(f"{source}: {'; '.join(reasons)}")
    waveform = channels[0] if len(channels) == 1 else channels.mean(axis=0)
    if len(channels) > 1 and np.abs(waveform).max() <= _SILENT < np.abs(channels).max():
        raise DataError(
            f"{source}: its {len(channels)} channels cancel each other: take one, as in 'sox IN OUT remix 1'"
        )
    if rate != sample_rate:
        from scipy.signal import resample_poly

        check_memory(source, 4 * len(waveform) * sample_rate / rate)
        common = gcd(rate, sample_rate)
        waveform = resample_poly(waveform, sample_rate // common, rate // common).astype(np.float32)
    return waveform


def _read_file(source: str) -> tuple[np.ndarray, int]:
    """Decode a file to (channels, n) float32 samples and their rate."""
    path, offset = source, 0
    if not os.path.exists(source):  # noqa: PTH110 -- called for every recording
        path, offset = split_location(source)
    if file_size(path) == 0:
        raise DataError(f"{source}: the file is empty")
    header = read_wav_header(path, offset)
    if header is not None and header.is_pcm16:
        check_memory(source, 2 * header.num_bytes)
        return _from_pcm16(header, read_at(path, header.start, header.num_bytes)), header.sample_rate
    if offset or path != source:
        raise DataError(f"{source}: no 16-bit wav file at this offset")

    check_regular_file(source)
    return _read_soundfile(source, source) or _read_av(source)


def check_rate(source: str, rate: int) -> None:
    """Raise DataError for a sample rate outside :data:`MIN_RATE` to :data:`MAX_RATE`."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise DataError(f"{source}: sample rate {rate}: not one between {MIN_RATE} and {MAX_RATE} Hz")


def _from_pcm16(header: WavHeader, samples: bytes) -> np.ndarray:
    codes = np.frombuffer(samples, dtype="<i2", count=header.num_samples * header.channels)
    return int16_to_float(codes.reshape(-1, header.channels).T)


def _read_soundfile(file: str | io.BytesIO, source: str) -> tuple[np.ndarray, int] | None:
    """Decode a file of which libsndfile knows the length; None for others, such as MP3 or FLAC written to a pipe."""
    import soundfile

    if isinstance(file, str):
        check_whole(file)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name like x.raw stands for samples without a header
        return None
    with sound, library_errors(source, "audio"):
        if not knows_length(sound):
            return None
        check_memory(source, 4 * sound.frames * sound.channels)
        if sound.format in ("FLAC", "OGG"):
            check_file_once(file) if isinstance(file, str) else check_once(source, file.getvalue())
        promised, rate = sound.frames, sound.samplerate
        samples = sound.read(promised, dtype="float32", always_2d=True)
        if len(samples) < _LEAST_SHARE * promised:
            raise DataError(f"{source}: truncated: {len(samples)} samples, the header promises {promised}")
        if "synchronisation error" in sound.extra_info:  # in an ADPCM file; libsndfile reads on
            raise DataError(f"{source}: damaged audio: a block of samples begins with impossible values")
        return samples.T, rate


def knows_length(sound: "soundfile.SoundFile") -> bool:
    """Whether libsndfile knows what a recording is, and how long.

    MP3, also in a WAV, it only estimates, a FLAC may not say, and samples without a header may be anything.
    """
    return sound.format not in ("MP3", "RAW") and not sound.subtype.startswith("MPEG") and sound.frames < 1 << 60


def _read_av(source: str, content: bytes | None = None) -> tuple[np.ndarray, int]:
    import av

    with open_media(source if content is None else content, source, "audio") as container:
        stream = choose_stream(container, source, "audio")
        rate = stream.rate
        stated = stated_seconds(container, stream, source if content is None else None)
        resampler = av.AudioResampler(format="fltp")
        parts, size, forms = [], 0, set()
        spans = []
        for frame in decode_frames(container, stream, source):
            if frame.pts is not None:
                start = float(frame.pts * frame.time_base)
                if spans:
                    check_order(source, start - spans[-1][1])
                spans.append((start, start + frame.samples / frame.sample_rate))
            forms.add((frame.sample_rate, frame.layout.nb_channels))
            if len(forms) > 1:
                raise DataError(f"{source}: the sample rate or the channels change inside it: convert its parts alike")
            for part in resampler.resample(frame):
                parts.append(part.to_ndarray())
                size += parts[-1].nbytes
            check_memory(source, size)
        if not parts:
            raise DataError(f"{source}: no audio frame could be decoded: the recording is empty or damaged")
        channels = np.concatenate(parts, axis=1)
        seconds = channels.shape[1] / rate
        if spans:
            # Where audio is missing, the samples are fewer than the time.
            begin, end = min(start for start, _ in spans), max(end for _, end in spans)
            check_gaps(source, "audio", end - begin - sum(end - start for start, end in spans), end - begin)
            seconds = max(seconds, end - begin)
        if stated and seconds < _LEAST_SHARE * stated:
            raise DataError(f"{source}: truncated: {seconds:.2f} s of audio, the header promises {float(stated):.2f} s")
    return channels, rate


def _read_command(source: str) -> tuple[np.ndarray, int]:
    """Decode the output of ``command |``."""
    output = command_output(source)
    header = parse_wav_header(source, lambda position, count: output[position : position + count], len(output))
    if header is not None and header.is_pcm16:
        check_memory(source, 2 * header.num_bytes)
        return _from_pcm16(header, output[header.start : header.start + header.num_bytes]), header.sample_rate
    found = _read_soundfile(io.BytesIO(output), source)
    if found is None and output.startswith(b"fLaC"):
        found = _read_av(source, output)
    if found is None:
        raise DataError(f"{source} the output is neither wav nor flac")
    return found
