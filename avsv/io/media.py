"""Audio and video containers: opening them, choosing a stream, measuring its length.

Errors of the library become a :class:`DataError` that names the recording. Only the file itself is opened, never files
or addresses that a playlist refers to. Metadata that is not valid text is ignored.
"""

import io
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.errors import DataError
from avsv.io.whole import check_whole

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.container import InputContainer
    from av.stream import Stream

# Containers whose header, index or last page states their length; for others FFmpeg guesses it from size and bit rate.
_STATE_LENGTH = {"aiff", "ape", "asf", "au", "avi", "caf", "flac", "matroska", "mov", "nut", "ogg", "tta", "w64", "wav"}
# No playlists or formats that refer to other files, and no raw samples or pictures, for which any file could be taken.
_FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,ape,asf,au,av1,avi,avif,caf,dts,dv,eac3,flac,flv,gif,h263,h264,hevc,ivf,loas,m4a,m4v,"
    "matroska,mj2,mjpeg,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nut,ogg,rm,tak,truehd,tta,voc,vc1,w64,wav,webm,wv"
)
# Decoders of single pictures by their first bytes; opening pictures as containers would take longer than decoding them.
_PICTURES = {
    rb"\xff\xd8\xff": "mjpeg",
    rb"\x89PNG": "png",
    rb"BM": "bmp",
    rb"RIFF....WEBP": "webp",
    rb"II\*\0|MM\0\*": "tiff",
    rb"P[25]\s": "pgm",
    rb"P[36]\s": "ppm",
}
_TEXT = re.compile(rb"[\t\n\f\r\x1b\x20-\x7e\x80-\xff]+")
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_CLOCK = re.compile(r"([0-9]{1,9}):([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,12})?)")
# Shares of a recording.
_MISSING_TO_WARN, _MISSING_TO_FAIL = 0.1, 0.5
MAX_PIXELS = 1 << 26
"""Largest picture that is decoded, in pixels."""
MAX_MEGABYTES = int(os.environ.get("AVSV_MAX_MEGABYTES", "256"))
"""Memory that one decoded recording may take, as float32 samples or face crops. From the environment."""


