"""Published figures of the systems, for comparison."""

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

from avsv.errors import DataError
from avsv.io.text import read_text
from avsv.scoring.modes import parse_mode


class Published(NamedTuple):
    """One published figure: a line of ``conf/published.csv``.

    Attributes:
        system: name of the system in ``conf/systems`` or ``conf/ensembles.yaml``.
        paper: authors, year, and venue or arXiv number.
        table: table with the figure, or the paper that quotes it.
        row: name of the system in that table.
        modality: ``A``, ``V`` or ``AV``.
        corpus, trials: data of the measurement.
        mode: evaluation mode.
        stage: ``asnorm`` for scores after score normalization, ``cos`` where the paper mentions none.
        metric: ``eer`` (percent) or ``mindcf`` (normalized, P_target 0.01, unit costs).
        value: the figure as printed.
        condition: training data, pretraining and preparation of the published system.
    """

    system: str
    paper: str
    table: str
    row: str
    modality: str
    corpus: str
    trials: str
    mode: str
    stage: str
    metric: str
    value: str
    condition: str


STAGES, METRICS = ("asnorm", "cos"), ("eer", "mindcf")


def read_published(path: str | Path) -> list[Published]:
    """Read ``conf/published.csv``.

    Raises:
        DataError: no such file, other columns, an unknown mode or metric, a value that is not a number.
    """
    try:
        lines = list(csv.reader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from None
    if not lines or tuple(lines[0]) != Published._fields:
        raise DataError(f"{path}:1: expected the columns {','.join(Published._fields)}")
    figures = []
    for number, fields in enumerate(lines[1:], 2):
        if len(fields) != len(Published._fields):
            raise DataError(f"{path}:{number}: {len(fields)} fields instead of {len(Published._fields)}")
        figure = Published(*fields)
        try:
            parse_mode(figure.mode)
            if not math.isfinite(float(figure.value)):
                raise ValueError(f"value '{figure.value}' is not finite")
        except (DataError, ValueError) as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if not figure.trials:
            raise DataError(f"{path}:{number}: no trial list is named")
        for column, known in (("stage", STAGES), ("metric", METRICS)):
            if (value := getattr(figure, column)) not in known:
                raise DataError(f"{path}:{number}: {column} '{value}' is not one of {' '.join(known)}")
        figures.append(figure)
    return figures
