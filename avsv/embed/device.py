"""The device on which one of several jobs computes."""

import torch

from avsv.errors import DataError


def job_device(job: int, use_gpu: bool) -> torch.device:
    """The device of a job: the GPUs in turn, or the CPU with one thread.

    On the CPU, several jobs run at once, and the number of threads would change the last bits of sums.

    Args:
        job: counted from 1.
        use_gpu: compute on a GPU.

    Raises:
        DataError: there is no GPU.
    """
    if not use_gpu:
        torch.set_num_threads(1)
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DataError("no GPU is visible: use --ngpu 0")
    return torch.device("cuda", (job - 1) % torch.cuda.device_count())
