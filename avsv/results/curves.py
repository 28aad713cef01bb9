"""Data of the DET and training curves of a run, read from the files of its systems."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from avsv.errors import DataError
from avsv.results.model import Results
from avsv.results.plots import DetLine, training_plot
from avsv.results.scores import preferred_scores, read_trial_scores
from avsv.results.style import COLORS
from avsv.scoring.trials import TrialList


def det_lines(exp: Path, results: Results, lists: Sequence[TrialList]) -> dict[str, list[DetLine]]:
    """The curves of the best systems in their widest modes for each trial list, at most as many as there are colors.

    Args:
        exp: folder of the systems.
        results: the results, which determine the best systems.
        lists: trial lists.

    Raises:
        DataError: scores belong to other trials or are not finite.
    """
    panels = {}
    for trials in lists:
        lines = []
        for number, system in enumerate(results.leading(trials.name, len(COLORS))):
            path = preferred_scores(exp / system / "scores" / trials.name)
            scores = read_trial_scores(path, trials)
            lines.append(DetLine(f"{system} {path.stem}", scores.values, scores.is_target, number))
        panels[trials.name] = lines
    return panels


def plot_training(exp: Path, systems: Sequence[str], results: Path) -> list[tuple[str, str]]:
    """Plot the training histories, with as many systems per picture as there are colors.

    Args:
        exp: folder of the systems.
        systems: their names; those without a history are omitted.
        results: folder for training.png, training2.png, ...

    Returns:
        A caption and the file name of each picture.

    Raises:
        DataError: as :func:`read_history`.
    """
    trained = [system for system in systems if (exp / system / "train.csv").is_file()]
    figures = []
    for first in range(0, len(trained), len(COLORS)):
        shown = trained[first : first + len(COLORS)]
        name = f"training{first // len(COLORS) + 1 if first else ''}.png"
        training_plot(results / name, {system: read_history(exp / system / "train.csv") for system in shown})
        figures.append(("Training: loss, accuracy, development EER", name))
    return figures


def read_history(path: Path) -> pd.DataFrame:
    """The columns of a train.csv, at least ``epoch``, ``loss``, ``accuracy`` and ``dev_eer``; NaN for an empty field.

    Raises:
        DataError: a column is missing, or a field is not a number.
    """
    try:
        history = pd.read_csv(path, dtype=float)
        history[["epoch", "loss", "accuracy", "dev_eer"]]
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: not a training history: {error}: train again") from error
    return history
