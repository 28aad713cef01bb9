"""Which utterances make which batch: a function of seed and epoch alone."""

from collections.abc import Iterator

import numpy as np

from avsv.errors import DataError
from avsv.seeding import generator_for


class BatchSampler:
    """Batches of a whole training, epoch after epoch.

    An epoch is a permutation drawn from (seed, epoch), cut into global batches. With several ranks each takes every
    ``world``-th item of a global batch, so a batch is the same whatever the number of ranks. Items that do not fill a
    last batch are left out of the epoch (the next permutation leaves out others); a set smaller than a batch is one
    smaller batch.

    Args:
        size: number of utterances N.
        batch_size: clips in a global batch, over all ranks.
        epochs: number of epochs.
        seed: base seed.
        rank: this process.
        world: number of processes.

    Raises:
        DataError: the batch size is no multiple of ``world``, or there are fewer utterances than processes.

    Example:
        >>> sampler = BatchSampler(size=7, batch_size=3, epochs=2, seed=0)
        >>> sampler.batches_per_epoch, [len(batch) for batch in sampler]
        (2, [3, 3, 3, 3])
        >>> sampler.start(epoch=1, batch=1)
        >>> [[epoch for epoch, _ in batch] for batch in sampler]
        [[1, 1, 1]]
    """

    def __init__(self, size: int, batch_size: int, epochs: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch_size % world:
            raise DataError(
                f"train.batch_size: {batch_size} is no multiple of the {world} processes: change one of them"
            )
        if size < world:
            raise DataError(f"{size} training utterances are too few for {world} processes: use fewer")
        self.size, self.epochs, self.seed, self.rank, self.world = size, epochs, seed, rank, world
        self.batch_size = min(batch_size, size // world * world)
        self.batches_per_epoch = size // self.batch_size
        self._position = (0, 0)

    def start(self, epoch: int, batch: int) -> None:
        """Let iteration begin at a batch of an epoch, both counted from 0."""
        self._position = (epoch, batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """This rank's share of each batch, as (epoch, index of the utterance)."""
        first_epoch, first_batch = self._position
        for epoch in range(first_epoch, self.epochs):
            order = generator_for(self.seed, "order", epoch).permutation(self.size)
            for number in range(first_batch if epoch == first_epoch else 0, self.batches_per_epoch):
                batch: np.ndarray = order[number * self.batch_size : (number + 1) * self.batch_size]
                yield [(epoch, int(index)) for index in batch[self.rank :: self.world]]

    def __len__(self) -> int:
        """Batches from the start position to the end of the training."""
        epoch, batch = self._position
        return (self.epochs - epoch) * self.batches_per_epoch - batch
