"""Sampling of utterances into batches, which depends only on seed and epoch."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator

import numpy as np

from avsv.errors import DataError
from avsv.seeding import generator_for


class Sampler(ABC):
    """The batches of all epochs of a training, for one of several ranks.

    A subclass draws the global batches of an epoch and selects the share of a rank in a batch.

    Args:
        batch_size: clips in a global batch, summed over all ranks.
        batches_per_epoch: global batches in an epoch.
        epochs: number of epochs.
        seed: base seed.
        rank: rank of this process.
        world: number of processes.
    """

    def __init__(
        self, batch_size: int, batches_per_epoch: int, epochs: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.batch_size, self.batches_per_epoch = batch_size, batches_per_epoch
        self.epochs, self.seed, self.rank, self.world = epochs, seed, rank, world
        self._position = (0, 0)

    @abstractmethod
    def batches(self, epoch: int) -> np.ndarray:
        """The utterances of an epoch's global batches: (batches_per_epoch, batch_size) indices."""

    @abstractmethod
    def share(self, batch: np.ndarray) -> np.ndarray:
        """This rank's part of a global batch."""

    def start(self, epoch: int, batch: int) -> None:
        """Start the iteration at a batch of an epoch, both counted from 0."""
        self._position = (epoch, batch)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        """This rank's share of each batch: (epoch, index of the utterance, number of its earlier occurrences in it)."""
        first_epoch, first_batch = self._position
        for epoch in range(first_epoch, self.epochs):
            for batch in self.batches(epoch)[first_batch if epoch == first_epoch else 0 :]:
                before: Counter[int] = Counter()
                items = []
                for index in self.share(batch).tolist():
                    items.append((epoch, index, before[index]))
                    before[index] += 1
                yield items

    def __len__(self) -> int:
        """The number of batches from the start position to the end of the training."""
        epoch, batch = self._position
        return (self.epochs - epoch) * self.batches_per_epoch - batch


class BatchSampler(Sampler):
    """Batches that contain every utterance at most once per epoch.

    An epoch is a permutation drawn from (seed, epoch), split into global batches. Each of several ranks takes every
    ``world``-th item of a global batch, so batches do not depend on the number of ranks. Items left over after the last
    full batch are dropped from the epoch (the next permutation drops others); a set smaller than a batch forms one
    smaller batch.

    Args:
        size: number of utterances N.
        batch_size: clips in a global batch, over all ranks.
        epochs: number of epochs.
        seed: base seed.
        rank: this process.
        world: number of processes.

    Raises:
        DataError: the batch size is not a multiple of ``world``, or there are fewer utterances than processes.

    Example:
        >>> sampler = BatchSampler(size=7, batch_size=3, epochs=2, seed=0)
        >>> sampler.batches_per_epoch, [len(batch) for batch in sampler]
        (2, [3, 3, 3, 3])
        >>> sampler.start(epoch=1, batch=1)
        >>> [[epoch for epoch, _, _ in batch] for batch in sampler]
        [[1, 1, 1]]
    """

    def __init__(self, size: int, batch_size: int, epochs: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch_size % world:
            raise DataError(
                f"train.batch_size: {batch_size} is not a multiple of the {world} processes: change one of them"
            )
        if size < world:
            raise DataError(f"{size} training utterances are too few for {world} processes: use fewer")
        self.size = size
        batch_size = min(batch_size, size // world * world)
        super().__init__(batch_size, size // batch_size, epochs, seed, rank, world)

    def batches(self, epoch: int) -> np.ndarray:
        """See :meth:`Sampler.batches`."""
        order = generator_for(self.seed, "order", epoch).permutation(self.size)
        return order[: self.batches_per_epoch * self.batch_size].reshape(self.batches_per_epoch, self.batch_size)

    def share(self, batch: np.ndarray) -> np.ndarray:
        """See :meth:`Sampler.share`."""
        return batch[self.rank :: self.world]


class SpeakerBatchSampler(Sampler):
    """N x M batches: N distinct speakers with M utterances each.

    The speakers are shuffled and split into batches repeatedly, until the epoch has as many batches as an epoch with
    every utterance once; speakers that do not fill a batch are omitted from that round. Each time a speaker is used,
    the next M of its shuffled utterances are taken, which are distinct unless it has fewer than M. Each of several
    ranks takes every ``world``-th speaker of a batch.

    Source: Wan et al. 2018 (GE2E), arXiv:1710.10467, section 2.

    Args:
        labels: (N,) speaker of every utterance, counted from 0.
        batch_size: clips in a global batch: speakers times ``per_speaker``.
        per_speaker: number M of utterances per speaker in a batch.
        epochs: number of epochs.
        seed: base seed.
        rank: this process.
        world: number of processes.

    Raises:
        DataError: the batch size is not a multiple of per_speaker * world, or a batch needs more speakers than exist.

    Example:
        >>> sampler = SpeakerBatchSampler(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 4, per_speaker=2, epochs=1, seed=0)
        >>> labels = sampler.labels[sampler.batches(epoch=0)]
        >>> labels.shape, [len(set(batch)) for batch in labels.tolist()]
        ((2, 4), [2, 2])
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        per_speaker: int,
        epochs: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.labels, self.per_speaker = labels, per_speaker
        if batch_size % (per_speaker * world):
            raise DataError(
                f"train.batch_size: {batch_size} is not a multiple of {per_speaker} utterances per speaker"
                f" (data.utterances_per_speaker) times {world} processes: change one of them"
            )
        self.counts = np.bincount(labels)
        self.speakers = batch_size // per_speaker
        if self.speakers > len(self.counts):
            raise DataError(
                f"train.batch_size: {batch_size} clips with {per_speaker} per speaker need {self.speakers} speakers,"
                f" but there are {len(self.counts)}: decrease train.batch_size or increase data.utterances_per_speaker"
            )
        self._order = np.argsort(labels, kind="stable")
        self._first = np.concatenate([[0], np.cumsum(self.counts)])
        super().__init__(batch_size, max(1, len(labels) // batch_size), epochs, seed, rank, world)

    def batches(self, epoch: int) -> np.ndarray:
        """See :meth:`Sampler.batches`; the utterances of a speaker are adjacent."""
        rng = generator_for(self.seed, "order", epoch)
        per_round = len(self.counts) // self.speakers
        rounds = -(-self.batches_per_epoch // per_round)
        chosen = np.concatenate(
            [rng.permutation(len(self.counts))[: per_round * self.speakers] for _ in range(rounds)]
        )[: self.batches_per_epoch * self.speakers]
        # How often each speaker has been used before, in the order of ``chosen``.
        order = np.argsort(chosen, kind="stable")
        turn = np.empty(len(chosen), dtype=np.int64)
        turn[order] = np.arange(len(chosen)) - np.searchsorted(chosen[order], chosen[order])
        # The utterances of each speaker in random order, speaker after speaker.
        shuffled = self._order[np.lexsort((rng.random(len(self.labels)), self.labels[self._order]))]
        steps = turn[:, None] * self.per_speaker + np.arange(self.per_speaker)
        rows = self._first[chosen][:, None] + steps % self.counts[chosen][:, None]
        return shuffled[rows].reshape(self.batches_per_epoch, self.batch_size)

    def share(self, batch: np.ndarray) -> np.ndarray:
        """See :meth:`Sampler.share`."""
        return batch.reshape(self.speakers, self.per_speaker)[self.rank :: self.world].reshape(-1)
