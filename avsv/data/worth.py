"""The true worth of the moments of a clip, which a made corpus knows: the upper bound of any attention over time."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avsv.data.lists import UtteranceTable
from avsv.errors import DataError
from avsv.io.lists import AUDIO_WORTH, VIDEO_WORTH, read_entries

RATE = 25  # values per second in these lists


def list_of(directory: Path, letter: Literal["A", "V"]) -> Path:
    """The list of a data directory with the true worth of a modality."""
    return directory / (AUDIO_WORTH if letter == "A" else VIDEO_WORTH)


class Worth:
    """The worth of every moment of the utterances of a table, from the list of :func:`list_of`.

    A line is an utterance and, separated by commas, 25 values for each second, between 0 (nothing of the voice or face
    is left) and 1 (unspoiled).

    Args:
        table: the utterances.
        letter: A or V.

    Raises:
        DataError: no such list, an utterance without a line, or a value that is not a number from 0 to 1.
    """

    def __init__(self, table: UtteranceTable, letter: Literal["A", "V"]) -> None:
        path = list_of(table.directory, letter)
        if not path.is_file():
            raise DataError(f"{path}: no such list: the true worth of every moment is known of made corpora only")
        rows = {key: row for row, key in enumerate(table.keys)}
        found: list[NDArray[np.float32] | None] = [None] * len(rows)
        for number, key, text in read_entries(path, fields=2):
            if key not in rows:
                continue
            try:
                values = np.array(text.split(","), dtype=np.float32)
            except ValueError:
                values = np.array([np.nan])
            if not ((values >= 0) & (values <= 1)).all():
                raise DataError(f"{path}:{number}: {key}: expected numbers from 0 to 1")
            found[rows[key]] = values
        for row, values in enumerate(found):
            if values is None:
                raise DataError(f"{path}: {table.keys[row]} is missing")
        self._ends = np.cumsum([0, *map(len, found)])
        self._values = np.concatenate(found)

    def at(self, index: int, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """The worth (T,) of an utterance at times in seconds from its start; its last one beyond the end."""
        first, end = self._ends[index : index + 2]
        return self._values[np.minimum(first + (times * RATE).astype(np.int64), end - 1)]
