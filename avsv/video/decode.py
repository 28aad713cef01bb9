"""Decoding of video files, folders of images and pipes into frames of a constant rate."""

import io
import itertools
import re
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import numpy as np

from avsv.errors import DataError
from avsv.video.timing import as_rate, resample

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Decoders by how a file begins; opening images as containers would cost more than decoding them.
_IMAGE_CODECS = {
    b"\xff\xd8\xff": "mjpeg",
    b"\x89PNG": "png",
    b"BM": "bmp",
    b"RIFF": "webp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"P5": "pgm",
    b"P6": "ppm",
}
# A clip that ends before this share of what its header promises is cut off.
_WHOLE = Fraction(9, 10)


class SourceFrame(NamedTuple):
    """A decoded frame, and the file it came from where that is an image of its own."""

    picture: av.VideoFrame
    path: str | None = None


class VideoSource:
    """A clip of ``video.scp``, which may be read several times.

    Args:
        location: a video file; a folder of images, ordered by the numbers in their names; or ``command |``, whose
            output is any video file format. The command runs once and must succeed.
        folder_fps: frame rate of a folder that has no file ``fps`` with a number in it.

    Raises:
        DataError: nothing there, an empty file, a command that fails, a folder without images.
    """

    def __init__(self, location: str, folder_fps: float = 25.0) -> None:
        self.location = location
        self._data: bytes | None = None
        self._images: list[Path] = []
        path = Path(location)
        if location.endswith("|"):
            self._data = _run_pipe(location)
        elif path.is_dir():
            self._images = list_images(path)
            self._rate = folder_rate(path, folder_fps)
        elif not path.is_file():
            raise DataError(f"{location}: no such file or folder")
        elif path.stat().st_size == 0:
            raise DataError(f"{location}: the file is empty (0 bytes): copy or download it again")

    def frames(
        self, fps: float | Fraction, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[SourceFrame, int]]:
        """Decode the clip at a constant frame rate.

        Frames are chosen by their timestamps, see :func:`avsv.video.timing.resample`; at a constant source rate that
        is :func:`avsv.video.timing.select_frames`.

        Args:
            fps: of the output.
            first: output frame to begin with. Images before it are not decoded; of a video file all frames are, since
                each is coded as a difference to others.
            last: output frame to stop before; None means to the end.

        Yields:
            A frame and how many output frames in a row it stands for.

        Raises:
            DataError: not a video, no video stream, no frames, a clip cut short (where it is read to the end), an image
                that cannot be read.
        """
        timed = self._time_images() if self._images else self._decode_stream()
        made = 0
        for frame, count in resample(timed, as_rate(fps)):
            start, made = max(made, first), made + count
            count = (made if last is None else min(made, last)) - start
            if count > 0:
                yield (
                    (frame if isinstance(frame, SourceFrame) else SourceFrame(_decode_image(frame), str(frame))),
                    count,
                )
            if last is not None and made >= last:
                return

    def _time_images(self) -> Iterator[tuple[Fraction, Fraction, Path]]:
        for index, path in enumerate(self._images):
            yield index / self._rate, (index + 1) / self._rate, path

    def _decode_stream(self) -> Iterator[tuple[Fraction, Fraction, SourceFrame]]:
        # The protocol is given because a name such as "12:30.mp4" would be taken for one.
        source = f"file:{self.location}" if self._data is None else io.BytesIO(self._data)
        try:
            with av.open(source) as container:
                yield from self._decode_container(container)
        except av.error.EOFError:
            raise DataError(f"{self.location}: it has no video frames") from None
        except av.error.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise DataError(f"{self.location}: cannot be read as video: {reason}") from None

    def _decode_container(
        self, container: av.container.InputContainer
    ) -> Iterator[tuple[Fraction, Fraction, SourceFrame]]:
        stream = next((s for s in container.streams.video if not _is_cover(s)), None)
        if stream is None:
            raise DataError(f"{self.location}: has no video stream")
        # One job is one core: --nj says how many there are.
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        clock = _Clock(stream)
        end = Fraction(0)
        count = 0
        for packet in container.demux(stream):
            try:
                pictures = packet.decode()
            except av.error.InvalidDataError:
                # A damaged packet costs its own frames; what is missing altogether is judged at the end.
                continue
            for picture in pictures:
                start, end = clock.span(picture)
                count += 1
                yield start, end, SourceFrame(picture)
        if count == 0:
            raise DataError(f"{self.location}: no video frame could be decoded: the clip is empty or damaged")
        promised = _promised_seconds(container, stream)
        if promised is not None and end < _WHOLE * promised:
            raise DataError(
                f"{self.location}: truncated: {float(end):.2f} s of video where the header promises"
                f" {float(promised):.2f} s: copy or download it again"
            )


