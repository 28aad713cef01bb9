"""Kaldi arks: atomic writing, and reading of only the requested rows."""

import contextlib
import math
import mmap
import struct
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from avsv.errors import DataError
from avsv.io.atomic import temporary_path, write_text
from avsv.io.files import file_size, read_at, read_into
from avsv.io.lists import read_list
from avsv.io.place import Place, other_form, read_text_object, split_location

Kind = Literal["float", "fbank", "pixels", "online"]

_ONLINE_SUFFIX = ".online"

# What a matrix's header needs at most: "\0B", "CM2 ", two floats, two integers.
_HEADER_BYTES = 24
_VECTOR_HEADER = struct.Struct("<2s3ssi")
_VECTORS_AT_A_TIME = 4096


class ArkWriter:
    """Write matrices to ``PREFIX.ark`` with the index ``PREFIX.scp``; both appear on close, the index last.

    Kinds: "float" is exact; "fbank" stores two bytes per value (Kaldi's compression method 3: the range of the matrix
    in 65535 steps); "pixels" stores unsigned bytes exactly (method 6: 0 to 255). All are row-major, so that a window of
    rows is one contiguous range of bytes, and Kaldi and kaldiio can read them. "online" accepts only records that are
    already bytes and writes them to ``PREFIX.online``.

    Args:
        prefix: path without suffix; its folder must exist. The index holds it as given.
        kind: how values are stored.

    Raises:
        DataError: raised by ``write`` for an invalid or repeated key, an array that is not a matrix or has no rows,
            and values that are not finite or, for "pixels", not unsigned bytes.
        OSError: writing failed, for example because no space is left; its file name is the ark.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ArkWriter(folder + "/faces", "pixels") as writer:
        ...         writer.write("id1-a", np.arange(6, dtype=np.uint8).reshape(3, 2))
        ...     read_rows(read_list(folder + "/faces.scp")["id1-a"], 1, 3).tolist()
        [[2, 3], [4, 5]]
    """

    def __init__(self, prefix: str | Path, kind: Kind) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"unknown kind of ark: {kind}")
        self.kind = kind
        self.path = Path(f"{prefix}{_ONLINE_SUFFIX if kind == 'online' else '.ark'}")
        self._scp = f"{prefix}.scp"
        self._locations: dict[str, str] = {}
        self._temporary = temporary_path(self.path)
        self._position = 0
        self._file = self._temporary.open("wb", buffering=1 << 20)

    def write(self, key: str, array: np.ndarray) -> None:
        """Append one matrix (rows, columns)."""
        header, values = self._encode(key, array)
        self.write_bytes(key, header + values.tobytes())

    def write_bytes(self, key: str, record: bytes) -> None:
        """Append a record that Kaldi can already read at an offset, such as a RIFF wav file."""
        start = key.encode() + b" "
        self.refer(key, f"{self.path}:{self._position + len(start)}")
        with self._naming_errors():
            self._file.write(start + record)
        self._position += len(start) + len(record)

    def refer(self, key: str, location: str) -> None:
        """Add a record of another file to the index, without copying it."""
        if key in self._locations:
            raise DataError(f"{self.path}: '{key}' is written twice")
        if not key or len(key.split()) != 1 or key != key.strip():
            raise DataError(f"{self.path}: '{key}' is not a key: a key must not contain blanks")
        self._locations[key] = location

    def _encode(self, key: str, array: np.ndarray) -> tuple[bytes, np.ndarray]:
        if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
            raise DataError(f"{self.path}: '{key}': a matrix of shape {array.shape}: expected rows and columns")
        if self.kind == "pixels":
            if array.dtype != np.uint8:
                raise DataError(f"{self.path}: '{key}': {array.dtype} values: pixels are unsigned bytes")
            return b"\0BCM3 " + struct.pack("<ffii", 0.0, 255.0, *array.shape), np.ascontiguousarray(array)
        array = np.ascontiguousarray(array, dtype=np.float32)
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"{self.path}: '{key}' has values that are not finite numbers")
        if self.kind == "float":
            return b"\0BFM " + struct.pack("<bibi", 4, array.shape[0], 4, array.shape[1]), array
        low, reach, steps = _quantize(array, low, high)
        return b"\0BCM2 " + struct.pack("<ffii", low, reach, *array.shape), steps

    def close(self) -> None:
        """Give the ark and its index their final names."""
        with self._naming_errors():
            self._file.close()
            self._temporary.replace(self.path)
        write_text(self._scp, "".join(f"{key} {location}\n" for key, location in self._locations.items()))

    def abort(self) -> None:
        """Remove the temporary files."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _naming_errors(self):
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self.path)
            self.abort()
            raise

    def __enter__(self) -> "ArkWriter":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


def _quantize(array: np.ndarray, low: float, high: float) -> tuple[float, float, np.ndarray]:
    """Two-byte codes of an array between ``low`` and ``high``, with the lowest value and the range they stand for."""
    if low == high:
        high = low + 1.0 + abs(low)
    # The reader multiplies by this same float32 range, so the steps must be computed from it.
    reach = float(np.float32(high - low))
    steps = np.rint((array - np.float32(low)) * np.float32(65535.0 / reach)).clip(0, 65535).astype("<u2")
    return low, reach, steps


def _values(codes: np.ndarray, low: float, step: float) -> np.ndarray:
    values = np.multiply(codes, np.float32(step), dtype=np.float32)
    values += np.float32(low)
    return values


def as_stored(features: np.ndarray) -> np.ndarray:
    """Features (T, F) with the rounding that an ark of the kind "fbank" gives them.

    Example:
        >>> import tempfile
        >>> features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ArkWriter(folder + "/x", "fbank") as writer:
        ...         writer.write("a", features)
        ...     bool((read_rows(read_list(folder + "/x.scp")["a"]) == as_stored(features)).all())
        True
    """
    low, reach, codes = _quantize(features, float(features.min()), float(features.max()))
    return _values(codes, low, reach / 65535.0)


class _Header(NamedTuple):
    """Where the values of a matrix are and what they mean: value = low + step * code."""

    format: str
    rows: int
    columns: int
    start: int
    dtype: np.dtype
    low: float
    step: float
    values: np.ndarray | None = None  # of a text ark, which has no rows of equal length


_DTYPES = {"FM": np.dtype("<f4"), "DM": np.dtype("<f8"), "CM2": np.dtype("<u2"), "CM3": np.dtype("u1")}


def is_online(location: str) -> bool:
    """Whether a value of ``faces.scp`` names a clip to decode (see :mod:`avsv.video.online`) instead of a matrix.

    Example:
        >>> is_online("data/arks/faces_train.3.online:17"), is_online("data/arks/faces_train.3.ark:17")
        (True, False)
    """
    return split_location(location)[0].endswith(_ONLINE_SUFFIX)


def _read_header(location: str) -> tuple[Place, _Header]:
    place = Place.of(location)
    path, offset = place.path, place.offset
    head = read_at(path, offset, _HEADER_BYTES)
    if head[:2] != b"\0B" or b" " not in head[2:6]:
        if head.lstrip().startswith(b"["):
            values = read_text_object(location, lambda first, count: read_at(path, offset + first, count))
            if values.ndim != 2:
                raise DataError(f"{location}: a vector in a text ark, expected a matrix")
            return place, _Header("text", *values.shape, offset, values.dtype, 0.0, 1.0, values)
        if form := other_form(location):
            raise form
        if offset + len(head) >= file_size(path) and len(head) < 6:
            raise _cut_short(path, offset, offset + _HEADER_BYTES)
        raise DataError(f"{location}: no Kaldi matrix at this offset: the list and the ark do not belong together")
    name, _, rest = head[2:].partition(b" ")
    name = name.decode("ascii", "replace")
    start = offset + 3 + len(name)
    if name in ("FM", "DM"):
        if len(rest) < 10:
            raise _cut_short(path, offset, start + 10)
        size, rows, of_columns, columns = struct.unpack("<bibi", rest[:10])
        if size != 4 or of_columns != 4:
            raise _wrong_header(location)
        return place, _checked(location, _Header(name, rows, columns, start + 10, _DTYPES[name], 0.0, 1.0))
    if name in ("CM", "CM2", "CM3"):
        if len(rest) < 16:
            raise _cut_short(path, offset, start + 16)
        low, reach, rows, columns = struct.unpack("<ffii", rest[:16])
        step = reach / (255.0 if name == "CM3" else 65535.0)
        if not (math.isfinite(low) and math.isfinite(reach)):
            raise _wrong_header(location)
        dtype = _DTYPES.get(name, np.dtype("u1"))
        return place, _checked(location, _Header(name, rows, columns, start + 16, dtype, low, step))
    raise DataError(f"{location}: a Kaldi object of type '{name}', expected a matrix")


def _checked(location: str, header: _Header) -> _Header:
    if header.rows < 1 or header.columns < 1:
        raise _wrong_header(location)
    return header


def _check_end(place: Place, end: int) -> None:
    """Raise DataError where a file ends before ``end``: nothing larger than the file may be allocated."""
    if end > file_size(place.path):
        raise _cut_short(place.path, place.offset, end)


def _wrong_header(location: str) -> DataError:
    return DataError(f"{location}: the header of this matrix is damaged, or the matrix is empty: write the ark again")


def _cut_short(path: str, offset: int, end: int) -> DataError:
    return DataError(
        f"{path}:{offset}: the ark is truncated: the record ends at byte {end}, the file has {file_size(path)} bytes:"
        " write it again"
    )


def matrix_shape(location: str) -> tuple[int, int]:
    """The rows and columns of the matrix at a location. Raises DataError as :func:`read_rows`."""
    place, header = _read_header(location)
    rows, columns = place.cut(header.rows, header.columns)
    return rows.stop - rows.start, columns.stop - columns.start


def read_rows(location: str, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Read rows ``start`` to ``stop`` of a matrix; no other bytes of it are read.

    A matrix with Kaldi's per-column compression ('CM') is stored column by column and always read completely, and so is
    one of a text ark.

    Args:
        location: ``path:offset`` as in an scp, with one of Kaldi's ranges or without: ``path:offset[0:99]``.
        start: first row, counted from the first row of the range.
        stop: row after the last; None means to the end.

    Returns:
        (stop - start, columns): uint8 for pixels (one-byte codes over 0 to 255), float32 for everything else.

    Raises:
        DataError: no such file, nothing readable at the offset, a truncated ark, rows outside the matrix, a range
            outside it.
    """
    place, header = _read_header(location)
    rows, columns = place.cut(header.rows, header.columns)
    there = rows.stop - rows.start
    stop = there if stop is None else stop
    if not 0 <= start <= stop <= there:
        raise DataError(f"{location}: rows {start} to {stop} are not in a matrix of {there} rows")
    matrix = _read_part(location, place, header, rows.start + start, rows.start + stop)
    whole = columns.stop - columns.start == header.columns
    return matrix if whole else np.ascontiguousarray(matrix[:, columns])


