"""Training in several processes on the CPU, forked from the tests so that nothing is imported again."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from ports import free_ports

FORK = multiprocessing.get_context("fork")


def start_ranks(world: int, function: Callable[[int], object]) -> list[BaseProcess]:
    """Start ``function(rank)`` in processes that communicate like those of torchrun."""
    (port,) = free_ports(1)

    def run(rank: int) -> None:
        settings = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in settings.items()}, MASTER_ADDR="127.0.0.1")
        function(rank)

    processes = [FORK.Process(target=run, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    return processes


def join_ranks(processes: list[BaseProcess], seconds: float = 90) -> list[int | None]:
    """Wait for the processes; return their exit codes, None for those that had to be killed."""
    until = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes
