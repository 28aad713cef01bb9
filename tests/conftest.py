"""Fixtures that several test files share."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from kill_and_resume import run_to_end


@dataclass(frozen=True)
class RecipeRun:
    """A finished ``./run.sh --preset tiny``: its folders, command, log and duration in seconds."""

    command: list[str]
    data: Path
    work: Path
    log: Path
    seconds: float

    @property
    def results(self) -> Path:
        return self.work / "results" / "results.csv"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> RecipeRun:
    """The whole recipe with the smallest networks, one job at a time, in folders with a space in their path."""
    folder = tmp_path_factory.mktemp("a run")
    command = ["./run.sh", "--preset", "tiny", "--nj", "1", "--num-workers", "0"]
    command += ["--data", str(folder / "data"), "--exp", str(folder / "exp")]
    start = time.monotonic()
    run_to_end(command, folder / "run.log")
    return RecipeRun(command, folder / "data", folder / "exp" / "tiny", folder / "run.log", time.monotonic() - start)