def _read_part(location: str, place: Place, header: _Header, start: int, stop: int) -> np.ndarray:
    if header.values is not None:
        return header.values[start:stop]
    if header.format == "CM":
        return _read_whole(location, place, header)[start:stop]
    row_bytes = header.columns * header.dtype.itemsize
    first = header.start + start * row_bytes
    _check_end(place, first + (stop - start) * row_bytes)
    codes = np.empty((stop - start, header.columns), dtype=header.dtype)
    if codes.size and read_into(place.path, first, memoryview(codes).cast("B")) < codes.nbytes:
        raise _cut_short(place.path, place.offset, first + codes.nbytes)
    if header.format in ("FM", "DM") or (header.format == "CM3" and header.low == 0.0 and header.step == 1.0):
        return codes if header.format != "DM" else codes.astype(np.float32)
    return _values(codes, header.low, header.step)


def _read_whole(location: str, place: Place, header: _Header) -> np.ndarray:
    from kaldiio.matio import read_matrix_or_vector

    # Four numbers of two bytes for each column, then its values.
    _check_end(place, header.start + header.columns * (8 + header.rows))
    with Path(place.path).open("rb") as file:
        file.seek(place.offset)
        return np.ascontiguousarray(read_matrix_or_vector(file), dtype=np.float32)


