"""Communication between training processes with torch.distributed, with the same interface for a single process."""

import ctypes
import datetime
import os
import signal
import time
from typing import Any

import torch
from torch import distributed

from avsv.errors import DataError

# A rank that has waited this long for another one gives up, since the other died or hangs.
PATIENCE = datetime.timedelta(minutes=10)
# Seconds between the last exchange and the end of the process group.
SETTLING = 0.2
PR_SET_PDEATHSIG = 1


class Ranks:
    """This process among the processes of one training.

    With ``torchrun``, the processes communicate over NCCL (GPUs) or Gloo (CPU); otherwise there is only this process,
    and every exchange is the identity. As a context manager, it ends the process group on exit.

    Args:
        use_gpu: train on GPUs, one per process.

    Raises:
        DataError: the GPU of this process is not visible.

    Example:
        >>> with Ranks(use_gpu=False) as ranks:
        ...     ranks.world, ranks.any(False, True), ranks.gather("a")
        (1, [False, True], ['a'])
    """

    def __init__(self, use_gpu: bool) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = torch.device("cpu")
        if use_gpu:
            local_rank = int(os.environ.get("LOCAL_RANK", "0"))
            if local_rank >= torch.cuda.device_count():
                raise DataError(
                    f"process {self.rank} needs GPU {local_rank}, but {torch.cuda.device_count()} are visible:"
                    " lower --ngpu (0 trains on the CPU)"
                )
            self.device = torch.device("cuda", local_rank)
            torch.cuda.set_device(self.device)
        if self.world > 1:
            # A killed torchrun does not end its processes: they would continue to train while new ones are started.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            distributed.init_process_group("nccl" if use_gpu else "gloo", timeout=PATIENCE)

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, kind, error, trace) -> None:
        # After an error the other processes may be blocked in an exchange, and an orderly end would wait for them.
        if self.world > 1 and error is None:
            distributed.barrier()
            # Gloo's worker thread releases the tensors of the last exchange after the exchange, holding the lock of the
            # group and waiting for that of Python; ending the group takes them in the other order and can deadlock.
            time.sleep(SETTLING)
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.world == 1:
            return list(flags)
        tensor = torch.tensor(flags, dtype=torch.int32, device=self.device)
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
        return [bool(flag) for flag in tensor.tolist()]

    def all(self, flag: torch.Tensor) -> torch.Tensor:
        """Whether a flag, a boolean on the device, is set in every process; does not wait for a GPU."""
        if self.world == 1:
            return flag
        number = flag.int()
        distributed.all_reduce(number, op=distributed.ReduceOp.MIN)
        return number.bool()

    def gather(self, item: Any) -> list[Any]:
        """The items of all processes, in the order of ranks."""
        if self.world == 1:
            return [item]
        items: list[Any] = [None] * self.world
        distributed.all_gather_object(items, item)
        return items

    def copy_from_first(self, tensors: list[torch.Tensor]) -> None:
        """Overwrite ``tensors`` with those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)
