"""Where a Kaldi object is, as lists name it, and objects in text form.

A location is ``path`` or ``path:offset``, and may end in one of Kaldi's ranges: ``[0:99]`` for rows 0 to 99 (both
included), ``[:,0:12]`` for columns, ``[0:99,0:12]`` for both.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avsv.errors import DataError
from avsv.io.files import read_at

_RANGE = re.compile(r"\[([\d:]*)(?:,([\d:]*))?\]$", re.ASCII)
_SPAN = re.compile(r":|(\d{1,9}):(\d{1,9})", re.ASCII)
# By so many rows may a range exceed its matrix, as in Kaldi: two for the edges of windows, one for rounding.
_TOLERANCE = 3
_TEXT_AT_A_TIME = 1 << 16
_MOST_TEXT = 1 << 26


def split_location(location: str) -> tuple[str, int]:
    """Split ``path:offset``; without an offset it is 0.

    Example:
        >>> split_location("arks/my faces.1.ark:17"), split_location("one.mat")
        (('arks/my faces.1.ark', 17), ('one.mat', 0))
    """
    path, colon, offset = location.rpartition(":")
    is_offset = colon and offset.isascii() and offset.isdigit() and len(offset) < 19
    return (path, int(offset)) if is_offset else (location, 0)


class Place(NamedTuple):
    """A file, an offset in it, and the range of rows and columns, empty for all: see :meth:`cut`."""

    path: str
    offset: int
    range: str = ""

    @classmethod
    def of(cls, location: str) -> "Place":
        """Parse a location.

        Raises:
            DataError: the output of a command, which would have to run for every window.

        Example:
            >>> Place.of("raw.ark:17[0:99]")
            Place(path='raw.ark', offset=17, range='[0:99]')
        """
        if location.endswith("|"):
            raise DataError(f"{location}: the output of a command is not supported here: {_ADVICE}")
        match = _RANGE.search(location)
        if match is None or Path(location).exists():
            return cls(*split_location(location))
        return cls(*split_location(location[: match.start()]), match.group())

    def cut(self, rows: int, columns: int = 1) -> tuple[slice, slice]:
        """The rows and columns of the range, in an object of this shape.

        Raises:
            DataError: the range is none, or is outside the object.

        Example:
            >>> Place("raw.ark", 17, "[0:99]").cut(500, 80)
            (slice(0, 100, None), slice(0, 80, None))
        """
        if not self.range:
            return slice(0, rows), slice(0, columns)
        spans = []
        for text, size, tolerance in zip(
            _RANGE.search(self.range).groups(), (rows, columns), (_TOLERANCE, 0), strict=True
        ):
            match = _SPAN.fullmatch(":" if text is None else text)
            if match is None:
                raise DataError(f"{self}: no range of Kaldi: write it as [0:99], [:,0:12] or [0:99,0:12]")
            first, last = (0, size - 1) if match.group() == ":" else map(int, match.groups())
            if not first <= last < size + tolerance or first >= size:
                raise DataError(f"{self}: the range is not in an object of {rows} rows and {columns} columns")
            spans.append(slice(first, min(last, size - 1) + 1))
        return spans[0], spans[1]

    def __str__(self) -> str:
        return f"{self.path}:{self.offset}{self.range}"


_ADVICE = "write binary arks: copy-feats (or copy-vector) OLD ark,scp:NEW.ark,NEW.scp"


def other_form(location: str) -> DataError | None:
    """The error for a file in a form that only other programs read; None for others."""
    if read_at(Place.of(location).path, 0, 2) == b"\x1f\x8b":
        return DataError(f"{location}: an ark compressed by gzip, in which no offset can be found: {_ADVICE}")
    return None


def read_text_object(location: str, read: Callable[[int, int], bytes]) -> np.ndarray:
    """Read a matrix or a vector in Kaldi's text form.

    Args:
        location: where it is, for messages.
        read: function that returns up to a number of bytes (second argument) from a position (first argument).

    Returns:
        (rows, columns) or (values,), float32: in a matrix, the values begin on the line after the bracket.

    Raises:
        DataError: the text is truncated, is longer than 64 MiB, or holds something other than numbers.

    Example:
        >>> texts = b" [\\n  1 2\\n  3 4 ]\\n", b" [ 1 2.5 ]\\n"
        >>> [read_text_object("x", lambda first, count: text[first : first + count]).tolist() for text in texts]
        [[[1.0, 2.0], [3.0, 4.0]], [1.0, 2.5]]
    """
    parts: list[bytes] = []
    size = 0
    while not parts or b"]" not in parts[-1]:
        part = read(size, _TEXT_AT_A_TIME)
        if not part:
            raise DataError(f"{location}: a text ark that is truncated: no ']' follows: write it again")
        parts.append(part)
        size += len(part)
        if size > _MOST_TEXT:
            raise DataError(f"{location}: a text of more than 64 MiB: {_ADVICE}")
    text = b"".join(parts).partition(b"[")[2].partition(b"]")[0]
    try:
        lines = [np.array(line.split(), dtype=np.float32) for line in text.split(b"\n") if line.strip()]
    except ValueError:
        raise DataError(f"{location}: a text ark with something that is not a number: write it again") from None
    if not lines or len({len(line) for line in lines}) > 1:
        raise DataError(f"{location}: a text ark whose rows are not of equal length, or are none: write it again")
    return np.stack(lines) if text.lstrip(b" \t\r").startswith(b"\n") else np.concatenate(lines)
