"""The accuracy of a system on clips of the training speakers that it is not trained on."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from avsv.config.sections import DataConfig
from avsv.data.clips import TrainingClips
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.data.loading import load_batches
from avsv.model.trainable import TrainableSystem
from avsv.seeding import generator_for
from avsv.train.distributed import Ranks


def held_out_rows(speakers: Sequence[str], share: float, seed: int) -> NDArray[np.int64]:
    """Choose utterances to hold out: round(share n) of the n of each speaker, of whom at least one utterance stays.

    Example:
        >>> [len(held_out_rows(list("aaaaabb"), share, seed=0)) for share in (0.1, 0.3, 0.9)]
        [0, 3, 5]
    """
    if share == 0:
        return np.empty(0, dtype=np.int64)
    numbers = np.unique(list(speakers), return_inverse=True)[1]
    rows = generator_for(seed, "held_out").permutation(len(numbers))
    rows = rows[np.argsort(numbers[rows], kind="stable")]
    chosen = np.split(rows, np.flatnonzero(np.diff(numbers[rows])) + 1)
    return np.sort(np.concatenate([own[: min(round(share * len(own)), len(own) - 1)] for own in chosen]))


class HeldOut:
    """Clips that are not trained on: one window of each, always the same, without augmentation.

    Args:
        table: their utterances, with the stored audio that the inputs name.
        labels: (N,) class of each utterance.
        config: options of the training clips, of which the length of the window and the face frames are used.
        inputs: the form of the stored data and of the inputs of the networks.
        seed: base seed.
        batch_size: clips that are classified at a time.
    """

    def __init__(
        self, table: UtteranceTable, labels: np.ndarray, config: DataConfig, inputs: Inputs, seed: int, batch_size: int
    ) -> None:
        plain = DataConfig(config.window, config.video_frames, False, None, False)
        self.clips = TrainingClips(table, labels, plain, inputs, seed)
        self.items = [
            [(0, row) for row in range(begin, min(begin + batch_size, len(table)))]
            for begin in range(0, len(table), batch_size)
        ]

    def accuracy(self, system: TrainableSystem, ranks: Ranks) -> float:
        """The share of the clips whose identity is recognized, without margin; the same in every process.

        The batches are distributed over the processes. It leaves the system in evaluation mode.
        """
        system.eval()
        right = 0.0
        with torch.inference_mode():
            for batch in load_batches(self.clips, self.items[ranks.rank :: ranks.world], 0, False):
                right += len(batch) * float(system.accuracy(batch.prepare(ranks.device)))
        return sum(ranks.gather(right)) / len(self.clips)
