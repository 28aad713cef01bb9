"""Errors of reading stored data, with the names of the utterance, the file and the step that writes it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from avsv.audio.config import FbankConfig, load_fbank_config, settings_path
from avsv.data.lists import UtteranceTable
from avsv.errors import DataError
from avsv.io.place import Place


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


def check_fbank(table: UtteranceTable, wanted: FbankConfig, whose: str) -> None:
    """Raise DataError where stored features were made with other settings.

    Args:
        table: the utterances; ``table.audio`` locates features.
        wanted: the settings that they must have.
        whose: settings these are, for the message.
    """
    for ark in {Place.of(location).path for location in table.audio if location}:
        path = settings_path(ark)
        # There is no file of settings next to features that another program made.
        if path.is_file() and (difference := load_fbank_config(path).difference(wanted)):
            raise DataError(
                f"{path}: the features of {table.directory} have {difference} as {whose}: make them again with"
                " steps/make_fbank.sh --config"
            )
