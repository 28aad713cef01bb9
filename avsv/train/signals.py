"""Signals that stop a training between two steps."""

import signal
import threading
from typing import Any


class Interrupted(Exception):
    """A signal stopped the training, and a checkpoint was saved; ``signal`` is the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; run again to resume")
        self.signal = number


class StopSignals:
    """Within its block, SIGTERM and SIGINT only set :attr:`received`, so that no step is interrupted.

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
        # In Python, only the main thread can set handlers.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
