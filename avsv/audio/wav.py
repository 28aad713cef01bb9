"""16-bit mono wav files, single or inside an ark: windowed reads, and the form in which arks store them."""

import struct
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from avsv.errors import DataError
from avsv.io.files import file_size, read_at, read_into
from avsv.io.place import split_location
from avsv.io.whole import check_alone

# Usually includes all chunks before the samples.
_FIRST_READ = 128
_PCM, _EXTENSIBLE = 1, 0xFFFE
# Programs that write to a pipe do not know the length; they write one of these values, or one slightly below.
_UNKNOWN_LENGTH = 0x7FFFF000
_MOST_CHUNKS = 1000
_INT16_SCALE = np.float32(1 / 32768)


class WavHeader(NamedTuple):
    """The content of a RIFF header, and the position of the samples in the file; ``block``: bytes of all channels."""

    sample_rate: int
    channels: int
    bits: int
    is_pcm: bool
    start: int
    num_bytes: int
    block: int

    @property
    def is_pcm16(self) -> bool:
        """Whether the samples are 16-bit integers."""
        return self.is_pcm and self.bits == 16

    @property
    def num_samples(self) -> int:
        """Samples per channel."""
        return self.num_bytes // max(1, self.block)  # 0 in some compressed files


def read_wav_header(path: str, offset: int = 0) -> WavHeader | None:
    """Read the header of the RIFF wav file that begins at ``offset``; None if there is no wav file.

    Raises:
        DataError: no such file; the file has fewer samples than its header promises; the number of channels, bits and
            bytes of a sample contradict each other.
    """
    return parse_wav_header(path, lambda position, count: read_at(path, position, count), file_size(path), offset)


