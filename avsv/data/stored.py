"""Errors of reading stored data, with the names of the utterance, the file and the step that writes it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from avsv.data.lists import UtteranceTable
from avsv.errors import DataError


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Prefix the message of a DataError with the utterance id."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{key}: {error}") from None


def check_columns(rows: np.ndarray, columns: int, table: UtteranceTable, index: int, location: str, step: str) -> None:
    """Raise DataError if a stored matrix (T, F) does not have the number of columns in the configuration."""
    if rows.shape[1] != columns:
        raise DataError(
            f"{table.keys[index]}: {location}: {rows.shape[1]} columns instead of {columns} as in the"
            f" configuration: run {step} on {table.directory}"
        )
