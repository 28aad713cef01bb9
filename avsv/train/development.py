"""The equal error rate of a system on development trials during training."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsv.data.clips import WholeUtterances, whole_audio_list
from avsv.data.inputs import Inputs
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.embed.extract import embed_batches
from avsv.errors import DataError
from avsv.model.config import SystemConfig
from avsv.model.embedder import Embedder
from avsv.scoring.members import Embeddings
from avsv.scoring.metrics import eer
from avsv.scoring.trials import TrialList, read_trial_set, with_labels
from avsv.train.distributed import Ranks


@dataclass
class _TrialList:
    """Trials, given as rows of the sides of the development trials."""

    enroll: np.ndarray
    test: np.ndarray
    is_target: np.ndarray


class Development:
    """Development trials and the whole utterances that they need.

    Args:
        directory: data directory with lists in ``trials/``.
        config: configuration of the system: its modalities and options for embedding.
        inputs: the form of the stored data and of the inputs of the networks.
        warn: called with the number of trials that cannot be used.

    Raises:
        DataError: as :func:`avsv.scoring.trials.read_trial_set`, or a list has no usable target or non-target trials.
    """

    def __init__(
        self,
        directory: str | Path,
        config: SystemConfig,
        inputs: Inputs,
        warn: Callable[[str], None],
    ) -> None:
        directory = Path(directory)
        self.mode = config.modalities[0]
        self.trials = with_labels(read_trial_set(directory), directory)
        members = self.trials.members
        audio_list = whole_audio_list(config.embed, inputs)
        table = read_utterances(directory, audio_list, inputs.video is not None, only=set(members.utterances))
        usable = np.ones(len(table), dtype=bool)
        if "A" in self.mode:
            usable &= table.audio_frames > 0
        if "V" in self.mode:
            usable &= table.video_frames > 0
        self.usable = {key for row, key in enumerate(table.keys) if usable[row]}
        there = members.mean(np.array([1.0 if key in self.usable else np.nan for key in members.utterances])) == 1
        self.lists = [_usable(trials, there, warn) for trials in self.trials.lists]
        self.clips = WholeUtterances(table, np.full(len(table), -1, dtype=np.int32), config.embed, inputs)

    def eer(self, embedder: Embedder, ranks: Ranks) -> float:
        """The mean equal error rate of cosine scores over the trial lists, in [0, 1]; the same in every process.

        The batches are distributed over the processes.
        """
        numbers = range(ranks.rank, len(self.clips), ranks.world)
        mine = load_batches(self.clips, numbers, 0, False)
        vectors = {}
        for embedded in embed_batches(embedder, mine, [self.mode], ranks.device):
            for keys, matrix in embedded.values():
                vectors.update(zip(keys, matrix, strict=True))
        for others in ranks.gather(vectors):
            vectors.update(others)
        keys = self.trials.members.utterances
        present = np.array([key in self.usable for key in keys])
        matrix = np.zeros((len(keys), len(next(iter(vectors.values())))), dtype=np.float32)
        for row in np.flatnonzero(present):
            vector = vectors[keys[row]]
            matrix[row] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        sides = self.trials.pool(Embeddings(matrix, present)).matrix
        return float(np.mean([self._score(sides, trials) for trials in self.lists]))

    @staticmethod
    def _score(matrix: np.ndarray, trials: _TrialList) -> float:
        scores = np.concatenate(
            [
                np.einsum(
                    "nd,nd->n", matrix[trials.enroll[start : start + 65536]], matrix[trials.test[start : start + 65536]]
                )
                for start in range(0, len(trials.enroll), 65536)
            ]
        )
        return eer(scores, trials.is_target)


def _usable(trials: TrialList, there: np.ndarray, warn: Callable[[str], None]) -> _TrialList:
    """The trials of a list whose sides are ``there``."""
    usable = there[trials.enroll] & there[trials.test]
    if not usable.all():
        warn(f"{trials.path}: {int((~usable).sum())} of {len(usable)} trials lack a modality and are not scored")
    is_target = trials.trials.is_target[usable]
    if is_target.all() or not is_target.any():
        raise DataError(f"{trials.path}: needs target and nontarget trials whose utterances have all modalities")
    return _TrialList(trials.enroll[usable], trials.test[usable], is_target)
