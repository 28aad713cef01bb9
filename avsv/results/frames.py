"""CSV tables with named columns as pandas data frames, checked when they are read."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

import pandas as pd

from avsv.errors import DataError
from avsv.io.text import read_text

_LARGEST = 1 << 28  # bytes of a table

Record = TypeVar("Record", bound=NamedTuple)


def to_csv(rows: Sequence[NamedTuple], kind: type[NamedTuple]) -> str:
    """The text of a table such as results.csv: numbers with four decimals, empty fields for missing ones."""
    return frame_csv(pd.DataFrame(rows, columns=kind._fields))


def frame_csv(frame: pd.DataFrame, missing: str = "") -> str:
    """The text of any table, in the same form.

    Args:
        frame: the table.
        missing: how a missing number is written.

    Example:
        >>> frame_csv(pd.DataFrame({"name": ["a", "b"], "count": [1, 2], "rate": [0.5, None]}), "nan").split()
        ['name,count,rate', 'a,1,0.5000', 'b,2,nan']
    """
    return frame.to_csv(index=False, float_format="%.4f", na_rep=missing, lineterminator="\n")


def empty_frame(kind: type[NamedTuple]) -> pd.DataFrame:
    """A data frame with the columns of ``kind`` and no rows."""
    return pd.DataFrame(columns=kind._fields)


def read_frame(path: Path, kind: type[NamedTuple]) -> pd.DataFrame:
    """Read a table written by :func:`to_csv`.

    Args:
        path: the file.
        kind: named tuple of its columns: text, whole numbers, numbers, or numbers that can be missing (NaN).

    Raises:
        DataError: no such file, other columns, a field of another type.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file: make the results first")
    try:
        lines = list(csv.reader(io.StringIO(read_text(path, _LARGEST), newline="")))
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from None
    if not lines or tuple(lines[0]) != kind._fields:
        raise DataError(f"{path}:1: expected the columns {','.join(kind._fields)}")
    for number, fields in enumerate(lines[1:], 2):
        if len(fields) != len(kind._fields):
            raise DataError(f"{path}:{number}: {len(fields)} fields instead of {len(kind._fields)}")
    frame = pd.DataFrame(lines[1:], columns=kind._fields, dtype=object)
    for name, of in kind.__annotations__.items():
        frame[name] = _typed(path, frame[name], of)
    return frame


def _typed(path: Path, column: pd.Series, of: type) -> pd.Series:
    options = get_args(of) or (of,)
    kind, optional = options[0], type(None) in options
    values = []
    for number, field in enumerate(column, 2):
        try:
            values.append(None if optional and not field else kind(field))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {column.name}: {error}") from error
    try:
        return pd.Series(values, dtype={int: "int64", float: "float64"}.get(kind, object))
    except OverflowError:
        raise DataError(f"{path}: {column.name}: has a number that is too large") from None


def records(frame: pd.DataFrame, kind: type[Record]) -> list[Record]:
    """The rows of a data frame as named tuples; None for missing values."""
    known = frame.astype(object).where(frame.notna(), None)
    return [kind(*row) for row in known.itertuples(index=False, name=None)]
