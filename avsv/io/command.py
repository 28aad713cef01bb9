"""The output of a ``command |`` in a list: run by bash within limits, unless commands are forbidden."""

import os
import select
import signal
import subprocess
import tempfile
import time

from avsv.errors import DataError

MAX_SECONDS = float(os.environ.get("AVSV_COMMAND_SECONDS", "600"))
"""Seconds that a command may take. From the environment."""
MAX_BYTES = 1 << 30
"""Bytes that a command may write."""


def is_command(location: str) -> bool:
    """Whether an entry of a list is a command instead of a file.

    Example:
        >>> is_command("sox a.sph -t wav - |"), is_command("a.wav")
        (True, False)
    """
    return location.rstrip().endswith("|")


def command_output(location: str) -> bytes:
    """The standard output of a command.

    Args:
        location: ``command |``.

    Raises:
        DataError: commands are forbidden (``AVSV_NO_COMMANDS`` is set); the command is empty, fails, writes nothing,
            takes longer than :data:`MAX_SECONDS` or writes more than :data:`MAX_BYTES`.

    Example:
        >>> command_output("printf text |")
        b'text'
    """
    command = location.rstrip()[:-1].strip()
    if not command:
        raise DataError(f"'{location}': there is no command before the |")
    if os.environ.get("AVSV_NO_COMMANDS"):
        raise DataError(f"{location}: commands in lists are forbidden here: AVSV_NO_COMMANDS is set")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            output = _read_all(process.stdout.fileno(), location)
            # A process that has closed its output may still be running.
            status = process.wait(timeout=MAX_SECONDS)
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{location}: the command did not finish within {MAX_SECONDS:g} s (AVSV_COMMAND_SECONDS)"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdout.close()
        if status != 0:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise DataError(
                f"{location}: the command failed with status {status}: {lines[-1].strip() if lines else 'no message'}"
            )
    if not output:
        raise DataError(f"{location}: the command wrote nothing")
    return output


def _read_all(descriptor: int, location: str) -> bytes:
    """Everything until the writer closes the pipe."""
    deadline = time.monotonic() + MAX_SECONDS
    blocks, size = [], 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise DataError(f"{location}: the command still writes after {MAX_SECONDS:g} s (AVSV_COMMAND_SECONDS)")
        block = os.read(descriptor, 1 << 20)
        if not block:
            return b"".join(blocks)
        blocks.append(block)
        size += len(block)
        if size > MAX_BYTES:
            raise DataError(f"{location}: the command writes more than {MAX_BYTES >> 20} MiB")
