"""Score files and trial lists in the formats of common toolkits.

Each line contains the two sides of a trial and a score, a label or both, in the order of the toolkit:

==========================  ======================================================================
``enroll test score``       this toolkit, Kaldi
``enroll test score label`` WeSpeaker; more columns can follow, as after its score normalization
``enroll test label score`` 3D-Speaker
``label enroll test score`` a VoxCeleb list with scores
``enroll test label``       trial lists of this toolkit, Kaldi, WeSpeaker
``label enroll test``       trial lists of VoxCeleb
==========================  ======================================================================

Labels are ``target`` and ``nontarget``, or ``1`` and ``0``.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.text import cannot_read, check_regular_file

LABELS = {"target": True, "nontarget": False, "1": True, "0": False}
SCORE_LAYOUTS = ("enroll test score", "enroll test score label", "enroll test label score", "label enroll test score")
TRIAL_LAYOUTS = ("enroll test label", "label enroll test")
LABELED_LAYOUTS = (*TRIAL_LAYOUTS, *SCORE_LAYOUTS[1:])
"""A trial list may contain scores; only its labels are read."""


class ScoredTrials(NamedTuple):
    """The trials of a score file.

    Attributes:
        enroll, test: (N,) ids of both sides.
        score: (N,) float64.
        is_target: (N,) labels; None if the file has none.
    """

    enroll: NDArray[np.object_]
    test: NDArray[np.object_]
    score: NDArray[np.float64]
    is_target: NDArray[np.bool_] | None


class LabeledTrials(NamedTuple):
    """The trials of a list: ids (N,) of both sides and labels (N,)."""

    enroll: NDArray[np.object_]
    test: NDArray[np.object_]
    is_target: NDArray[np.bool_]


def read_score_file(path: str | Path, layout: str | None = None) -> ScoredTrials:
    """Read a score file of any toolkit.

    Args:
        path: text file.
        layout: one of :data:`SCORE_LAYOUTS`; None to detect it from the values.

    Raises:
        DataError: with file and line: no such file, an empty file, lines of different lengths, no layout or several
            layouts fit, a score that is not a finite number, an unknown label.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w") as file:
        ...     _ = file.write("a b 0.71 target 3.1\\na c 0.12 nontarget 2.9\\n")
        ...     file.flush()
        ...     scored = read_score_file(file.name)
        >>> scored.score.tolist(), scored.is_target.tolist()
        ([0.71, 0.12], [True, False])
    """
    columns = _read_columns(path)
    layout = layout or _recognize(path, columns, SCORE_LAYOUTS, "a score file", "--layout")
    named = _named(path, columns, layout)
    return ScoredTrials(
        named["enroll"].to_numpy(),
        named["test"].to_numpy(),
        _scores(path, named["score"]),
        _labels(path, named["label"]) if "label" in named else None,
    )


def read_trial_list(path: str | Path, layout: str | None = None) -> LabeledTrials:
    """Read a labeled trial list of any toolkit, or the labels of a score file.

    Args:
        path: text file.
        layout: one of :data:`LABELED_LAYOUTS`; None to detect it from the values.

    Raises:
        DataError: as :func:`read_score_file`.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w") as file:
        ...     _ = file.write("1 id1/x/1.wav id1/y/1.wav\\n0 id1/x/1.wav id2/z/1.wav\\n")
        ...     file.flush()
        ...     read_trial_list(file.name).is_target.tolist()
        [True, False]
    """
    columns = _read_columns(path)
    layout = layout or _recognize(path, columns, LABELED_LAYOUTS, "a trial list with labels", "--trials-layout")
    named = _named(path, columns, layout)
    return LabeledTrials(named["enroll"].to_numpy(), named["test"].to_numpy(), _labels(path, named["label"]))


def read_pairs(path: str | Path) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The ids (N,) of both sides of a trial list: two columns, or those of any toolkit.

    Raises:
        DataError: as :func:`read_score_file`.
    """
    columns = _read_columns(path)
    if len(columns.columns) == 2:
        return columns[0].to_numpy(), columns[1].to_numpy()
    fitting = _fitting(path, columns, LABELED_LAYOUTS, "a trial list")
    places = {layout.split().index("enroll") for layout in fitting}
    if len(places) > 1:
        raise _several(path, columns, fitting, "leave only the two ids on each line")
    place = places.pop()
    return columns[place].to_numpy(), columns[place + 1].to_numpy()


