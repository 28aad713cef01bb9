"""Loading of batches in worker processes; their number does not affect the batches."""

import errno
import signal
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from avsv.data.batch import Batch
from avsv.data.clips import Clips
from avsv.errors import DataError


def load_batches(clips: Clips, items: Iterable[Any], num_workers: int, pin_memory: bool) -> Iterator[Batch]:
    """Iterate over the batches ``clips[item]``, in order.

    Args:
        clips: training clips or whole utterances.
        items: the items to load.
        num_workers: loader processes; 0 loads in this process. They are forked, so they share the memory of the lists.
        pin_memory: put batches into page-locked memory, for a GPU.

    Workers put batches into shared memory (``/dev/shm``, 64 MB in a Docker container). A batch that does not fit is
    sent through a pipe; if there is no shared memory at all, batches are loaded in this process. Both give a warning.

    Raises:
        DataError: loading a batch raised it.
        RuntimeError: a worker was killed, see :func:`avsv.bin.command.run_command`.
    """
    has_warned = False
    for batch in _iterator(clips, items, num_workers, pin_memory):
        if isinstance(batch, DataError):
            raise batch
        if isinstance(batch, _Sent):
            if not has_warned:
                has_warned = True
                warnings.warn(
                    f"loader processes send batches through pipes, which is slower: {_TOO_SMALL}", stacklevel=2
                )
            batch = batch.unpack(pin_memory)
        yield batch


_TOO_SMALL = "/dev/shm is too small: with Docker, use --shm-size=1g"


def _iterator(clips: Clips, items: Iterable[Any], num_workers: int, pin_memory: bool) -> Iterator[Any]:
    def start(workers: int) -> Iterator[Any]:
        loader = DataLoader(
            clips,
            batch_size=None,
            sampler=items,
            num_workers=workers,
            pin_memory=pin_memory,
            collate_fn=_share if workers else _as_is,
            worker_init_fn=_start_worker,
            multiprocessing_context="fork" if workers else None,
        )
        return iter(loader)

    try:
        return start(num_workers)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.EROFS):
            raise
        # Not even the queues of the workers fit.
        warnings.warn(f"batches are loaded without loader processes: {error.strerror}: {_TOO_SMALL}", stacklevel=3)
        return start(0)


class _Sent:
    """A batch as arrays, which are sent through a pipe; tensors would need shared memory.

    Args:
        batch: of tensors.
    """

    def __init__(self, batch: Batch) -> None:
        self._arrays = batch.map_tensors(Tensor.numpy)

    def unpack(self, pin_memory: bool) -> Batch:
        """The batch of tensors."""
        batch = self._arrays.map_tensors(torch.from_numpy)
        return batch.pin_memory() if pin_memory else batch


def _share(batch: Batch | DataError) -> "Batch | DataError | _Sent":
    """In a worker: put a batch into shared memory where there is room.

    The queue would do so in a thread of its own, where a failure is only printed and the batch is waited for forever.
    """
    if isinstance(batch, DataError):
        return batch
    try:
        return batch.map_tensors(Tensor.share_memory_)
    except RuntimeError:
        return _Sent(batch)


def _as_is(batch: Batch | DataError) -> Batch | DataError:
    return batch


def _start_worker(_number: int) -> None:
    torch.set_num_threads(1)
    if get_worker_info().dataset.inputs.video is not None:
        import cv2

        # OpenCV's thread pool does not survive a fork.
        cv2.setNumThreads(0)
    # Workers ignore a signal to the whole process group: the main process still needs their batches, and they end
    # with it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
