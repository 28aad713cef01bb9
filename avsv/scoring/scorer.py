"""From the embeddings of a system and data directories to score files; shared by the scoring commands."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.lists import write_scores
from avsv.scoring.cosine import cosine_scores
from avsv.scoring.modes import assignments, available_modes, parse_mode
from avsv.scoring.trials import (
    Embeddings,
    TrialList,
    TrialSet,
    mean_embedding,
    read_embeddings,
    read_trial_set,
    usable_trials,
)

Scorer = Callable[[str, str, NDArray, NDArray], NDArray]
"""Scores (N,) of pairs of rows, given the modalities of the enrollment and test sides and the rows of both."""


class Written(NamedTuple):
    """A score file that was written, with its number of trials and the number of trials without embeddings."""

    path: Path
    trials: int
    lost: int


def read_trial_sets(data_dirs: Sequence[str | Path]) -> list[TrialSet]:
    """Read and check the trial lists of all data directories, before anything is scored.

    Raises:
        DataError: as :func:`avsv.scoring.trials.read_trial_set`, or two lists have the same name.
    """
    sets = [read_trial_set(data_dir) for data_dir in data_dirs]
    paths: dict[str, Path] = {}
    for trials in (trials for trial_set in sets for trials in trial_set.lists):
        if trials.name in paths:
            raise DataError(
                f"{trials.path}: {paths[trials.name]} has the same name, and so would its scores: rename one"
            )
        paths[trials.name] = trials.path
    return sets


def labeled_sets(data_dirs: Sequence[str | Path]) -> list[TrialSet]:
    """As :func:`read_trial_sets`, without the lists that have no labels.

    Raises:
        DataError: as there, or no list has labels.
    """
    sets = read_trial_sets(data_dirs)
    labeled = [trial_set.labeled() for trial_set in sets]
    if not any(trial_set.lists for trial_set in labeled):
        raise DataError(f"{sets[0].lists[0].path}: no labels (target or nontarget): there are no error rates without")
    return labeled


def modes_of(embeddings_dir: Path, names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The modes to score: those in ``wanted``, or all for which these data directories have embeddings.

    Raises:
        DataError: no embeddings, or none for a mode in ``wanted``.
    """
    if not embeddings_dir.is_dir():
        raise DataError(f"{embeddings_dir}: no such folder: extract embeddings first")
    found = [{m for m in ("A", "V", "AV") if (embeddings_dir / f"{name}.{m}.scp").is_file()} for name in names]
    available = available_modes(set.intersection(*found))
    for mode in wanted:
        parse_mode(mode)
        if mode not in available:
            raise DataError(
                f"mode {mode}: {embeddings_dir} has no embeddings for it in {' or '.join(names)}, only for"
                f" {' '.join(available) or 'no mode'}"
            )
    if not available:
        raise DataError(f"{embeddings_dir}: no embeddings of {' and '.join(names)}: extract them first")
    return [mode for mode in available if mode in wanted] if wanted else available


def modalities_of(modes: Sequence[str]) -> list[str]:
    """The modalities that modes need.

    Example:
        >>> modalities_of(["AxA", "AVxA"])
        ['A', 'AV']
    """
    return sorted({modality for mode in modes for modality in parse_mode(mode)})


def read_means(embeddings_dir: Path, data_dir: Path | None, modes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Read the means to subtract, for each modality that the modes need; none without a data directory."""
    if data_dir is None:
        return {}
    return {m: mean_embedding(embeddings_dir / f"{data_dir.name}.{m}.scp") for m in modalities_of(modes)}


def read_modalities(
    embeddings_dir: Path, trial_set: TrialSet, modes: Sequence[str], means: Mapping[str, NDArray[np.float32]]
) -> dict[str, Embeddings]:
    """Read the embeddings of the sides of trials in every modality that the modes need, and subtract the means."""
    paths = {m: embeddings_dir / f"{trial_set.name}.{m}.scp" for m in modalities_of(modes)}
    read = {m: read_embeddings(path, trial_set.members.utterances, means.get(m)) for m, path in paths.items()}
    return {m: trial_set.pool(embeddings) for m, (_, embeddings) in read.items()}


def cosine_scorer(embeddings: dict[str, Embeddings]) -> Scorer:
    """Make the scorer of raw cosines."""

    def score(enroll: str, test: str, enroll_rows: NDArray, test_rows: NDArray) -> NDArray:
        return cosine_scores(embeddings[enroll].matrix, embeddings[test].matrix, enroll_rows, test_rows)

    return score


def write_set_scores(
    scores_dir: Path,
    suffix: str,
    trial_set: TrialSet,
    modes: Sequence[str],
    embeddings: dict[str, Embeddings],
    scorer: Scorer,
    max_lost: float,
    keep_order: bool = False,
) -> list[Written]:
    """Score all lists of a data directory in all modes: ``SCORES/LIST/MODE.SUFFIX``, written atomically.

    If the two sides of a mode differ, a trial is scored in both orders and the scores are averaged; with
    ``keep_order`` those of the first order are written to ``MODE.SUFFIX1``. Files of other modes with this suffix from
    an earlier run are removed.

    Raises:
        DataError: more than a share ``max_lost`` of the trials of a list have no embedding.
    """
    usable = {
        (trials.name, mode): usable_trials(trials, mode, embeddings, max_lost)
        for trials in trial_set.lists
        for mode in modes
    }
    written = []
    for trials in trial_set.lists:
        folder = scores_dir / trials.name
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob(f"*.{suffix}"), *folder.glob(f"*.{suffix}1")):
            if old.stem not in modes:
                old.unlink()
        for mode in modes:
            path = folder / f"{mode}.{suffix}"
            written.append(_write_list(path, trials, mode, usable[trials.name, mode], scorer, keep_order))
    return written


def _write_list(
    path: Path, trials: TrialList, mode: str, usable: NDArray[np.bool_], scorer: Scorer, keep_order: bool
) -> Written:
    kept = slice(None) if usable.all() else usable
    rows = trials.enroll[kept], trials.test[kept]
    orders = [scorer(enroll, test, *rows) for enroll, test in assignments(mode)]
    scores = np.mean(orders, axis=0)
    sides = trials.trials.enroll[kept], trials.trials.test[kept]
    if keep_order and len(orders) > 1:
        write_scores(first_order(path), *sides, orders[0])
    write_scores(path, *sides, scores)
    return Written(path, len(scores), len(usable) - len(scores))


def first_order(path: Path) -> Path:
    """The file with the scores of the first order that belongs to a file of mean scores.

    Example:
        >>> first_order(Path("AVxA.asnorm")).name
        'AVxA.asnorm1'
    """
    return path.with_name(f"{path.name}1")


def report_written(written: Sequence[Written]) -> None:
    """Print one line per score file, with the number of omitted trials."""
    for path, trials, lost in written:
        missing = f", {lost} left out for lack of an embedding" if lost else ""
        print(f"{path}: {trials} trials{missing}")