@contextmanager
def library_errors(name: str, kind: str) -> Iterator[None]:
    """Turn any error of a library into the DataError of a recording that cannot be used.

    Args:
        name: name of the recording.
        kind: expected content, audio or video.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    # Decoders raise errors of many classes; each of them must exclude only this recording.
    except Exception as error:
        if isinstance(error, EOFError):
            raise DataError(f"{name}: it has no {kind} frames") from error
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
        reason = str(reason) or type(error).__name__
        raise DataError(f"{name}: unreadable, truncated or damaged {kind}: {reason}") from error


@contextmanager
def open_media(source: str | bytes, name: str, kind: str) -> "Iterator[InputContainer]":
    """Open a container of a common format for reading.

    Args:
        source: path of a file, or its content.
        name: name of the recording in messages.
        kind: requested content, audio or video.

    Raises:
        DataError: the file is not such a container, or anything fails inside the block.
    """
    import av
    import av.error

    if isinstance(source, str):
        check_whole(source)
    # Without an explicit protocol, "12" of a name such as "12:30.mp4" would be taken for one.
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    with library_errors(name, kind):
        try:
            container = av.open(file, metadata_errors="ignore", options=dict(_OPTIONS))
        except (av.error.ArgumentError, av.error.InvalidDataError) as error:
            _explain(name, source[:1024] if isinstance(source, bytes) else first_bytes(source, 1024), error)
            raise
        with container:
            yield container


def _explain(name: str, head: bytes, error: Exception) -> None:
    import av.error

    if _TEXT.fullmatch(head):
        raise DataError(f"{name}: not a media file: it is text") from error
    if isinstance(error, av.error.ArgumentError):
        raise DataError(f"{name}: this format is not opened, or the file is damaged: convert it with ffmpeg") from error


def first_bytes(path: str | Path, count: int = 16) -> bytes:
    """The beginning of a file."""
    with Path(path).open("rb") as file:
        return file.read(count)


def picture_codec(head: bytes) -> str | None:
    """The decoder of a picture that begins with ``head``; None for what is no picture of a supported format.

    Example:
        >>> picture_codec(b"P6 4 4 255"), picture_codec(b"RIFF0000WAVEfmt ")
        ('ppm', None)
    """
    return next((codec for start, codec in _PICTURES.items() if re.match(start, head, re.DOTALL)), None)


def choose_stream(container: "InputContainer", name: str, kind: str) -> "Stream":
    """The stream that a player would play.

    Cover pictures and the tiles of a picture are excluded. Streams for the hearing or visually impaired, commentary,
    dubs and karaoke come last; of the rest, a default stream comes first, then the one with the lowest index.

    Raises:
        DataError: there is none, this build of FFmpeg lacks its decoder, or its pictures exceed :data:`MAX_PIXELS`.
    """
    import av

    flags = av.stream.Disposition
    without = flags.attached_pic | flags.timed_thumbnails | flags.dependent
    unlike = flags.hearing_impaired | flags.visual_impaired | flags.comment | flags.dub | flags.karaoke
    every = [stream for stream in container.streams if stream.type == kind]
    streams = [stream for stream in every if not stream.disposition & without]
    tiles = kind == "video" and any(stream.disposition & flags.dependent for stream in every)
    # Beside the tiles there may be a small preview, which has no duration either.
    if tiles and not any(stream.duration for stream in streams):
        raise DataError(f"{name}: a picture of tiles: convert it to JPEG or PNG")
    if not streams:
        raise DataError(f"{name}: no {kind} stream")
    chosen = min(streams, key=lambda s: (bool(s.disposition & unlike), not s.disposition & flags.default, s.index))
    if chosen.codec_context is None:
        raise DataError(f"{name}: unreadable, truncated or damaged {kind}: no known codec")
    if kind == "video":
        check_pixels(name, chosen.width, chosen.height)
    # Each job uses one core; --nj sets the number of jobs.
    chosen.thread_type = "NONE"
    chosen.codec_context.thread_count = 1
    if kind == "video":
        chosen.codec_context.options = {**chosen.codec_context.options, "max_pixels": str(MAX_PIXELS)}
    return chosen


def decode_frames(container: "InputContainer", stream: "Stream", name: str) -> "Iterator[AudioFrame | VideoFrame]":
    """Decode a stream. A damaged packet loses only its own frames; how many there were is a warning at the end.

    Args:
        container: container of the stream.
        stream: the stream.
        name: name of the recording.
    """
    import av.error

    damaged = count = 0
    for packet in container.demux(stream):
        count += packet.size > 0
        try:
            frames = packet.decode()
        except av.error.EOFError:
            raise
        except av.error.FFmpegError:  # of one of many kinds
            damaged += 1
            continue
        yield from frames
    if 0 < damaged < count:
        said = f"{name}: {damaged} of {count} packets of {stream.type} are damaged and left out"
        warnings.warn(said, stacklevel=2)


def stream_kinds(path: str) -> set[str]:
    """What a file holds: "audio", "video" (also a picture), or both; cover pictures do not count.

    Raises:
        DataError: not a container of a common format.
    """
    import av

    if picture_codec(first_bytes(path)):
        return {"video"}
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    with open_media(path, path, "audio or video") as container:
        kinds = {stream.type for stream in container.streams if not stream.disposition & pictures}
    return kinds & {"audio", "video"}


def stated_seconds(container: "InputContainer", stream: "Stream", path: str | None = None) -> Fraction | None:
    """The length of a stream by the header; None if the header does not state it, or FFmpeg only guesses it.

    Args:
        container: container of the stream.
        stream: the stream.
        path: path of the file, to look for the length in the first frame of an MP3 file.
    """
    formats = set(container.format.name.split(","))
    if not formats & _STATE_LENGTH and not ("mp3" in formats and path and _mp3_states_length(path)):
        return None
    if stream.type == "video" and "mov" not in formats and stream.frames and stream.average_rate:
        # In mov and mp4 an edit list may show only some of the frames.
        return stream.frames / stream.average_rate
    if stream.duration:
        return stream.duration * stream.time_base
    parts = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    if parts is None:
        return None
    hours, minutes, seconds = map(Fraction, parts.groups())
    # In Matroska this is when the stream ends.
    return 3600 * hours + 60 * minutes + seconds - (stream.start_time or 0) * stream.time_base


def _mp3_states_length(path: str) -> bool:
    """Whether the first frame of an MP3 file is a table of contents that has the number of frames."""
    with Path(path).open("rb") as file:
        head = file.read(10)
        start = 0
        if head[:3] == b"ID3" and len(head) == 10:
            start = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        file.seek(start)
        first = file.read(256)
    for mark in (b"Xing", b"Info"):
        place = first.find(mark)
        if place >= 0:
            flags, frames = struct.unpack(">II", first[place + 4 : place + 12].ljust(8, b"\0"))
            return bool(flags & 1) and frames > 0
    return b"VBRI" in first


def measured_seconds(container: "InputContainer", stream: "Stream") -> float:
    """The length of a stream by the time stamps of its packets, or by their number if they have none.

    No packet is decoded. Where most packets of audio have no time stamp of their own, as in RealAudio, their lengths
    are added.

    Raises:
        DataError: the time stamps begin again, as in files that were joined by ``cat``.
    """
    begin = end = None
    total = count = steps = 0
    latest, name, unit = None, container.name.removeprefix("file:"), float(stream.time_base)
    for packet in container.demux(stream):
        count += packet.size > 0
        length = packet.duration or 0
        total += length
        if packet.dts is not None:
            check_order(name, 0.0 if latest is None else (packet.dts - latest) * unit)
            latest = packet.dts
        if packet.pts is not None:
            begin = packet.pts if begin is None else min(begin, packet.pts)
            steps += end is None or packet.pts + length > end
            end = max(end or 0, packet.pts + length)
    if stream.type == "audio" and 2 * steps < count:
        return float(total * stream.time_base)
    if begin is not None:
        return float((end - begin) * stream.time_base)
    return float(count / stream.guessed_rate) if stream.type == "video" and stream.guessed_rate else 0.0


def check_order(name: str, step: float) -> None:
    """Raise DataError if the time stamps of a recording go back by more than a second.

    Args:
        name: name of the recording.
        step: seconds from one time stamp to the next.
    """
    if step < -1.0:
        raise DataError(f"{name}: time stamps go back by {-step:.2f} s: several files, joined as by cat: use ffmpeg")


def check_gaps(name: str, kind: str, missing: float, seconds: float) -> None:
    """Warn of a recording of which more than a tenth is missing between its first and its last time stamp.

    Packets are missing where they were lost in transmission, are damaged, or where nothing was recorded for a while.

    Args:
        name: name of the recording.
        kind: its content, audio or video.
        missing: seconds without content.
        seconds: from the first time stamp to the end.

    Raises:
        DataError: more than half is missing.
    """
    if missing <= _MISSING_TO_WARN * seconds:
        return
    said = f"{name}: {missing:.2f} of {seconds:.2f} s of {kind} are missing between its time stamps"
    if missing > _MISSING_TO_FAIL * seconds:
        raise DataError(f"{said}: the recording is damaged: copy or download it again")
    warnings.warn(said, stacklevel=2)


def check_pixels(name: str, width: int, height: int) -> None:
    """Raise DataError for a picture of more than :data:`MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: {width} x {height}: a picture of more than {MAX_PIXELS} pixels: shrink it")


def check_memory(name: str, size: float) -> None:
    """Raise DataError for a recording that takes more than :data:`MAX_MEGABYTES` when decoded.

    Args:
        name: name of the recording.
        size: size in bytes.
    """
    if size > MAX_MEGABYTES * 1e6:
        raise DataError(
            f"{name}: takes more than {MAX_MEGABYTES} MB when decoded: cut it into segments, or set AVSV_MAX_MEGABYTES"
        )
