"""Run a program in several processes by torchrun, whose options this takes, and say in a line which of them failed."""

import signal
import socket
import sys

from avsv.bin.command import run_command


def describe(rank: int, code: int) -> str:
    """How a process ended; a negative code is a signal.

    Example:
        >>> describe(1, -9), describe(0, 1)
        ('rank 1 was killed by SIGKILL (out of memory?)', 'rank 0 ended with status 1')
    """
    if code >= 0:
        return f"rank {rank} ended with status {code}"
    cause = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"rank {rank} was killed by {signal.Signals(-code).name}{cause}"


def main() -> int | None:
    """Run; the status of the process that failed first, 128 + the signal's number where one killed it; 1 if stopped."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.run(run.parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        # The others were ended by torchrun, or failed because this one is gone.
        rank, failure = error.get_first_failure()
        how = describe(rank, failure.exitcode)
        print(f"run_ranks: {how} on {socket.gethostname()}: the training ends", file=sys.stderr)
        return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
    except SignalException as stopped:
        print(f"run_ranks: stopped by {stopped.sigval.name} on {socket.gethostname()}", file=sys.stderr)
        # srun ends with the highest status of all nodes: that of the one whose process failed, not of those it stopped.
        return 1
    return None


if __name__ == "__main__":
    run_command(main)