class _Clock:
    """Start and end of frames in seconds from the first frame's start.

    Containers round timestamps (to a millisecond in Matroska); those within one unit of the stream's own frame grid
    are taken to lie on it, so that a constant rate is exactly constant.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self._base = stream.time_base
        self._step = 1 / Fraction(stream.guessed_rate or stream.average_rate or 25)
        self._grid = stream.base_rate
        self._lengths: dict[int, Fraction] = {0: self._step}
        self._first: int | None = None
        self._end = Fraction(0)

    def span(self, picture: av.VideoFrame) -> tuple[Fraction, Fraction]:
        start = self._end
        if picture.pts is not None:
            if self._first is None:
                self._first = picture.pts
            start = self._snap(picture.pts - self._first)
        length = self._lengths.get(picture.duration)
        if length is None:
            length = self._lengths[picture.duration] = self._snap(picture.duration)
        self._end = start + length
        return start, self._end

    def _snap(self, ticks: int) -> Fraction:
        if not self._grid:
            return ticks * self._base
        # In integers, since this is done for every frame: the time in frames of the grid is above / below.
        above = ticks * self._base.numerator * self._grid.numerator
        below = self._base.denominator * self._grid.denominator
        nearest = (2 * above + below) // (2 * below)
        if abs(nearest * below - above) > self._base.numerator * self._grid.numerator:
            return ticks * self._base
        return Fraction(nearest * self._grid.denominator, self._grid.numerator)


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether a "video" stream is the cover picture of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _promised_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """How long the header says the video is; None where it does not, or ffmpeg only guesses from the file's size."""
    if "mp4" in container.format.name:
        # Not the number of frames: an edit list may show only some of them.
        return stream.duration * stream.time_base if stream.duration else None
    if stream.frames and stream.average_rate:
        return stream.frames / stream.average_rate
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
    return None


