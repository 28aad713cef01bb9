"""Whether a media file ends where it says: libraries read one that was cut short or joined without a word."""

import itertools
import mmap
import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from avsv.errors import DataError

_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_EBML = b"\x1a\x45\xdf\xa3"
_OGG = b"OggS"
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
_ASF_DATA = b"\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
_NUT = b"nut/multimedia container\0"
_NUT_INDEX = b"NX\xdd\x67\x2f\x23\xe6\x4e"
_VOC = b"Creative Voice File\x1a"
_SPHERE = b"NIST_1A\n"
# How files begin that do not state their size; also inside other data, this many bytes are not there by chance.
_BEGINNINGS = (
    rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0",
    re.escape(_ASF),  # also WMA, WMV
    re.escape(_NUT),
    rb"TTA1[\x01-\x03]\0[\x01-\x08]\0[\x08\x10\x18]\0",
    rb"\x1a\x45\xdf\xa3.{1,80}?\x18\x53\x80\x67(?:\xff|\x01\xff{7})",  # Matroska of unknown length
)
_FLAC = rb"fLaC[\x00\x80]\0\0\x22"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_LEAST_SHARE = 0.9  # of a stated length, as everywhere
_MOST_PAGE = 65307  # bytes of an Ogg page
_HEAD = 4096  # bytes in which the samples of a CAF file begin
_MOST_PARTS = 100000  # a fragmented MP4 file has two boxes for each second or so


def check_whole(path: str) -> None:
    """Check that a media file has all bytes that its beginning states, and that no other file of its kind follows.

    Warns of an Ogg or NUT file without the mark of its end, which some recorders never write.

    Raises:
        DataError: a file of a format of :func:`stated_size`, an ASF or an FLV file is shorter than it states; an Ogg
            file ends inside a page; another file of the same format begins where one of these, an AVI, Matroska, MP4,
            NUT, TTA or WAV file ends, as after ``cat``.
    """
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
        there = file.seek(0, 2)
        size = _asf_size(file, head) if head[:16] == _ASF else stated_size(head)
        if size is not None:
            if there < size:
                raise DataError(f"{path}: truncated: the header promises {size} bytes, there are {there}")
            check_alone(path, head, _read(file, size, 16))
        elif head[:4] == b"RIFF":
            end = 8 + struct.unpack("<I", head[4:8].ljust(4, b"\0"))[0]
            check_alone(path, head, _read(file, end + end % 2, 16))
        elif head[4:8] == b"ftyp":
            _check_parts(path, _boxes(file))
        elif head[:4] == _EBML:
            _check_parts(path, _elements(file))
        if _beginning(head, _BEGINNINGS):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                check_once(path, content)
                if head.startswith(_NUT) and content.rfind(_NUT_INDEX) < 0:
                    _warn_of_end(path, "no index")
        if head[:3] == b"FLV":
            _check_flv(path, file, head, there)
        elif head[:4] == _OGG:
            _check_ogg_end(path, _read(file, max(0, there - _MOST_PAGE), _MOST_PAGE))


def _warn_of_end(path: str, why: str) -> None:
    warnings.warn(f"{path}: {why} at its end: it may be truncated", stacklevel=2)


def _check_ogg_end(path: str, tail: bytes) -> None:
    place = tail.rfind(_OGG)
    page = tail[place:] if place >= 0 else b""
    segments = page[26] if len(page) > 26 else 0
    if len(page) < 27 + segments + sum(page[27 : 27 + segments]):
        raise DataError(f"{path}: truncated: it ends inside an Ogg page: copy or download it again")
    if not page[5] & 4:
        _warn_of_end(path, "no page is marked as the last one")


def _check_flv(path: str, file: BinaryIO, head: bytes, there: int) -> None:
    """Compare the time of the last tag, whose size follows it, with the stated length; a live recording states none."""
    mark = b"\0\x08duration\0"
    number = head[head.index(mark) + len(mark) :][:8] if mark in head else b""
    stated = struct.unpack(">d", number)[0] if len(number) == 8 else 0.0
    if not stated > 0:
        return
    size = int.from_bytes(_read(file, there - 4, 4), "big")
    tag = _read(file, max(0, there - 4 - size), 11)
    if size != 11 + int.from_bytes(tag[1:4], "big"):
        raise DataError(f"{path}: truncated: the header promises {stated:.2f} s, the file ends inside a packet")
    seconds = int.from_bytes(tag[7:8] + tag[4:7], "big") / 1000
    if tag[0] & 31 in (8, 9) and seconds < _LEAST_SHARE * stated:  # audio or video; metadata have no time
        raise DataError(f"{path}: truncated: the header promises {stated:.2f} s, the last packet is at {seconds:.2f} s")


