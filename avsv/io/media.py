"""Audio and video containers: opening them, choosing a stream, measuring its length.

Errors of the library become a :class:`DataError` that names the recording. Only the file itself is opened, never files
or addresses that a playlist refers to. Metadata that is not valid text is ignored.
"""

import io
import os
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
    from av.container import InputContainer
    from av.stream import Stream

# Containers whose header, index or last page states their length; for others FFmpeg guesses it from size and bit rate.
_STATE_LENGTH = {"aiff", "asf", "au", "avi", "caf", "flac", "matroska", "mov", "nut", "ogg", "w64", "wav"}
# No playlists or formats that refer to other files, and no raw samples or pictures, for which any file could be taken.
_FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,ape,asf,au,av1,avi,avif,caf,dts,dv,eac3,flac,flv,gif,h263,h264,hevc,ivf,loas,m4a,m4v,"
    "matroska,mj2,mjpeg,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nut,ogg,rm,tak,truehd,tta,voc,vc1,w64,wav,webm,wv"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
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

    if isinstance(source, str):
        check_whole(source)
    # Without an explicit protocol, "12" of a name such as "12:30.mp4" would be taken for one.
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    with library_errors(name, kind), av.open(file, metadata_errors="ignore", options=dict(_OPTIONS)) as container:
        yield container


def choose_stream(container: "InputContainer", name: str, kind: str) -> "Stream":
    """The stream that a player would play.

    Cover pictures are excluded. Streams for the hearing or visually impaired, commentary, dubs and karaoke come last;
    of the rest, a default stream comes first, then the one with the lowest index.

    Raises:
        DataError: there is none, or this build of FFmpeg lacks its decoder.
    """
    import av

    flags = av.stream.Disposition
    unlike = flags.hearing_impaired | flags.visual_impaired | flags.comment | flags.dub | flags.karaoke
    streams = [
        stream
        for stream in container.streams
        if stream.type == kind and not stream.disposition & (flags.attached_pic | flags.timed_thumbnails)
    ]
    if not streams:
        raise DataError(f"{name}: no {kind} stream")
    chosen = min(streams, key=lambda s: (bool(s.disposition & unlike), not s.disposition & flags.default, s.index))
    if chosen.codec_context is None:
        raise DataError(f"{name}: unreadable, truncated or damaged {kind}: no known codec")
    # Each job uses one core; --nj sets the number of jobs.
    chosen.thread_type = "NONE"
    chosen.codec_context.thread_count = 1
    if kind == "video":
        chosen.codec_context.options = {**chosen.codec_context.options, "max_pixels": str(MAX_PIXELS)}
    return chosen


def stream_kinds(path: str) -> set[str]:
    """What a file holds: "audio", "video", or both; cover pictures do not count.

    Raises:
        DataError: not a container of a common format.
    """
    import av

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
    try:
        hours, minutes, seconds = (Fraction(part) for part in stream.metadata.get("DURATION", "").split(":"))
    except (ValueError, ZeroDivisionError):
        return None
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

    No packet is decoded.

    Raises:
        DataError: the time stamps begin again, as in files that were joined by ``cat``.
    """
    begin, end, count, latest = None, Fraction(0), 0, None
    for packet in container.demux(stream):
        if packet.dts is not None:
            check_order(
                container.name.removeprefix("file:"), float((packet.dts - (latest or packet.dts)) * stream.time_base)
            )
            latest = packet.dts
        if packet.pts is None:
            count += packet.size > 0
            continue
        begin = packet.pts if begin is None else min(begin, packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
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