def write_vectors(prefix: str | Path, keys: Sequence[str], matrix: np.ndarray) -> None:
    """Write one float vector per key to ``PREFIX.ark`` and ``PREFIX.scp``, in the order given; the index appears last.

    Args:
        prefix: path without suffix.
        keys: N keys.
        matrix: (N, D) values, stored as float32.

    Raises:
        DataError: a key that occurs twice, values that are not finite.
        ValueError: the numbers of keys and rows differ.
    """
    with ArkWriter(prefix, "float") as writer:
        append_vectors(writer, keys, matrix)


def append_vectors(writer: ArkWriter, keys: Sequence[str], matrix: np.ndarray) -> None:
    """Write one float vector per key to an ark; see :func:`write_vectors`."""
    matrix = np.ascontiguousarray(matrix, dtype="<f4")
    finite = np.isfinite(matrix).all(axis=1)
    if len(keys) == len(matrix) and not finite.all():
        raise DataError(f"{writer.path}: '{keys[int(np.argmin(finite))]}' has values that are not finite numbers")
    header = _VECTOR_HEADER.pack(b"\0B", b"FV ", b"\4", matrix.shape[1])
    for key, vector in zip(keys, matrix, strict=True):
        writer.write_bytes(key, header + vector.tobytes())


def read_vectors(scp: str | Path) -> tuple[list[str], np.ndarray]:
    """Read all vectors of an scp.

    Returns:
        The N keys in the order of the list, and (N, D) float32.

    Raises:
        DataError: as :func:`read_list`; no such ark, a truncated ark, something other than a vector at an offset,
            vectors of different sizes.
    """
    keys, blocks = read_vector_blocks(scp)
    matrix: np.ndarray | None = None
    for rows, vectors in blocks:
        if matrix is None:
            matrix = np.empty((len(keys), vectors.shape[1]), dtype=np.float32)
        matrix[rows] = vectors
    return keys, matrix


