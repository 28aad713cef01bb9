"""Signals that end a training between two steps."""

import signal
import threading
from typing import Any


class Interrupted(Exception):
    """Training was told to stop by a signal and has saved a checkpoint; ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; run again to go on")
        self.signal = number


class StopSignals:
    """Within its block SIGTERM and SIGINT only set :attr:`received`, so that a step is never cut in two.

    Example:
        >>> with StopSignals() as stop:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     stop.received == signal.SIGTERM
        True
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def _receive(self, number: int, _frame: Any) -> None:
        self.received = number

    def __enter__(self) -> "StopSignals":
        # Python lets only the main thread set handlers.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