def parse_wav_header(name: str, read: Callable[[int, int], bytes], size: int, offset: int = 0) -> WavHeader | None:
    """Parse a RIFF header.

    Args:
        name: name of the recording in messages.
        read: function that returns up to a number of bytes (second argument) from a position (first argument).
        size: end of the data.
        offset: start of the wav file.

    Raises:
        DataError: as :func:`read_wav_header`.
    """
    head = read(offset, _FIRST_READ)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position, fmt = 12, None
    for _ in range(_MOST_CHUNKS):
        # Chunks that do not matter may be large: they are not read.
        chunk = head[position : position + 40] if position + 40 <= len(head) else read(offset + position, 40)
        if len(chunk) < 8:
            raise DataError(f"{name}: truncated: the wav file ends before its samples begin")
        kind, length = struct.unpack("<4sI", chunk[:8])
        if kind == b"fmt ":
            fmt = chunk[8:]
        elif kind == b"data":
            break
        position += 8 + length + length % 2
    else:
        raise DataError(f"{name}: a wav file with more than {_MOST_CHUNKS} chunks before its samples")
    if fmt is None or len(fmt) < 16:
        raise DataError(f"{name}: a wav file without a format chunk")
    code, channels, rate, _, block, bits = struct.unpack("<HHIIHH", fmt[:16])
    if code == _EXTENSIBLE and len(fmt) >= 26:
        code = struct.unpack("<H", fmt[24:26])[0]
    if code == _PCM and not block == channels * ((bits + 7) // 8) > 0:
        raise DataError(
            f"{name}: a wrong wav header: {block} bytes for {channels} channels of {bits} bits: convert it again"
        )
    start = offset + position + 8
    there = size - start
    # A recorder that was killed, or that writes to a pipe, leaves 0; another chunk may follow no samples.
    if length >= _UNKNOWN_LENGTH or (length == 0 and there > 0 and not _is_chunk(read(start, 8), there)):
        length = there
    elif length > there:
        raise DataError(f"{name}: truncated: the wav header promises {length} bytes of samples, there are {there}")
    elif length and not offset and there - length > 8 and not _is_chunk(read(start + length + length % 2, 8), there):
        # In an ark, the next recording follows.
        warnings.warn(
            f"{name}: the wav header promises {length} bytes of samples; {there - length} after them are not read",
            stacklevel=2,
        )
    # In an ark, the name of the next recording follows.
    end = 8 + struct.unpack("<I", head[4:8])[0]
    if not offset and start + length <= end < size:
        check_alone(name, head, read(end, 12))
    return WavHeader(rate, channels, bits, code == _PCM, start, length, block)


def _is_chunk(head: bytes, there: int) -> bool:
    """Whether a chunk begins here, with its name and a length that fits."""
    if len(head) < 8 or not (head[:4].isascii() and head[:4].decode("latin-1").isprintable()):
        return False
    return struct.unpack("<I", head[4:])[0] + 8 <= there


def is_windowable(path: str, sample_rate: int) -> bool:
    """Whether the file is 16-bit mono wav with this sample rate, from which windows can be read."""
    header = read_wav_header(path)
    return header is not None and _why_not_windowable(header, sample_rate) is None


def _why_not_windowable(header: WavHeader, sample_rate: int) -> str | None:
    if not header.is_pcm16:
        return "not 16-bit PCM"
    if header.channels != 1:
        return f"{header.channels} channels, expected 1"
    if header.sample_rate != sample_rate:
        return f"sample rate {header.sample_rate}, expected {sample_rate}"
    return None


class WavFile:
    """A 16-bit mono wav file of which windows are read; its header is read once.

    Args:
        location: a wav file, or ``ark:offset`` of one inside an ark.
        sample_rate: the rate that the file must have.

    Raises:
        DataError: no such file, not 16-bit mono wav with this rate, truncated.
    """

    def __init__(self, location: str, sample_rate: int = 16000) -> None:
        self.location = location
        self._path, offset = split_location(location)
        header = read_wav_header(self._path, offset)
        reason = "no wav file" if header is None else _why_not_windowable(header, sample_rate)
        if reason:
            raise DataError(
                f"{location}: {reason}: windows can be read from 16-bit mono wav only: convert it, as in"
                f" 'sox IN -r {sample_rate} -c 1 -b 16 OUT.wav'"
            )
        self.num_samples, self._start = header.num_samples, header.start

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read samples ``start`` to ``stop``, see :func:`read_window`."""
        stop = self.num_samples if stop is None else stop
        if not 0 <= start <= stop <= self.num_samples:
            raise DataError(f"{self.location}: samples {start} to {stop} are not in a recording of {self.num_samples}")
        codes = np.empty(stop - start, dtype="<i2")
        place = self._start + 2 * start
        if codes.size and read_into(self._path, place, memoryview(codes).cast("B")) < codes.nbytes:
            raise DataError(f"{self._path}: truncated: fewer samples than the wav header promises")
        return int16_to_float(codes)


def read_window(location: str, start: int = 0, stop: int | None = None, sample_rate: int = 16000) -> np.ndarray:
    """Read samples ``start`` to ``stop`` of a 16-bit mono wav; no other samples are read.

    Args:
        location: a wav file, or ``ark:offset`` of one inside an ark.
        start: first sample.
        stop: sample after the last; None means to the end.
        sample_rate: the rate that the file must have.

    Returns:
        (stop - start,) float32 in [-1, 1).

    Raises:
        DataError: as :class:`WavFile`; a window outside the recording.
    """
    return WavFile(location, sample_rate).read(start, stop)


def int16_to_float(codes: np.ndarray) -> np.ndarray:
    """Convert 16-bit codes to float32 in [-1, 1), exactly.

    Example:
        >>> int16_to_float(np.array([-32768, 16384], dtype=np.int16)).tolist()
        [-1.0, 0.5]
    """
    return np.multiply(codes, _INT16_SCALE, dtype=np.float32)


def float_to_int16(waveform: np.ndarray) -> np.ndarray:
    """The nearest 16-bit codes of a waveform in [-1, 1]; values outside are clipped.

    Example:
        >>> float_to_int16(np.array([-1.0, 0.5, 1.0], dtype=np.float32)).tolist()
        [-32768, 16384, 32767]
    """
    # Clipped first: the product of a damaged value may be too large for float32.
    return np.rint(waveform.clip(-1, np.float32(32767 / 32768)) * np.float32(32768)).astype(np.int16)


def wav_bytes(codes: np.ndarray, sample_rate: int) -> bytes:
    """A mono 16-bit wav file as bytes."""
    samples = codes.astype("<i2", copy=False).tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, sample_rate, 2 * sample_rate, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples))
    return struct.pack("<4sI4s", b"RIFF", 4 + len(fmt) + len(data) + len(samples), b"WAVE") + fmt + data + samples
