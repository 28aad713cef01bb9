"""Positioned reads from many files, of which few are open at a time."""

import functools
import os
import stat

from avsv.errors import DataError
from avsv.io.text import cannot_read

MAX_OPEN = 64


class _OpenFile:
    """A read-only file descriptor that is closed with its last reference, so that no thread reads a closed one."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


@functools.lru_cache(maxsize=MAX_OPEN)
def _open(path: str, device: int, inode: int, modified: int) -> _OpenFile:
    # Device and inode are part of the key: a file that was replaced under the same name is opened again.
    return _OpenFile(path)


def file_size(path: str) -> int:
    """The size of a file in bytes. Raises DataError if there is no such file."""
    return _stat(path).st_size


def _stat(path: str) -> os.stat_result:
    try:
        status = os.stat(path)  # noqa: PTH116 -- pathlib costs more than the read
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: not a file")
    return status


def read_into(path: str, offset: int, buffer: memoryview) -> int:
    """Fill ``buffer`` from ``offset`` of a file and return the number of bytes read.

    Positioned reads do not use the shared file offset, so forked workers and threads can use the same descriptors.

    Raises:
        DataError: no such file, or no permission to read it.
    """
    status = _stat(path)
    try:
        file = _open(path, status.st_dev, status.st_ino, status.st_mtime_ns)
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    done = 0
    while done < len(buffer):
        count = os.preadv(file.descriptor, [buffer[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def read_at(path: str, offset: int, count: int) -> bytes:
    """At most ``count`` bytes from ``offset`` of a file; fewer only at its end. Raises DataError: no such file."""
    buffer = bytearray(count)
    done = read_into(path, offset, memoryview(buffer))
    return bytes(buffer[:done])
