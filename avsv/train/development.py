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
from avsv.io.lists import Trials, read_list, read_trials, trial_lists
from avsv.model.config import SystemConfig
from avsv.model.embedder import Embedder
from avsv.scoring.metrics import eer
from avsv.train.distributed import Ranks


@dataclass
class _TrialList:
    """Trials, given as rows of the development utterances."""

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
        DataError: a trial contains an unknown utterance, or a list has no usable target or non-target trials.
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
        lists = {path: read_trials(path) for path in trial_lists(directory)}
        known = read_list(directory / "utt2spk", fields=2)
        for path, trials in lists.items():
            _check_ids(path, trials, known, directory)
        wanted = {key for trials in lists.values() for column in trials[:2] for key in np.unique(column).tolist()}
        audio_list = whole_audio_list(config.embed, inputs)
        table = read_utterances(directory, audio_list, inputs.video is not None, only=wanted)
        usable = np.ones(len(table), dtype=bool)
        if "A" in self.mode:
            usable &= table.audio_frames > 0
        if "V" in self.mode:
            usable &= table.video_frames > 0
        rows = {key: row for row, key in enumerate(table.keys) if usable[row]}
        self.lists = [_index(path, trials, rows, warn) for path, trials in lists.items()]
        self.rows = rows
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
        matrix = np.zeros((len(self.clips.table), len(next(iter(vectors.values())))), dtype=np.float32)
        for key, row in self.rows.items():
            matrix[row] = vectors[key] / max(float(np.linalg.norm(vectors[key])), 1e-12)
        return float(np.mean([self._score(matrix, trials) for trials in self.lists]))

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


def _check_ids(path: Path, trials: Trials, known: dict[str, str], directory: Path) -> None:
    for column in (trials.enroll, trials.test):
        for key in np.unique(column).tolist():
            if key not in known:
                line = int(np.flatnonzero(column == key)[0]) + 1
                raise DataError(
                    f"{path}:{line}: '{key}' is not in {directory}/utt2spk: remove its trials from the list"
                )


def _index(path: Path, trials: Trials, rows: dict[str, int], warn: Callable[[str], None]) -> _TrialList:
    unique, inverse = np.unique(np.concatenate([trials.enroll, trials.test]), return_inverse=True)
    indices = np.array([rows.get(key, -1) for key in unique.tolist()])[inverse]
    enroll, test = np.split(indices, 2)
    usable = (enroll >= 0) & (test >= 0)
    if not usable.all():
        warn(f"{path}: {int((~usable).sum())} of {len(usable)} trials lack a modality and are not scored")
    is_target = trials.is_target[usable]
    if is_target.all() or not is_target.any():
        raise DataError(f"{path}: needs target and nontarget trials whose utterances have all modalities")
    return _TrialList(enroll[usable], test[usable], is_target)
