"""Fixtures that several test files share, and the order of the files."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import run_to_end

# The files that take longest start first, so that no process is alone with one of them at the end.
LONGEST = (
    "tests/test_recipe.py",
    "tests/utils/test_slurm.py",
    "tests/steps/test_scoring_steps.py",
    "tests/local/test_builtin_corpus.py",
    "tests/model/test_systems.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; pytest-xdist distributes files in this order."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


@dataclass(frozen=True)
class RecipeRun:
    """A finished ``./run.sh --preset tiny``: its folders, command and log."""

    command: list[str]
    data: Path
    work: Path
    log: Path

    @property
    def results(self) -> Path:
        return self.work / "results" / "results.csv"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> RecipeRun:
    """The whole recipe with the smallest networks, one job at a time, in folders with a space in their path."""
    folder = tmp_path_factory.mktemp("a run")
    command = ["./run.sh", "--preset", "tiny", "--nj", "1", "--num-workers", "0"]
    command += ["--data", str(folder / "data"), "--exp", str(folder / "exp")]
    run_to_end(command, folder / "run.log")
    return RecipeRun(command, folder / "data", folder / "exp" / "tiny", folder / "run.log")
