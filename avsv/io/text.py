"""Text files that a person may have written: read completely, with one clear line for whatever is wrong."""

import os
import stat
from pathlib import Path

from avsv.errors import DataError

_UTF16 = "not a text file (UTF-8): starts with a byte-order mark of UTF-16: save it as UTF-8"
_MARKS = {
    b"\xef\xbb\xbf": "starts with a UTF-8 byte-order mark: remove it: sed -i '1s/^\\xEF\\xBB\\xBF//' FILE",
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
}
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def check_regular_file(path: str | Path) -> None:
    """Raise DataError for a path that cannot be read as a file: missing, a folder, a named pipe, a device.

    The pipes of a shell's ``<(command)`` below ``/dev/fd`` are accepted, since their writer is known to exist.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 -- the path may contain a NUL byte, which pathlib does not accept
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{path}: is a folder, not a file")
    if not stat.S_ISREG(mode) and not str(path).startswith(("/dev/fd/", "/proc/self/fd/", "/dev/stdin")):
        raise DataError(f"{path}: is a pipe or a device, not a file")


def cannot_read(path: str | Path, error: Exception) -> DataError:
    """The error for a file that the operating system does not open or read."""
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"{str(path)!r:.300}: cannot be read: {reason}" if "\0" in str(path) else f"{path}: {reason}")


def refuse_mark(path: str | Path, start: bytes) -> None:
    """Raise DataError if a file starts with a byte-order mark.

    Example:
        >>> refuse_mark("list", "\ufeffid1".encode())
        Traceback (most recent call last):
        avsv.errors.DataError: list: starts with a UTF-8 byte-order mark: remove it: sed -i '1s/^\\xEF\\xBB\\xBF//' list
    """
    for mark, what in _MARKS.items():
        if start.startswith(mark):
            raise DataError(f"{path}: {what.replace('FILE', str(path))}")


def is_ascii(path: str | Path) -> bool:
    """Whether a file has only ASCII characters."""
    with Path(path).open("rb") as file:
        return all(block.isascii() for block in iter(lambda: file.read(1 << 20), b""))


def not_text(path: str | Path) -> DataError:
    """The error for a file that is not UTF-8, with the line where there is a file to read again."""
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return DataError(f"{path}:{number}: not a text file (UTF-8): save it as UTF-8")
    return DataError(f"{path}: not a text file (UTF-8): save it as UTF-8")


def read_text(path: str | Path, limit: int = 1 << 20) -> str:
    """The text of a file (UTF-8).

    Args:
        path: file to read.
        limit: largest size in bytes.

    Raises:
        DataError: no such file, a folder or pipe, no permission, larger than ``limit``, a byte-order mark, a Git LFS
            pointer in place of the file, or not UTF-8 text (names the line).

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w") as file:
        ...     _ = file.write("epochs: 3\\n")
        ...     file.flush()
        ...     read_text(file.name)
        'epochs: 3\\n'
    """
    check_regular_file(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise cannot_read(path, error) from None
    if len(content) > limit:
        raise DataError(f"{path}: larger than {limit} bytes: not the expected file")
    refuse_mark(path, content)
    if content.startswith(_LFS_POINTER):
        raise DataError(
            f"{path}: is a Git LFS pointer instead of the file itself: run 'git lfs pull' in its repository"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not a text file (UTF-8): {error.reason}") from None
    if "\0" in text:
        raise DataError(f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}: not a text file: contains a NUL byte")
    return text
