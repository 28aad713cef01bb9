"""Files that appear complete or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def temporary_path(path: str | Path) -> Path:
    """The name under which this process writes ``path`` until it is complete: ``.NAME.tmp.PID`` in the same folder.

    Example:
        >>> temporary_path("data/feats.scp").name == f".feats.scp.tmp.{os.getpid()}"
        True
    """
    path = Path(path)
    return path.with_name(f".{path.name}.tmp.{os.getpid()}")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of ``path``; rename to ``path`` if the block succeeds, remove if it fails.

    Args:
        path: final name; its folder must exist.

    Yields:
        The name to write to.

    Raises:
        OSError: writing failed, for example because no space is left; its file name is ``path``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(folder + "/list") as temporary:
        ...         _ = temporary.write_text("a 1\\n")
        ...     [entry.name for entry in Path(folder).iterdir()]
        ['list']
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        if isinstance(error, OSError) and error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) that appears complete or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
