"""Whether a media file ends where it says: libraries read one that was cut short or joined without a word."""

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from avsv.errors import DataError

_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_EBML = b"\x1a\x45\xdf\xa3"
_OGG = b"OggS"
# How files begin that do not state their size; also inside other data, this many bytes are not there by chance.
_BEGINNINGS = (
    rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",  # ASF, WMA, WMV
    rb"nut/multimedia container\0",
    rb"TTA1[\x01-\x03]\0[\x01-\x08]\0[\x08\x10\x18]\0",
    rb"\x1a\x45\xdf\xa3.{1,80}?\x18\x53\x80\x67(?:\xff|\x01\xff{7})",  # Matroska of unknown length
)
_FLAC = rb"fLaC[\x00\x80]\0\0\x22"
_HEAD = 4096  # bytes in which the samples of a CAF file begin
_MOST_PARTS = 100000  # a fragmented MP4 file has two boxes for each second or so


def check_whole(path: str) -> None:
    """Check that a media file has all bytes that its beginning states, and that no other file of its kind follows.

    Raises:
        DataError: an AIFF, AU, CAF, RF64, RIFX or W64 file is shorter than it states; another file of the same format
            begins where it or an ASF, AVI, FLV, Matroska, MP4, NUT, TTA or WAV file ends, as after ``cat``.
    """
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
        there = file.seek(0, 2)
        size = stated_size(head)
        if size is not None:
            if there < size:
                raise DataError(f"{path}: truncated: the header promises {size} bytes, there are {there}")
            check_alone(path, head, _read(file, size, 16))
        elif head[:4] == b"RIFF":
            end = 8 + struct.unpack("<I", head[4:8].ljust(4, b"\0"))[0]
            check_alone(path, head, _read(file, end + end % 2, 16))
        elif head[4:8] == b"ftyp":
            _check_once(path, _boxes(file), b"ftyp")
        elif head[:4] == _EBML:
            _check_once(path, _elements(file), _EBML)
        if any(re.match(beginning, head, re.DOTALL) for beginning in _BEGINNINGS):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                check_once(path, content)


def check_once(name: str, content: bytes | mmap.mmap) -> None:
    """Check that no other file of its kind begins inside the whole content of a file that does not state its size.

    For FLAC and Ogg this is not part of :func:`check_whole`, which is called where no file is read completely.

    Raises:
        DataError: there is another one.
    """
    start = content[:_HEAD]
    found: object = None
    if start[:4] == _OGG:
        # The first pages of all streams come first; then no stream begins.
        after = next((place for place in _ogg_pages(content) if not content[place + 5] & 2), len(content))
        found = content.find(_OGG + b"\0\2", after) >= 0
    else:
        for beginning in (*_BEGINNINGS, _FLAC):
            if re.match(beginning, start, re.DOTALL):
                found = re.compile(beginning, re.DOTALL).search(content, 4)
    if found:
        _refuse_joined(name)


def _ogg_pages(content: bytes | mmap.mmap) -> Iterator[int]:
    place = 0
    while content[place : place + 4] == _OGG and place + 27 <= len(content):
        yield place
        segments = content[place + 26]
        place += 27 + segments + sum(content[place + 27 : place + 27 + segments])


def check_alone(path: str, head: bytes, following: bytes) -> None:
    """Raise DataError if what follows a file begins as the file does: the first 4 bytes, and the kind of a RIFF file.

    Example:
        >>> check_alone("a.wav", b"RIFF$...WAVE", b"LIST....INFO")
        >>> check_alone("a.wav", b"RIFF$...WAVE", b"RIFF$...WAVE")
        Traceback (most recent call last):
        avsv.errors.DataError: a.wav: several files, joined as by cat: only the first would be read: join with ffmpeg
    """
    if following[:4] == head[:4] and (head[:4] != b"RIFF" or following[8:12] == head[8:12]):
        _refuse_joined(path)


def _refuse_joined(path: str) -> None:
    raise DataError(f"{path}: several files, joined as by cat: only the first would be read: join with ffmpeg")


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


def _check_once(path: str, kinds: Iterator[bytes], first: bytes) -> None:
    for number, kind in enumerate(kinds):
        if number and kind == first:
            check_alone(path, first, kind)
        if number > _MOST_PARTS:
            return


def _boxes(file: BinaryIO) -> Iterator[bytes]:
    """The kinds of the boxes of an MP4 file, on the highest level."""
    place = 0
    while len(head := _read(file, place, 16)) >= 8:
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = struct.unpack(">Q", head[8:])[0]
        yield kind
        if size < 8:  # 0: to the end of the file
            return
        place += size


def _elements(file: BinaryIO) -> Iterator[bytes]:
    """The kinds of the elements of a Matroska file, on the highest level, as long as they state their size."""
    place = 0
    while len(head := _read(file, place, 12)) == 12:
        length = 9 - head[4].bit_length()
        size = int.from_bytes(head[4 : 4 + length], "big") & ((1 << 7 * length) - 1)
        yield head[:4]
        if length > 8 or size == (1 << 7 * length) - 1:
            return
        # The elements of the highest level, EBML and Segment, have four bytes for their kind.
        place += 4 + length + size


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)
