"""What a command printed, used again as long as nothing that it depends on has changed."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from avsv.io.atomic import write_text


class Remembered:
    """The output of a command in a file, with the state of all files that it read and wrote.

    Args:
        path: the file.
        arguments: those of the command.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = Path(folder, "source")
        ...     _ = source.write_text("a")
        ...     remembered = Remembered(Path(folder, "out"), ["--fast"])
        ...     remembered.store("done", [source])
        ...     found = remembered.recall()
        ...     _ = source.write_text("bc")
        ...     found, remembered.recall(), Remembered(Path(folder, "out"), []).recall()
        ('done', None, None)
    """

    def __init__(self, path: Path, arguments: Sequence[str]) -> None:
        self._path = path
        # Relative names mean something else in another folder.
        self._call = [str(Path.cwd()), *arguments]

    def recall(self) -> Any:
        """What was stored; None if there is nothing, or a file has changed."""
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            files = stored["files"]
            if stored["call"] == self._call and all(_state(Path(name)) == state for name, state in files.items()):
                return stored["output"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            # Nothing is stored, or by another version: the command runs.
            pass
        return None

    def store(self, output: Any, files: Iterable[Path]) -> None:
        """Store an output, which JSON can hold, and the state of the files and folders that it depends on."""
        states = {str(file): _state(file) for file in files}
        write_text(self._path, json.dumps({"call": self._call, "output": output, "files": states}))


def _state(path: Path) -> list[int] | None:
    """Size and time of a file; the time of a folder changes with the names in it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns]


def loaded_sources() -> list[Path]:
    """The source files of all loaded modules that do not belong to Python or an installed package."""
    roots = [str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)]
    files = [
        Path(module.__file__).resolve() for module in list(sys.modules.values()) if getattr(module, "__file__", None)
    ]
    return [file for file in files if not any(str(file).startswith(f"{root}/") for root in roots)]
