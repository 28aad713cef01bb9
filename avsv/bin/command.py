"""One-line errors and exit codes of all commands in ``avsv.bin``."""

import argparse
import errno
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from avsv.errors import DataError

# What the system says when a library cannot be mapped into memory.
_NO_MEMORY = ("cannot allocate memory", "failed to map segment", "not enough memory")


def run_command(main: Callable[[], int | None]) -> None:
    """Run ``main`` and exit.

    The status is 0; 1 with one line for bad input or an error of the operating system (no space, no permission, no
    memory, ...); 2 for bad options (argparse); 141 if nobody reads the output any more; 130 after Ctrl-C. Any other
    exception shows a traceback.
    """
    _open_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see guard_imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = main()
        sys.stdout.flush()
    except DataError as error:
        status = _say(str(error))
    except BrokenPipeError:
        # The interpreter would print another error when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        status = _say(_of_system(error))
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        status = _say(f"out of memory{detail}: give the job more memory, or make it smaller")
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        if reason.startswith("DataLoader worker"):
            # PyTorch raises this wherever the program is when the system ends a loader process.
            status = _say(f"{reason.rstrip('. ')}: if memory was short, give the job more or lower --num-workers")
        # The error of PyTorch on a processor; on a GPU it has its own class, with the same beginning.
        elif "can't allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError":
            status = _say(f"out of memory ({reason}): give the job more memory, or make it smaller")
        else:
            raise
    except KeyboardInterrupt:
        status = 130
    sys.exit(status or 0)


def share(text: str) -> float:
    """A share between 0 and 1, as an option of argparse.

    Example:
        >>> share("0.05")
        0.05
    """
    if not 0 <= (value := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share between 0 and 1")
    return value


def rate(text: str) -> float:
    """A false-accept rate, as an option of argparse.

    Example:
        >>> rate("1e-3")
        0.001
    """
    if not 0 < (value := _number(text)) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': a false-accept rate is between 0 and 1, as in 0.01")
    return value


def _number(text: str) -> float:
    """A number; nan for a text that is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def guard_imports() -> None:
    """Show no traceback where a program is interrupted, or gets no memory or no files, while it loads libraries."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.excepthook = _report_failed_import


def _report_failed_import(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    reason = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in reason.lower() for words in _NO_MEMORY):
        _say(f"out of memory while libraries are loaded ({reason}): give the job more memory")
    elif isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN):
        _say(f"{_of_system(error)} while libraries are loaded: raise the limit (ulimit)")
    else:
        sys.__excepthook__(kind, error, trace)


def _open_standard_streams() -> None:
    """Open those that the caller has closed: their numbers would be those of the next files that are opened."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- as long as the program runs


def _say(message: str) -> int:
    """Print one line to standard error, even if names in it contain line breaks."""
    print(f"{Path(sys.argv[0]).stem}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return 1


def _of_system(error: OSError) -> str:
    where = f" while writing {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the device{where}: free some space and run again"
    reason = error.strerror or str(error) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {reason}" if names else reason