def _read_columns(path: str | Path) -> pd.DataFrame:
    """The blank-separated columns of a text file, as text."""
    check_regular_file(path)
    options = {"sep": r"\s+", "header": None, "dtype": str, "quoting": 3, "na_filter": False, "skip_blank_lines": False}
    try:
        # Opened here: pandas takes names of archives and addresses for more than files.
        with Path(path).open("rb") as file:
            if file.peek(2).startswith(b"\x1f\x8b"):
                raise DataError(f"{path}: compressed with gzip: unpack it with gunzip first")
            table = pd.read_csv(file, engine="c", **options)
    except OSError as error:
        raise cannot_read(path, error) from None
    except pd.errors.EmptyDataError:
        # pandas stops at a first line without text.
        raise DataError(f"{path}: the file is empty, or its first line") from None
    except pd.errors.ParserError as error:
        # "Error tokenizing data. C error: Expected 3 fields in line 7, saw 4"
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            expected, line, count = found.groups()
            raise DataError(
                f"{path}:{line}: {count} columns, but {expected} on earlier lines: not a list of scores or trials"
            ) from None
        raise DataError(f"{path}: not a list of scores or trials: {str(error).strip()}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file (UTF-8)") from None
    text = ~_is_blank(table[0])
    # Editors leave empty lines at the end.
    table = table[: len(table) - int(text[::-1].argmax())]
    short = _is_blank(table[table.columns[-1]])
    if short.any():
        line = int(short.argmax()) + 1
        raise DataError(f"{path}:{line}: fewer columns than the {len(table.columns)} of other lines")
    return table


def _is_blank(column: pd.Series) -> NDArray[np.bool_]:
    return (column.isna() | (column == "")).to_numpy()


def _recognize(path: str | Path, columns: pd.DataFrame, layouts: Sequence[str], what: str, option: str) -> str:
    """The layout that fits all lines; DataError if none fits, or several: ``option`` chooses one."""
    fitting = _fitting(path, columns, layouts, what)
    if len(fitting) > 1:
        raise _several(path, columns, fitting, f"choose one with {option}")
    return fitting[0]


def _several(path: str | Path, columns: pd.DataFrame, fitting: Sequence[str], what_to_do: str) -> DataError:
    return DataError(
        f"{path}:1: '{' '.join(columns.iloc[0])}' could be {' or '.join(map(repr, fitting))}: {what_to_do}"
    )


def _fitting(path: str | Path, columns: pd.DataFrame, layouts: Sequence[str], what: str) -> list[str]:
    """The layouts that fit all lines; DataError if none fits."""
    lines = {layout: _good_lines(columns, layout) for layout in layouts}
    fitting = [layout for layout, good in lines.items() if good.all()]
    if fitting:
        # Labels written as numbers are numbers too, so a layout that explains more columns takes precedence.
        most = max(len(layout.split()) for layout in fitting)
        return [layout for layout in fitting if len(layout.split()) == most]
    layout, good = max(lines.items(), key=lambda one: one[1].sum())
    if 2 * good.sum() > len(good):
        odd = int(good.argmin())
        text, labels = " ".join(columns.iloc[odd]), ", ".join(LABELS)
        raise DataError(f"{path}:{odd + 1}: '{text}' is not '{layout}' as most lines are: a label is one of {labels}")
    first = " ".join(columns.iloc[0])
    raise DataError(f"{path}:1: '{first}' is not {what}: expected one of {', '.join(map(repr, layouts))}")


def _good_lines(columns: pd.DataFrame, layout: str) -> NDArray[np.bool_]:
    """Which lines (N,) have labels where the layout has them; none if a column of scores has no number."""
    names = layout.split()
    good = np.ones(len(columns), dtype=bool)
    # Only files of WeSpeaker have additional columns.
    extra = len(columns.columns) - len(names)
    if extra < 0 or (extra > 0 and layout != "enroll test score label"):
        return ~good
    for name, (_, column) in zip(names, columns.items(), strict=False):
        if name == "label":
            good &= column.isin(LABELS).to_numpy()
        # A single score that is no number is an error of its own.
        if name == "score" and not np.isfinite(pd.to_numeric(column.unique(), errors="coerce")).any():
            return np.zeros_like(good)
    return good


def _named(path: str | Path, columns: pd.DataFrame, layout: str) -> dict[str, pd.Series]:
    names = layout.split()
    if len(columns.columns) < len(names):
        raise DataError(f"{path}:1: {len(columns.columns)} columns, but the layout '{layout}' has {len(names)}")
    return dict(zip(names, (columns[column] for column in columns), strict=False))


def _scores(path: str | Path, column: pd.Series) -> NDArray[np.float64]:
    scores = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(scores)
    if bad.any():
        line = int(bad.argmax())
        raise DataError(f"{path}:{line + 1}: score '{column.iloc[line]}' is not a finite number")
    return scores


def _labels(path: str | Path, column: pd.Series) -> NDArray[np.bool_]:
    labels = column.map(LABELS)
    unknown = labels.isna().to_numpy()
    if unknown.any():
        line = int(unknown.argmax())
        raise DataError(f"{path}:{line + 1}: label '{column.iloc[line]}', expected one of {', '.join(LABELS)}")
    return labels.to_numpy(dtype=bool)
