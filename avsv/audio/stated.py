"""The size that an audio file states of itself: libsndfile reads a file that was cut short without a word."""

import struct
from pathlib import Path

from avsv.errors import DataError

_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_HEAD = 4096  # bytes in which the samples of a CAF file begin


def check_complete(path: str) -> None:
    """Raise DataError if an AIFF, AU, CAF, RF64, RIFX or W64 file is shorter than its beginning states."""
    with Path(path).open("rb") as file:
        size = stated_size(file.read(_HEAD))
        there = file.seek(0, 2)
    if size is not None and there < size:
        raise DataError(f"{path}: truncated: the header promises {size} bytes, there are {there}")


def stated_size(head: bytes) -> int | None:
    """The size in bytes of a file that begins with ``head``; None for other formats, or where it is not stated.

    Example:
        >>> stated_size(b".snd" + struct.pack(">II", 24, 1000)), stated_size(b"fLaC")
        (1024, None)
    """
    kind, padded = head[:4], head.ljust(40, b"\0")
    if kind == b"RIFX" or (kind == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")):
        return 8 + struct.unpack(">I", padded[4:8])[0]
    if kind == b".snd":
        start, length = struct.unpack(">II", padded[4:12])
        return None if length == 0xFFFFFFFF else start + length
    if kind == b"RF64" and head[12:16] == b"ds64":
        return 8 + struct.unpack("<Q", padded[20:28])[0]
    if head[:16] == _W64:
        return struct.unpack("<Q", padded[16:24])[0]
    return _caf_size(head) if kind == b"caff" else None


def _caf_size(head: bytes) -> int | None:
    place = 8
    while place + 12 <= len(head):
        kind, length = struct.unpack(">4sq", head[place : place + 12])
        if kind == b"data":
            return None if length < 0 else place + 12 + length
        place += 12 + max(0, length)
    return None
