"""Running the commands of the toolkit and waiting for their effects."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from paths import ROOT

# Recorded at the end of each Python program: its arguments, and whether it has loaded PyTorch.
NOTE = """\
import atexit
import sys


def note():
    with open({file!r}, "a") as file:
        print("torch" in sys.modules, *sys.orig_argv[1:], file=file)


atexit.register(note)
"""


def run(*words: object, cwd: Path = ROOT, timeout: float = 600, **options) -> subprocess.CompletedProcess[str]:
    """Run a command in the root of the toolkit, or in ``cwd``; its output is captured as text."""
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=timeout, **options)


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition to become true; raise AssertionError if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def modified(folder: Path, pattern: str = "*") -> dict[Path, int]:
    """The modification time of each file in a folder, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob(pattern) if path.is_file()}


class PythonPrograms:
    """Lists the Python programs that commands start in :attr:`environment`.

    Args:
        folder: empty folder for the records.
    """

    def __init__(self, folder: Path) -> None:
        self._record = folder / "programs"
        (folder / "sitecustomize.py").write_text(NOTE.format(file=str(self._record)))
        self.environment: Mapping[str, str] = {
            **os.environ,
            "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        }

    def _lines(self) -> list[str]:
        return self._record.read_text().splitlines() if self._record.exists() else []

    def started(self) -> list[str]:
        """The arguments of every program that has ended."""
        return [line.partition(" ")[2] for line in self._lines()]

    def with_torch(self) -> list[str]:
        """The arguments of the programs that have loaded PyTorch."""
        return [line.partition(" ")[2] for line in self._lines() if line.startswith("True ")]
