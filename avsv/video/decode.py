"""Decoding of video files, folders of images and pipes into frames at a constant rate."""

import re
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error

from avsv.errors import DataError
from avsv.io.command import command_output, is_command
from avsv.io.media import (
    MAX_PIXELS,
    check_gaps,
    check_memory,
    check_order,
    choose_stream,
    decode_frames,
    first_bytes,
    library_errors,
    open_media,
    picture_codec,
    stated_seconds,
)
from avsv.io.text import check_regular_file
from avsv.io.whole import check_jpeg
from avsv.video.picture import Orientation, SourceFrame, refuse_image
from avsv.video.timing import as_rate, resample

IMAGE_SUFFIXES = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Pictures that are not read.
_OTHER_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pnm", ".tga"})
# A clip that ends before this share of the length in its header is truncated.
_WHOLE = Fraction(9, 10)
_SHORT_GAP = Fraction(1, 5)


class VideoSource:
    """A clip of ``video.scp``, which can be read several times.

    Args:
        location: a video file; an image; a folder of images, ordered by the numbers in their names; or ``command |``,
            whose output is a video in any file format. The command runs once and must succeed.
        folder_fps: frame rate of an image, and of a folder without a file ``fps`` that contains it.

    Raises:
        DataError: no such file or folder, an empty file, a command that fails, a folder without images.
    """

    def __init__(self, location: str, folder_fps: float = 25.0) -> None:
        self.location = location
        self._data: bytes | None = None
        self._images: list[Path] = []
        path = Path(location)
        if is_command(location):
            self._data = command_output(location)
        elif path.is_dir():
            self._images = list_images(path)
            self._rate = folder_rate(path, folder_fps)
        elif not path.is_file():
            raise DataError(f"{location}: no such file or folder")
        elif path.stat().st_size == 0:
            raise DataError(f"{location}: the file is empty (0 bytes): copy or download it again")
        elif is_image(path):
            self._images = [path]
            self._rate = as_rate(folder_fps)

    def frames(
        self, fps: float | Fraction, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[SourceFrame, int]]:
        """Decode the clip at a constant frame rate.

        Frames are chosen by their timestamps, see :func:`avsv.video.timing.resample`; at a constant source rate that
        is :func:`avsv.video.timing.select_frames`.

        Args:
            fps: frame rate of the output.
            first: first output frame. Earlier images are not decoded; in a video file all frames are, since each is
                coded as a difference to others.
            last: output frame after the last; None means to the end.

        Yields:
            A frame, and the number of consecutive output frames that show it.

        Raises:
            DataError: not a video, no video stream, no frames, a truncated clip (if it is read to the end), an image
                that cannot be read.
        """
        timed = self._time_images() if self._images else self._decode_stream()
        made = 0
        for frame, count in resample(timed, as_rate(fps)):
            start, made = max(made, first), made + count
            count = (made if last is None else min(made, last)) - start
            if count > 0:
                yield (
                    frame if isinstance(frame, SourceFrame) else _decode_image(frame),
                    count,
                )
            if last is not None and made >= last:
                return

    def _time_images(self) -> Iterator[tuple[Fraction, Fraction, Path]]:
        for index, path in enumerate(self._images):
            yield index / self._rate, (index + 1) / self._rate, path

    def _decode_stream(self) -> Iterator[tuple[Fraction, Fraction, SourceFrame]]:
        source = self.location if self._data is None else self._data
        with open_media(source, self.location, "video") as container:
            yield from self._decode_container(container)

    def _decode_container(
        self, container: av.container.InputContainer
    ) -> Iterator[tuple[Fraction, Fraction, SourceFrame]]:
        stream = choose_stream(container, self.location, "video")
        aspect = _pixel_aspect(stream)
        clock = _Clock(stream)
        end = missing = Fraction(0)
        count = 0
        for picture in decode_frames(container, stream, self.location):
            before = end
            start, end = clock.span(picture)
            check_order(self.location, float(start - before))
            # At a rate that varies, a frame may be shown for a little longer than it says.
            missing += start - before if start - before > _SHORT_GAP else 0
            count += 1
            yield start, end, SourceFrame(picture, Orientation.of(picture), aspect=aspect)
        if count == 0:
            raise DataError(f"{self.location}: no video frame could be decoded: the clip is empty or damaged")
        check_gaps(self.location, "video", float(missing), float(end))
        promised = stated_seconds(container, stream)
        if promised and end < _WHOLE * promised:
            raise DataError(
                f"{self.location}: truncated: {float(end):.2f} s of video where the header promises"
                f" {float(promised):.2f} s: copy or download it again"
            )