def _run_pipe(location: str) -> bytes:
    command = location[:-1].strip()
    if not command:
        raise DataError(f"'{location}': there is no command before the |")
    shell = ["bash", "-o", "pipefail", "-c", command]
    result = subprocess.run(shell, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = f": {lines[-1].strip()}" if lines else ""
        raise DataError(f"{location}: the command failed with status {result.returncode}{reason}")
    if not result.stdout:
        raise DataError(f"{location}: the command wrote nothing")
    return result.stdout


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sorting key by which frame 10 follows frame 9.

    Example:
        >>> sorted(["f10.png", "f9.png", "f1.png"], key=natural_key)
        ['f1.png', 'f9.png', 'f10.png']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of the numbers in their names; DataError when there are none."""
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    if not images:
        raise DataError(f"{folder}: the folder has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(images, key=lambda path: natural_key(path.name))


def folder_rate(folder: Path, default: float) -> Fraction:
    """The frame rate of a folder of images: the number in its file ``fps``, else ``default``."""
    path = folder / "fps"
    if not path.is_file():
        return as_rate(default)
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        rate = as_rate(Fraction(text))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise DataError(f"{path}: '{text}' is no frame rate: write one number such as 25 or 30000/1001")
    return rate


def _decode_image(path: Path) -> av.VideoFrame:
    data = path.read_bytes()
    if not data:
        raise DataError(f"{path}: the image is empty (0 bytes)")
    codec = next((name for magic, name in _IMAGE_CODECS.items() if data.startswith(magic)), None)
    if codec is None:
        raise DataError(f"{path}: is no image of a known kind, whatever its name says")
    context = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    try:
        pictures = context.decode(av.Packet(data)) or context.decode(None)
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: cannot be read as an image: {error.strerror}") from None
    if not pictures:
        raise DataError(f"{path}: cannot be read as an image")
    return pictures[0]


class Window(NamedTuple):
    """Which central part of a picture is taken, and the size it gets, in pixels."""

    crop_width: int
    crop_height: int
    width: int
    height: int


def centre_crop(width: int, height: int) -> Callable[[int, int], Window]:
    """The largest central part of a picture with the shape wanted, resized to it: a similarity transform.

    Example:
        >>> centre_crop(128, 128)(360, 288)
        Window(crop_width=288, crop_height=288, width=128, height=128)
    """

    def window(source_width: int, source_height: int) -> Window:
        scale = min(Fraction(source_width, width), Fraction(source_height, height))
        return Window(max(int(scale * width), 1), max(int(scale * height), 1), width, height)

    return window


def whole_picture(longest: int | None = None) -> Callable[[int, int], Window]:
    """The whole picture, shrunk where its longer side exceeds ``longest``.

    Example:
        >>> whole_picture(640)(1920, 1080)
        Window(crop_width=1920, crop_height=1080, width=640, height=360)
    """

    def window(width: int, height: int) -> Window:
        scale = min(Fraction(longest or max(width, height), max(width, height)), 1)
        return Window(width, height, max(int(scale * width), 1), max(int(scale * height), 1))

    return window


def upright_size(picture: av.VideoFrame) -> tuple[int, int]:
    """Width and height after the rotation that the picture's metadata asks for."""
    turned = round(picture.rotation / 90) % 2
    return (picture.height, picture.width) if turned else (picture.width, picture.height)


class PictureConverter:
    """Decoded pictures become arrays: upright, cropped, resized (bilinear with antialias), gray or red-green-blue.

    Gray is 0.299 R + 0.587 G + 0.114 B, which is the luma of BT.601 video expanded to 0...255.

    Args:
        channels: 1 or 3.
        window: from a picture's width and height, what to take of it.

    Shape:
        - input: a picture of any size, pixel format and rotation
        - output: (height, width) or (height, width, 3), uint8
    """

    def __init__(self, channels: int, window: Callable[[int, int], Window]) -> None:
        self.channels = channels
        self.window = window
        self._key: tuple | None = None

    def __call__(self, picture: av.VideoFrame) -> np.ndarray:
        key = (picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range)
        turns = round(picture.rotation / 90) % 4
        if (*key, turns) != self._key:
            self._build(picture, turns)
            self._key = (*key, turns)
        self._graph.push(picture)
        result = self._graph.pull()
        plane = result.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows = rows[: result.height, : result.width * self.channels]
        if self.channels == 3:
            rows = rows.reshape(result.height, result.width, 3)
        if turns:
            rows = np.rot90(rows, turns)
        return np.ascontiguousarray(rows)

    def _build(self, picture: av.VideoFrame, turns: int) -> None:
        window = self.window(*upright_size(picture))
        if turns % 2:
            window = Window(window.crop_height, window.crop_width, window.height, window.width)
        graph = av.filter.Graph()
        graph.threads = 1
        chain = [
            graph.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 25)
            ),
            graph.add("crop", f"{window.crop_width}:{window.crop_height}:exact=1"),
            # accurate_rnd and bitexact: the same bytes on every processor.
            graph.add("scale", f"{window.width}:{window.height}:flags=bilinear+accurate_rnd+full_chroma_int+bitexact"),
            graph.add("format", "gray" if self.channels == 1 else "rgb24"),
            graph.add("buffersink"),
        ]
        for above, below in itertools.pairwise(chain):
            above.link_to(below)
        graph.configure()
        self._graph = graph
