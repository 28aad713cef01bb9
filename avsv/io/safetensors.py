"""Named arrays in one file of the format safetensors; imports no torch.

Eight bytes with the length of a header, the header as JSON, then the values of all arrays, one after the other. Reading
such a file runs no code, and other toolkits read it too. Source: https://github.com/huggingface/safetensors.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avsv.errors import DataError
from avsv.io.atomic import atomic_path

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_BFLOAT16 = "BF16"  # the upper half of a 32-bit float, which NumPy lacks: read as float32
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000  # as in the reference implementation


class TensorFile(NamedTuple):
    """The content of a file: arrays by name, and text by key."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def write_tensors(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and text; the file appears complete or not at all, and equal content gives equal bytes.

    Raises:
        ValueError: an array of a type that the format does not have.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(folder + "/x", {"bias": np.array([1, 2], np.int32)}, {"made": "today"})
        ...     content = read_tensors(folder + "/x")
        >>> content.arrays["bias"].tolist(), content.metadata
        ([1, 2], {'made': 'today'})
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    parts, position = [], 0
    # The largest items first, so that each array begins at a multiple of its item's size.
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = np.asarray(arrays[name])
        kind = _NAMES.get(array.dtype.newbyteorder("<"))
        if kind is None:
            raise ValueError(f"{name}: the format safetensors has no type for arrays of {array.dtype}")
        # ascontiguousarray would give a single number a dimension.
        part = array.astype(_DTYPES[kind], copy=False).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [position, position + len(part)]}
        parts.append(part)
        position += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_LENGTH.pack(len(text)) + text)
        file.writelines(parts)


def read_tensors(path: str | Path) -> TensorFile:
    """Read a whole file; 16-bit "brain" floats become float32.

    Raises:
        DataError: no such file, another format, a file that is cut short or damaged.
    """
    path = Path(path)
    try:
        content = bytearray(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        header, start = _header(content)
        arrays = {name: _array(content, start, entry) for name, entry in header.items() if name != _METADATA}
        metadata = header.get(_METADATA, {})
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are not a mapping")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not a complete safetensors file: {error}: copy or make it again") from None
    return TensorFile(arrays, {key: str(value) for key, value in metadata.items()})


def _header(content: bytearray) -> tuple[dict[str, Any], int]:
    """The header, and where the values begin."""
    if len(content) < _LENGTH.size:
        raise ValueError(f"it has {len(content)} bytes")
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    if length > _LONGEST_HEADER or start > len(content):
        raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
    header = json.loads(content[_LENGTH.size : start].decode())
    if not isinstance(header, dict):
        raise ValueError("its header is not a mapping")
    return header, start


def _array(content: bytearray, start: int, entry: Mapping[str, Any]) -> np.ndarray:
    """One array; it is writable."""
    kind, shape = entry["dtype"], tuple(entry["shape"])
    dtype = np.dtype("<u2") if kind == _BFLOAT16 else _DTYPES.get(kind)
    first, last = entry["data_offsets"]
    if dtype is None:
        raise ValueError(f"values of type {kind} are not supported")
    count = int(np.prod(shape, dtype=np.int64))
    if first < 0 or last - first != count * dtype.itemsize or start + last > len(content):
        raise ValueError(f"an array of {last - first} bytes at {first} in a file of {len(content)}")
    array = np.frombuffer(content, dtype, count, start + first).reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if kind == _BFLOAT16 else array