class _Clock:
    """Start and end of frames in seconds from the start of the first frame.

    Containers round timestamps (to a millisecond in Matroska). Timestamps within one unit of the stream's own frame
    grid are moved onto it, so that a constant rate is exactly constant.
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
        # In integers for speed, since this is done for every frame: the time in frames of the grid is above / below.
        above = ticks * self._base.numerator * self._grid.numerator
        below = self._base.denominator * self._grid.denominator
        nearest = (2 * above + below) // (2 * below)
        if abs(nearest * below - above) > self._base.numerator * self._grid.numerator:
            return ticks * self._base
        return Fraction(nearest * self._grid.denominator, self._grid.numerator)


def _pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Width over height of a stored pixel; 1 if the file does not state a plausible value."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return aspect if aspect and Fraction(1, 8) <= aspect <= 8 else Fraction(1)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts frame 10 after frame 9.

    Example:
        >>> sorted(["f10.png", "f9.png", "f1.png"], key=natural_key)
        ['f1.png', 'f9.png', 'f10.png']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]


def is_image(path: Path) -> bool:
    """Whether a file is a picture by its suffix, or by its first bytes if it has none."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (not suffix and picture_codec(first_bytes(path)) is not None)


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of the numbers in their names; DataError if there are none.

    Warns of pictures of other formats, which are left out.
    """
    files = [path for path in folder.iterdir() if path.name[0] != "."]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"{folder}: the folder has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    others = sorted(path.name for path in files if path.suffix.lower() in _OTHER_SUFFIXES)
    if others:
        names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        warnings.warn(f"{folder}: {len(others)} pictures are left out: {names}: convert them to PNG", stacklevel=2)
    return sorted(images, key=lambda path: natural_key(path.name))


def folder_rate(folder: Path, default: float) -> Fraction:
    """The frame rate of a folder of images: the number in its file ``fps``, or ``default``."""
    path = folder / "fps"
    if not path.is_file():
        return as_rate(default)
    with path.open("rb") as file:
        text = file.read(100).decode("utf-8", "replace").strip()
    # Of other numbers, such as 1e99999999, a fraction would take forever.
    try:
        rate = as_rate(Fraction(text)) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}|/[0-9]{1,9})?", text) else 0
    except ZeroDivisionError:
        rate = 0
    if not 0 < rate <= 1000:
        raise DataError(f"{path}: '{text:.40}' is not a frame rate: write one number such as 25 or 30000/1001")
    return rate


def _decode_image(path: Path) -> SourceFrame:
    check_regular_file(path)
    with library_errors(str(path), "image"):
        check_memory(str(path), path.stat().st_size)
        data = path.read_bytes()
    if not data:
        raise DataError(f"{path}: the image is empty (0 bytes)")
    codec = picture_codec(data)
    if codec is None:
        raise DataError(f"{path}: not an image of a supported format, although its name says so")
    if codec == "mjpeg":
        check_jpeg(str(path), data)
    elif codec == "tiff":
        refuse_image(str(path), data)  # the decoder shows a JPEG picture inside as black
    context = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    with library_errors(str(path), "image"):
        try:
            pictures = context.decode(av.Packet(data)) or context.decode(None)
        except av.error.FFmpegError:
            refuse_image(str(path), data)
            raise
    if not pictures:
        raise DataError(f"{path}: cannot be read as an image")
    return SourceFrame(pictures[0], Orientation.of_image(data), str(path))
