"""Inputs of the fuzz tests: a stream of seeded random numbers, with a limit on the time and memory of each input.

A test takes the fixture ``inputs`` of ``tests/fuzz/conftest.py`` and loops over ``inputs.draw(COUNT)``. Without
``--all`` this gives COUNT inputs, with ``--all`` many more; at the end pytest prints how many there were.
"""

import random
import signal
from collections.abc import Iterator
from types import FrameType

SECONDS = 60


class Inputs:
    """Draws inputs.

    Args:
        name: of the test; every test has its own numbers.
        scale: multiplies the number of inputs.
    """

    def __init__(self, name: str, scale: int) -> None:
        self.name, self.scale = name, scale
        self.count = 0
        self.current = ""

    def draw(self, count: int) -> Iterator[random.Random]:
        """Random numbers for each of ``count`` inputs, times the scale; each must be dealt with in SECONDS."""
        previous = signal.signal(signal.SIGALRM, self._too_long)
        try:
            for number in range(count * self.scale):
                self.current = f"{self.name} {number}"
                signal.alarm(SECONDS)
                yield random.Random(self.current)
                self.count += 1
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)

    def _too_long(self, _number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"input '{self.current}' takes more than {SECONDS} s")
