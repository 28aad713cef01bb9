"""Decoded frames, their orientation for display, and their conversion to pixels."""

import io
import itertools
import struct
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import av
import av.error
import numpy as np

from avsv.errors import DataError
from avsv.io.media import MAX_PIXELS, check_pixels


class SourceFrame(NamedTuple):
    """A decoded frame and how to display it.

    Attributes:
        picture: the pixels as stored.
        orientation: rotation and mirroring for display.
        path: the file of the frame, if it is a single image.
        aspect: width of a stored pixel divided by its height.
    """

    picture: av.VideoFrame
    orientation: "Orientation"
    path: str | None = None
    aspect: Fraction = Fraction(1)

    @property
    def stretched(self) -> tuple[int, int]:
        """Width and height of the stored picture with square pixels."""
        return max(round(self.picture.width * self.aspect), 1), self.picture.height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as displayed."""
        width, height = self.stretched
        return (height, width) if self.orientation.transpose else (width, height)


class Orientation(NamedTuple):
    """Conversion of stored pixels to displayed ones: first transpose, then reverse rows or columns.

    Example:
        >>> pixels = np.array([[1, 2], [3, 4]])
        >>> Orientation(transpose=True, reverse_columns=True).apply(pixels).tolist()
        [[3, 1], [4, 2]]
    """

    transpose: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False

    @classmethod
    def of(cls, picture: av.VideoFrame) -> "Orientation":
        """The orientation given by the display matrix of a picture, rounded to a multiple of 90 degrees."""
        try:
            matrix = picture.side_data.get("DISPLAYMATRIX")
        except ValueError:  # side data of a type that PyAV does not support
            return cls.turned(picture.rotation)
        if matrix is None:
            return cls()
        # x' = a x + c y, y' = b x + d y, with x to the right and y downward.
        a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))
        if abs(a) >= abs(c):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    @classmethod
    def turned(cls, degrees: float) -> "Orientation":
        """A counterclockwise rotation in degrees, rounded to a multiple of 90."""
        return (cls(), cls(True, True, False), cls(False, True, True), cls(True, False, True))[round(degrees / 90) % 4]

    @classmethod
    def of_image(cls, data: bytes) -> "Orientation":
        """The orientation given by the EXIF tag (1 to 8) of an image file."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data)) as image:
                number = image.getexif().get(_EXIF_ORIENTATION, 1)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return cls()  # the decoder decides whether it is an image
        return _EXIF.get(number, cls())

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Convert stored pixels to displayed ones, (height, width, ...)."""
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.reverse_rows else 1, :: -1 if self.reverse_columns else 1]


def refuse_image(name: str, data: bytes) -> None:
    """Raise DataError for an image that is whole but is not decoded, with the reason; nothing for a damaged one.

    Args:
        name: name of the image in messages.
        data: content of its file.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise DataError(f"{name}: a picture of more than {MAX_PIXELS} pixels: shrink it") from None
    except (OSError, SyntaxError, ValueError):
        return
    with image:
        check_pixels(name, *image.size)
        if image.format == "WEBP" and getattr(image, "is_animated", False):
            raise DataError(f"{name}: an animated picture: convert it to a video or to a folder of images")
        if image.format == "TIFF" and image.info.get("compression") in ("jpeg", "tiff_jpeg"):
            raise DataError(f"{name}: a JPEG picture inside a TIFF file: convert it to PNG")


class Window(NamedTuple):
    """The central part of a picture to crop, and the size to resize it to, in pixels."""

    crop_width: int
    crop_height: int
    width: int
    height: int


def center_crop(width: int, height: int) -> Callable[[int, int], Window]:
    """The largest central part of a picture with the requested shape, resized to that size (a similarity transform).

    Example:
        >>> center_crop(128, 128)(360, 288)
        Window(crop_width=288, crop_height=288, width=128, height=128)
    """

    def window(source_width: int, source_height: int) -> Window:
        scale = min(Fraction(source_width, width), Fraction(source_height, height))
        return Window(max(int(scale * width), 1), max(int(scale * height), 1), width, height)

    return window


def whole_picture(longest: int | None = None) -> Callable[[int, int], Window]:
    """The whole picture, shrunk if its longer side exceeds ``longest``.

    Example:
        >>> whole_picture(640)(1920, 1080)
        Window(crop_width=1920, crop_height=1080, width=640, height=360)
    """

    def window(width: int, height: int) -> Window:
        scale = min(Fraction(longest or max(width, height), max(width, height)), 1)
        return Window(width, height, max(int(scale * width), 1), max(int(scale * height), 1))

    return window


_EXIF_ORIENTATION = 0x112
_EXIF = {number: Orientation(number >= 5, number in (3, 4, 7, 8), number in (2, 3, 6, 7)) for number in range(1, 9)}


class PictureConverter:
    """Convert decoded pictures to arrays as displayed: upright, square pixels, cropped, resized, gray or RGB.

    Resizing is bilinear with antialiasing.

    Gray is 0.299 R + 0.587 G + 0.114 B, which is the luma of BT.601 video scaled to 0...255.

    Args:
        channels: 1 or 3.
        window: function from the width and height of a picture to the window to crop.

    Shape:
        - input: a picture of any size, pixel format and rotation
        - output: (height, width) or (height, width, 3), uint8
    """

    def __init__(self, channels: int, window: Callable[[int, int], Window]) -> None:
        self.channels = channels
        self.window = window
        self._key: tuple | None = None

    def __call__(self, frame: SourceFrame) -> np.ndarray:
        picture, orientation = frame.picture, frame.orientation
        key = (picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range)
        key = (*key, frame.aspect, orientation)
        if key != self._key:
            self._build(frame, orientation.transpose)
            self._key = key
        self._graph.push(picture)
        result = self._graph.pull()
        plane = result.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows = rows[: result.height, : result.width * self.channels]
        if self.channels == 3:
            rows = rows.reshape(result.height, result.width, 3)
        return np.ascontiguousarray(orientation.apply(rows))

    def _build(self, frame: SourceFrame, transpose: bool) -> None:
        picture = frame.picture
        window = self.window(*frame.size)
        if transpose:
            window = Window(window.crop_height, window.crop_width, window.height, window.width)
        # The window is in square pixels, but the filters work on stored pixels.
        crop_width = min(max(round(window.crop_width / frame.aspect), 1), picture.width)
        graph = av.filter.Graph()
        graph.threads = 1
        chain = [
            graph.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 25)
            ),
            graph.add("crop", f"{crop_width}:{window.crop_height}:exact=1"),
            # accurate_rnd and bitexact give the same bytes on every processor.
            graph.add("scale", f"{window.width}:{window.height}:flags=bilinear+accurate_rnd+full_chroma_int+bitexact"),
            graph.add("format", "gray" if self.channels == 1 else "rgb24"),
            graph.add("buffersink"),
        ]
        for above, below in itertools.pairwise(chain):
            above.link_to(below)
        graph.configure()
        self._graph = graph
