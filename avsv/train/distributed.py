"""One process or several: what the training loop needs of torch.distributed, the same for both."""

import ctypes
import datetime
import os
import signal
import time
from typing import Any

import torch
from torch import distributed

from avsv.errors import DataError

# A rank that waits this long for another gives up: the other died or hangs.
PATIENCE = datetime.timedelta(minutes=10)
# Seconds between the last exchange and the end of the process group.
SETTLING = 0.2
PR_SET_PDEATHSIG = 1


class Ranks:
    """This process among those of one training.

    Under ``torchrun`` the processes join over NCCL (GPUs) or Gloo (CPU); otherwise there is this one only, and every
    exchange is the identity. A context manager: leaving it ends the process group.

    Args:
        use_gpu: train on GPUs, one per process.

    Raises:
        DataError: a GPU is asked for that this process does not see.

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
                    f"process {self.rank} wants GPU {local_rank}, but {torch.cuda.device_count()} are visible:"
                    " lower --ngpu (0 trains on the CPU)"
                )
            self.device = torch.device("cuda", local_rank)
            torch.cuda.set_device(self.device)
        if self.world > 1:
            # torchrun that is killed ends nobody: without it the processes would train on, beside those that follow.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            distributed.init_process_group("nccl" if use_gpu else "gloo", timeout=PATIENCE)

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, kind, error, trace) -> None:
        # After an error the others may be stuck in an exchange, and an orderly end would wait for them.
        if self.world > 1 and error is None:
            distributed.barrier()
            # Gloo's worker thread drops the tensors of the last exchange after the exchange, with the group's lock in
            # hand and waiting for Python's; the end of the group takes the two in the other order and may deadlock.
            time.sleep(SETTLING)
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """True for the one process that writes files."""
        return self.rank == 0

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.world == 1:
            return list(flags)
        tensor = torch.tensor(flags, dtype=torch.int32, device=self.device)
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
        return [bool(flag) for flag in tensor.tolist()]

    def gather(self, item: Any) -> list[Any]:
        """Every process's item, in the order of ranks."""
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
