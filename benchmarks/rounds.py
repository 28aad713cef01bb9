"""Rounds of several trainings in turns, so that whatever else the machine does meets all of them alike.

Each training runs in a process of its own, with all its loader processes in one session. It works only during its own
rounds: in between the whole session is stopped, so that no loader process prepares batches while another training is
measured.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Round(NamedTuple):
    """Seconds of a round by the clock, of all processors, and during which the steps waited for a batch."""

    wall: float
    busy: float
    waited: float


class Batches:
    """In a training process: hands on batches, and stops before and after each round until it is told to go on.

    The results go to standard output, which the training itself cannot write to: it prints to standard error instead.

    Args:
        steps: batches of a round.
        warm: batches before the first round.
    """

    def __init__(self, steps: int, warm: int = 2) -> None:
        self._steps, self._warm = steps, warm
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same batches."""
        waited, left = 0.0, self._warm
        iterator = iter(batches)
        while True:
            if left == 0:
                print(waited, file=self._out, flush=True)
                if not sys.stdin.readline():
                    sys.exit("the benchmark has ended")
                waited, left = 0.0, self._steps
            start = time.perf_counter()
            batch = next(iterator)
            waited += time.perf_counter() - start
            left -= 1
            yield batch


class Training:
    """A training in a process that uses :class:`Batches`; stopped unless it works at a round.

    Args:
        name: its name in tables.
        command: the command that starts it.
        environment: additional environment variables.
        log: file for its output.
    """

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self._log = name, log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **environment},
                text=True,
                start_new_session=True,
            )
        try:
            self._end_of_round()
        except BaseException:  # also when the benchmark itself is ended: nobody else knows this process yet
            self.end()
            raise
        self.stop()

    def _end_of_round(self) -> float:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            sys.exit(f"{self.name} failed:\n{self._log.read_text()[-3000:]}")
        return float(line)

    def round(self) -> Round:
        """Let it work at a round."""
        os.killpg(self._process.pid, signal.SIGCONT)
        start, busy = time.perf_counter(), self._busy()
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        waited = self._end_of_round()
        result = Round(time.perf_counter() - start, self._busy() - busy, waited)
        self.stop()
        return result

    def stop(self) -> None:
        """Stop it until the next round."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def _members(self) -> Iterator[tuple[Path, list[str]]]:
        """The folders in /proc of the processes of its session, and the fields of their ``stat`` from the third on."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # has ended
            if int(fields[3]) == self._process.pid:
                yield path, fields

    def _busy(self) -> float:
        """Seconds of all processors, of its processes and of those that they have waited for."""
        return sum(sum(map(int, fields[11:15])) for _, fields in self._members()) / TICKS

    def mebibytes(self) -> float:
        """The sum of the largest resident sizes of its processes; memory that they share is counted in each."""
        sizes = [
            int(line.split()[1])
            for path, _ in self._members()
            for line in (path / "status").read_text().splitlines()
            if line.startswith("VmHWM:")
        ]
        return sum(sizes) / 1024

    def end(self) -> None:
        """End all its processes."""
        with contextlib.suppress(ProcessLookupError):  # has ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this program in order; they do not reach its trainings, which have own sessions."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


def in_turns(trainings: list[Training], rounds: int) -> dict[str, list[Round]]:
    """The rounds of every training, by name."""
    found: dict[str, list[Round]] = {training.name: [] for training in trainings}
    for _ in range(rounds):
        for training in trainings:
            found[training.name].append(training.round())
    return found
