"""Trial lists of a data directory and the embeddings of their sides: utterances, and models made of several."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.ark import read_vector_blocks, read_vectors
from avsv.io.lists import ENROLL, Scores, Trials, read_list, read_models, read_trials, trial_lists
from avsv.scoring.members import Embeddings, Members
from avsv.scoring.modes import assignments


class TrialList(NamedTuple):
    """One list of trials.

    Attributes:
        name: file name, which is also the name of the folder for its scores.
        path: path of the file.
        trials: ids and labels as in the list.
        enroll, test: (N,) rows of both sides in those of the :class:`TrialSet`.
    """

    name: str
    path: Path
    trials: Trials
    enroll: NDArray[np.int64]
    test: NDArray[np.int64]


class TrialSet(NamedTuple):
    """All trial lists of a data directory.

    Attributes:
        name: name of the data directory, which is part of the names of embeddings: ``eval`` in
            ``embeddings/eval.A.scp``.
        sides: ids of the S utterances and models that occur in a trial.
        members: the utterances of each side.
        speakers: (S,) their speakers; of a model with utterances of several speakers, the model itself.
        lists: the lists in the order of their names.
    """

    name: str
    sides: list[str]
    members: Members
    speakers: NDArray[np.str_]
    lists: list[TrialList]

    def labeled(self) -> "TrialSet":
        """The same without the lists that have no labels, which have scores but no error rates."""
        return self._replace(lists=[trials for trials in self.lists if trials.trials.is_target is not None])

    def pool(self, embeddings: Embeddings) -> Embeddings:
        """Embeddings (S, D) of the sides, from those of their utterances."""
        return self.members.pool(embeddings, self.sides)


def read_trial_set(data_dir: str | Path) -> TrialSet:
    """Read and check ``DATA/trials/*`` against ``DATA/utt2spk`` and the models in ``DATA/enroll``, if there are any.

    Raises:
        DataError: there is no list; a list is empty or has a malformed line; a trial contains a side that is neither
            an utterance nor a model (the message names the line of the first and the number of all); the speaker of a
            model in a list with labels is not clear.
    """
    data_dir = Path(data_dir)
    paths = trial_lists(data_dir)
    if not paths:
        raise DataError(f"{data_dir}/trials: no trial list: prepare the data first")
    utt2spk = read_list(data_dir / "utt2spk", fields=2)
    models = read_models(data_dir / ENROLL, utt2spk) if (data_dir / ENROLL).is_file() else {}
    row_of: dict[str, int] = {}
    lists = []
    for path in paths:
        trials = read_trials(path)
        sides = []
        for ids in (trials.enroll.tolist(), trials.test.tolist()):
            for side in dict.fromkeys(ids):
                if side in utt2spk or side in models:
                    row_of.setdefault(side, len(row_of))
            sides.append(np.fromiter((row_of.get(side, -1) for side in ids), np.int64, len(ids)))
        _check_ids(path, trials, *sides, data_dir)
        lists.append(TrialList(path.name, path, trials, *sides))
    names = list(row_of)
    members = Members.of(names, models)
    speakers, one = members.common(np.array([utt2spk[key] for key in members.utterances]))
    for trials in lists:
        if trials.trials.is_target is not None:
            _check_speakers(trials, names, one, data_dir)
    return TrialSet(data_dir.name, names, members, np.where(one, speakers, names), lists)


def _check_speakers(trials: TrialList, names: list[str], one: NDArray[np.bool_], data_dir: Path) -> None:
    """Raise DataError where a model in a list with labels has utterances of several speakers."""
    mixed = ~(one[trials.enroll] & one[trials.test])
    if mixed.any():
        line = int(mixed.argmax())
        rows = trials.enroll[line], trials.test[line]
        name = names[rows[0] if not one[rows[0]] else rows[1]]
        raise DataError(
            f"{trials.path}:{line + 1}: the model '{name}' has utterances of several speakers: correct"
            f" {data_dir}/{ENROLL}, or use it in lists without labels only"
        )


def with_labels(trial_set: TrialSet, data_dir: str | Path) -> TrialSet:
    """The same without the lists that have no labels. Raises DataError where no list is left."""
    labeled = trial_set.labeled()
    if not labeled.lists:
        raise DataError(f"{data_dir}/trials: no list has labels (target or nontarget), which are needed here")
    return labeled


def _check_ids(path: Path, trials: Trials, enroll, test, data_dir: Path) -> None:
    unknown = (enroll < 0) | (test < 0)
    if not unknown.any():
        return
    first = int(unknown.argmax())
    side = trials.enroll[first] if enroll[first] < 0 else trials.test[first]
    names = set(trials.enroll[enroll < 0].tolist()) | set(trials.test[test < 0].tolist())
    models = f" or {data_dir}/{ENROLL}" if (data_dir / ENROLL).is_file() else ""
    raise DataError(
        f"{path}:{first + 1}: unknown utterance '{side}': {np.count_nonzero(unknown)} of {len(unknown)} trials"
        f" contain one of {len(names)} ids that are not in {data_dir}/utt2spk{models}: correct the list or the data"
    )


def mean_embedding(scp: str | Path) -> NDArray[np.float32]:
    """The mean (D,) of stored embeddings, which is subtracted from others so that cosines are relative to it.

    Raises:
        DataError: as :func:`avsv.io.ark.read_vector_blocks`; the mean is not finite.
    """
    keys, blocks = read_vector_blocks(scp)
    mean = sum(matrix.sum(axis=0, dtype=np.float64) for _, matrix in blocks) / len(keys)
    if not np.isfinite(mean).all():
        raise DataError(f"{scp}: the mean of the embeddings is not finite: check the training")
    return mean.astype(np.float32)


def read_embeddings(
    scp: str | Path, utterances: list[str] | None = None, mean: NDArray[np.float32] | None = None
) -> tuple[list[str], Embeddings]:
    """Read embeddings and scale them to length 1.

    Args:
        scp: index of an ark of vectors.
        utterances: ids of the requested rows, in order, which may be missing from the index; None for all.
        mean: (D,) vector to subtract before scaling, see :func:`mean_embedding`; None for none.

    Returns:
        The ids of the rows and the embeddings.

    Raises:
        DataError: as :func:`avsv.io.ark.read_vectors`; a vector that is not finite or is all zeros.
    """
    keys, matrix = read_vectors(scp)
    if mean is not None:
        matrix -= mean
    _scale(scp, keys, np.arange(len(keys)), matrix)
    if utterances is None:
        return keys, Embeddings(matrix, np.ones(len(keys), dtype=bool))
    row_of = {key: row for row, key in enumerate(keys)}
    rows = np.fromiter((row_of.get(u, -1) for u in utterances), np.int64, len(utterances))
    present = rows >= 0
    if np.array_equal(rows, np.arange(len(keys))):
        return utterances, Embeddings(matrix, present)
    picked = matrix[rows]
    picked[~present] = 0
    return utterances, Embeddings(picked, present)


def read_embedding_blocks(
    scp: str | Path, mean: NDArray[np.float32] | None = None
) -> tuple[list[str], Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]]:
    """Read embeddings in blocks of some thousand and scale them to length 1.

    Args:
        scp: index of an ark of vectors.
        mean: (D,) vector to subtract before scaling; None for none.

    Returns:
        All ids, and blocks (rows, embeddings) as from :func:`avsv.io.ark.read_vector_blocks`.

    Raises:
        DataError: as :func:`read_embeddings`, also while the blocks are read.
    """
    keys, blocks = read_vector_blocks(scp)
    centered = ((rows, matrix if mean is None else matrix - mean) for rows, matrix in blocks)
    return keys, ((rows, _scale(scp, keys, rows, matrix)) for rows, matrix in centered)


def _scale(scp: str | Path, keys: list[str], rows: NDArray[np.int64], matrix: NDArray[np.float32]) -> NDArray:
    """Scale the rows of a matrix to length 1, in place."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", matrix, matrix, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        what = "is all zeros" if norms[bad[0]] == 0 else "is not finite"
        raise DataError(
            f"{scp}: the embedding of '{keys[rows[bad[0]]]}' {what} ({len(bad)} of {len(rows)} read): check the"
            " training"
        )
    matrix /= norms[:, np.newaxis]
    return matrix


def usable_trials(
    trials: TrialList, mode: str, embeddings: dict[str, Embeddings], max_lost: float
) -> NDArray[np.bool_]:
    """Which trials (N,) have the embeddings that a mode needs.

    Args:
        trials: the list.
        mode: evaluation mode.
        embeddings: embeddings per modality.
        max_lost: largest share of trials without embeddings.

    Raises:
        DataError: a larger share has no embeddings; the message names the line of the first such trial.
    """
    usable = np.ones(len(trials.enroll), dtype=bool)
    for enroll, test in assignments(mode):
        usable &= embeddings[enroll].present[trials.enroll] & embeddings[test].present[trials.test]
    lost = np.count_nonzero(~usable)
    if lost > max_lost * len(usable) or lost == len(usable):
        line = int(usable.argmin())
        pair = f"'{trials.trials.enroll[line]}' or '{trials.trials.test[line]}'"
        raise DataError(
            f"{trials.path}:{line + 1}: {pair} has no embedding for mode {mode}: {lost} of {len(usable)} trials"
            f" cannot be scored, more than a share of {max_lost:g} (--max-lost)"
        )
    return usable


def places_in(path: str | Path, scores: Scores, trials: Trials) -> NDArray[np.int64]:
    """The position (N,) of each scored trial in its list.

    Args:
        path: score file, for messages.
        scores: its content, which is a part of the list if some trials could not be scored.
        trials: the list.

    Raises:
        DataError: a scored trial is not in the list.
    """
    if np.array_equal(scores.enroll, trials.enroll) and np.array_equal(scores.test, trials.test):
        return np.arange(len(trials.enroll))
    place_of = {pair: n for n, pair in enumerate(zip(trials.enroll.tolist(), trials.test.tolist(), strict=True))}
    pairs = list(zip(scores.enroll.tolist(), scores.test.tolist(), strict=True))
    places = np.fromiter((place_of.get(pair, -1) for pair in pairs), np.int64, len(pairs))
    if len(places) and places.min() < 0:
        line = int((places < 0).argmax())
        raise DataError(f"{path}:{line + 1}: '{' '.join(pairs[line])}' is not in the trial list: score it again")
    return places
