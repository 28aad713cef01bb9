"""Run a program in several processes with torchrun, accepting its options; print one line if a process fails."""

import signal
import socket
import sys

from avsv.bin.command import run_command


def describe(rank: int, code: int) -> str:
    """Describe how a process ended; a negative code is a signal.

    Example:
        >>> describe(1, -9), describe(0, 1)
        ('rank 1 was killed by SIGKILL (out of memory?)', 'rank 0 ended with status 1')
    """
    if code >= 0:
        return f"rank {rank} ended with status {code}"
    cause = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"rank {rank} was killed by {signal.Signals(-code).name}{cause}"


def main() -> int | None:
    """Run; return the status of the first failed process, 128 + the signal that killed it, or 1 if stopped."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.run(run.parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        # The others were ended by torchrun, or failed because this one has ended.
        rank, failure = error.get_first_failure()
        how = describe(rank, failure.exitcode)
        print(f"run_ranks: {how} on {socket.gethostname()}: the training ends", file=sys.stderr)
        return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
    except SignalException as stopped:
        print(f"run_ranks: stopped by {stopped.sigval.name} on {socket.gethostname()}", file=sys.stderr)
        # srun exits with the highest status of all nodes, which is that of the failed process, not of those it stopped.
        return 1
    return None


if __name__ == "__main__":
    run_command(main)
