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
# A trial list may contain scores; only its labels are read.
_LABELED = (*TRIAL_LAYOUTS, *SCORE_LAYOUTS[1:])


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
    layout = layout or _recognize(path, columns, SCORE_LAYOUTS, "a score file")
    named = _named(path, columns, layout)
    return ScoredTrials(
        named["enroll"].to_numpy(),
        named["test"].to_numpy(),
        _scores(path, named["score"]),
        _labels(path, named["label"]) if "label" in named else None,
    )


def read_trial_list(path: str | Path) -> LabeledTrials:
    """Read a labeled trial list of any toolkit, or the labels of a score file.

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
    named = _named(path, columns, _recognize(path, columns, _LABELED, "a trial list with labels"))
    return LabeledTrials(named["enroll"].to_numpy(), named["test"].to_numpy(), _labels(path, named["label"]))


def read_pairs(path: str | Path) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The ids (N,) of both sides of a trial list: two columns, or those of any toolkit.

    Raises:
        DataError: as :func:`read_score_file`.
    """
    columns = _read_columns(path)
    if len(columns.columns) == 2:
        return columns[0].to_numpy(), columns[1].to_numpy()
    named = _named(path, columns, _recognize(path, columns, _LABELED, "a trial list"))
    return named["enroll"].to_numpy(), named["test"].to_numpy()


def _read_columns(path: str | Path) -> pd.DataFrame:
    """The blank-separated columns of a text file, as text."""
    check_regular_file(path)
    options = {"sep": r"\s+", "header": None, "dtype": str, "quoting": 3, "na_filter": False, "skip_blank_lines": False}
    try:
        # Opened here: pandas takes names of archives and addresses for more than files.
        with Path(path).open("rb") as file:
            table = pd.read_csv(file, engine="c", **options)
    except OSError as error:
        raise cannot_read(path, error) from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty") from None
    except pd.errors.ParserError as error:
        # "Error tokenizing data. C error: Expected 3 fields in line 7, saw 4"
        raise DataError(f"{path}: lines of different lengths: {str(error).strip().rpartition('error: ')[2]}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file (UTF-8)") from None
    last = table.columns[-1]
    short = (table[last].isna() | (table[last] == "")).to_numpy()
    if short.any():
        line = int(short.argmax()) + 1
        raise DataError(f"{path}:{line}: fewer columns than the {len(table.columns)} of other lines")
    return table


def _recognize(path: str | Path, columns: pd.DataFrame, layouts: tuple[str, ...], what: str) -> str:
    """The layout that fits all lines; DataError if none or several fit."""
    fitting = [layout for layout in layouts if _fits(columns, layout)]
    # Labels written as numbers are numbers too, so a layout that explains more columns takes precedence.
    most = max((len(layout.split()) for layout in fitting), default=0)
    fitting = [layout for layout in fitting if len(layout.split()) == most]
    if len(fitting) == 1:
        return fitting[0]
    first = " ".join(columns.iloc[0])
    if fitting:
        raise DataError(f"{path}:1: '{first}' could be {' or '.join(map(repr, fitting))}: choose one with --layout")
    raise DataError(f"{path}:1: '{first}' is not {what}: expected one of {', '.join(map(repr, layouts))}")


def _fits(columns: pd.DataFrame, layout: str) -> bool:
    """Whether all labels of the columns are labels, and any score is a number, as the layout has it."""
    names = layout.split()
    # Only files of WeSpeaker have additional columns.
    extra = len(columns.columns) - len(names)
    if extra < 0 or (extra > 0 and layout != "enroll test score label"):
        return False
    for name, (_, column) in zip(names, columns.items(), strict=False):
        values = column.unique()
        if name == "label" and not set(values) <= LABELS.keys():
            return False
        if name == "score" and not np.isfinite(pd.to_numeric(values, errors="coerce")).any():
            return False
    return True


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
