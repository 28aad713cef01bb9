"""Loading of batches in worker processes; their number does not affect the batches."""

import signal
from collections.abc import Iterable, Iterator
from typing import Any

import torch
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

    Raises:
        DataError: loading a batch raised it.
    """
    loader = DataLoader(
        clips,
        batch_size=None,
        sampler=items,
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=_as_is,
        worker_init_fn=_start_worker,
        multiprocessing_context="fork" if num_workers else None,
    )
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        yield batch


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