def _asf_size(file: BinaryIO, head: bytes) -> int | None:
    """Where the data of an ASF file end; an index may follow. None if it was broadcast."""
    start = struct.unpack("<Q", head[16:24].ljust(8, b"\0"))[0]
    data = _read(file, min(start, 1 << 62), 50)
    if data[:16] != _ASF_DATA or len(data) < 50:
        return None
    size, packets = struct.unpack("<Q16xQ", data[16:48])
    return start + size if size > 50 and packets else None


def check_jpeg(path: str, data: bytes) -> None:
    """Check that a JPEG picture has its end, which decoders do not miss: they make up the rest.

    What follows the end is legal, and pictures embedded in a segment have ends of their own.

    Raises:
        DataError: it has none.
    """
    place = 2
    while place >= 2 and data[place : place + 2] != _JPEG_SCAN:
        # More bytes FF may precede a segment; others between segments are skipped, as decoders do.
        filled = data[place + 1 : place + 2] == b"\xff"
        step = 1 if filled else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        place = data.find(b"\xff", place + step)
    # Behind a byte FF of the picture is a zero.
    if place >= 2 and data.find(_JPEG_END, place) >= 0:
        return
    raise DataError(f"{path}: truncated: the JPEG picture has no end: copy or download it again")


def check_file_once(path: str) -> None:
    """:func:`check_once` for a file of any size."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        check_once(path, content)


def check_once(name: str, content: bytes | mmap.mmap) -> None:
    """Check that no other file of its kind begins inside the whole content of a file that does not state its size.

    For FLAC and Ogg this is not part of :func:`check_whole`, which is called where no file is read completely.

    Raises:
        DataError: there is another one.
    """
    start = content[:_HEAD]
    if start[:4] == _OGG:
        # The first pages of all streams come first; then no stream begins.
        after = next((place for place in _ogg_pages(content) if not content[place + 5] & 2), len(content))
        if content.find(_OGG + b"\0\2", after) >= 0:
            _refuse_joined(name)
    else:
        beginning = _beginning(start, (*_BEGINNINGS, _FLAC))
        if beginning is not None and re.compile(beginning, re.DOTALL).search(content, 4):
            _refuse_joined(name)


def _beginning(head: bytes, known: Iterable[bytes]) -> bytes | None:
    return next((beginning for beginning in known if re.match(beginning, head, re.DOTALL)), None)


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

    Formats: 8SVX, AIFF, AU, AVR, CAF, RF64, RIFX, SPHERE, VOC (to the end of the blocks in ``head``) and W64.

    Example:
        >>> stated_size(b".snd" + struct.pack(">II", 24, 1000)), stated_size(b"fLaC")
        (1024, None)
    """
    kind, padded = head[:4], head.ljust(40, b"\0")
    if kind == b"RIFX" or (kind == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV")):
        return 8 + struct.unpack(">I", padded[4:8])[0]
    if kind == b".snd":
        start, length = struct.unpack(">II", padded[4:12])
        return None if length == 0xFFFFFFFF else start + length
    if kind == b"RF64" and head[12:16] == b"ds64":
        return 8 + struct.unpack("<Q", padded[20:28])[0]
    if head[:16] == _W64:
        return struct.unpack("<Q", padded[16:24])[0]
    if kind == b"2BIT":
        stereo, bits, frames = struct.unpack(">HH10xI", head.ljust(128, b"\0")[12:30])
        return 128 + frames * (2 if stereo else 1) * (bits // 8)
    if head.startswith(_VOC):
        return _voc_size(head)
    if head.startswith(_SPHERE):
        return _sphere_size(head)
    return _caf_size(head) if kind == b"caff" else None


def _voc_size(head: bytes) -> int | None:
    place = int.from_bytes(head[20:22], "little")
    if not place:
        return None
    while place + 4 <= len(head) and head[place]:  # a block 0 is the last one
        place += 4 + int.from_bytes(head[place + 1 : place + 4], "little")
    return place


def _sphere_size(head: bytes) -> int | None:
    fields = dict(re.findall(rb"(?m)^(sample_count|channel_count|sample_n_bytes) -i (\d{1,15})$", head[:1024]))
    start = head[8:16].strip()
    # Compressed samples are named in the coding, as in "pcm,embedded-shorten-v2.00".
    if len(fields) < 3 or not start.isdigit() or re.search(rb"(?m)^sample_coding -s\d+ .*,", head[:1024]):
        return None
    count, channels, size = (int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes"))
    return int(start) + count * channels * size


def _caf_size(head: bytes) -> int | None:
    place = 8
    while place + 12 <= len(head):
        kind, length = struct.unpack(">4sq", head[place : place + 12])
        if kind == b"data":
            return None if length < 0 else place + 12 + length
        place += 12 + max(0, length)
    return None


def _check_parts(path: str, kinds: Iterator[bytes]) -> None:
    """Refuse a file in which the part with which it begins, its header, comes again."""
    first = next(kinds, None)
    if first in itertools.islice(kinds, _MOST_PARTS):
        _refuse_joined(path)


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
