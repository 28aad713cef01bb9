"""Errors of reading what a data directory stores, under the names of utterance, file and the step that makes it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from avsv.data.lists import UtteranceTable
from avsv.errors import DataError


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put the utterance id in front of the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{key}: {error}") from None


def check_columns(rows: np.ndarray, columns: int, table: UtteranceTable, index: int, location: str, step: str) -> None:
    """Raise DataError where a stored matrix (T, F) does not have as many columns as the configuration says."""
    if rows.shape[1] != columns:
        raise DataError(
            f"{table.keys[index]}: {location}: {rows.shape[1]} columns, not the {columns} that the"
            f" configuration says: run {step} on {table.directory}"
        )