def read_vector_blocks(scp: str | Path) -> tuple[list[str], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Read the vectors of an scp in blocks of some thousand, for computations that need each vector once.

    Returns:
        The N keys in the order of the list, and blocks (rows, vectors): (n,) positions in the list, (n, D) float32.
        Blocks come ark by ark; within an ark, vectors are in the order of the list.

    Raises:
        DataError: as :func:`read_vectors`, also while the blocks are read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_vectors(folder + "/eval", ["a", "b"], np.array([[1, 2], [3, 4]]))
        ...     keys, blocks = read_vector_blocks(folder + "/eval.scp")
        ...     keys, [(rows.tolist(), vectors.tolist()) for rows, vectors in blocks]
        (['a', 'b'], [([0, 1], [[1.0, 2.0], [3.0, 4.0]])])
    """
    keys: list[str] = []
    places: dict[str, tuple[array, array]] = {}
    ranges: dict[int, Place] = {}
    for row, (key, location) in enumerate(read_list(scp).items()):
        place = Place.of(location)
        keys.append(key)
        numbers = places.setdefault(place.path, (array("q"), array("q")))
        for column, number in zip(numbers, (row, place.offset), strict=True):
            column.append(number)
        if place.range:
            ranges[row] = place
    return keys, _blocks(keys, places, ranges)


def _blocks(
    keys: list[str], places: dict[str, tuple[array, array]], ranges: dict[int, Place]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    columns = None
    for path, (rows, offsets) in places.items():
        if file_size(path) == 0:
            raise _cut_short(path, offsets[0], offsets[0] + _VECTOR_HEADER.size)
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as ark:
            for first in range(0, len(rows), _VECTORS_AT_A_TIME):
                part = slice(first, first + _VECTORS_AT_A_TIME)
                vectors = []
                for row, offset in zip(rows[part], offsets[part], strict=True):
                    vector = _vector_at(ark, path, offset, keys[row])
                    if row in ranges:
                        vector = vector[ranges[row].cut(len(vector))[0]]
                    columns = columns or len(vector)
                    if len(vector) != columns:
                        raise DataError(
                            f"{path}:{offset}: '{keys[row]}' has {len(vector)} values, earlier vectors {columns}"
                        )
                    vectors.append(vector)
                yield np.array(rows[part]), np.array(vectors)
                # Pages of the mapping that have been read would count as memory of this process.
                ark.madvise(mmap.MADV_DONTNEED)


def _vector_at(ark: mmap.mmap, path: str, offset: int, key: str) -> np.ndarray:
    name = f"{path}:{offset}: '{key}'"
    head = ark[offset : offset + _VECTOR_HEADER.size]
    if head.lstrip().startswith(b"["):
        vector = read_text_object(name, lambda first, count: ark[offset + first : offset + first + count])
        if vector.ndim != 1:
            raise DataError(f"{name}: a matrix in a text ark, expected a vector")
        return vector
    if offset + _VECTOR_HEADER.size > len(ark):
        raise _cut_short(path, offset, offset + _VECTOR_HEADER.size)
    flag, kind, size_of_int, size = _VECTOR_HEADER.unpack_from(ark, offset)
    if flag != b"\0B" or kind not in (b"FV ", b"DV ") or size_of_int != b"\4" or size <= 0:
        raise other_form(f"{path}:{offset}") or DataError(f"{name}: no Kaldi vector at this offset")
    dtype = np.dtype("<f4" if kind == b"FV " else "<f8")
    end = offset + _VECTOR_HEADER.size + size * dtype.itemsize
    if end > len(ark):
        raise _cut_short(path, offset, end)
    # A copy: the file cannot be closed while an array refers to it.
    return np.frombuffer(ark, dtype, size, offset + _VECTOR_HEADER.size).astype(np.float32)
