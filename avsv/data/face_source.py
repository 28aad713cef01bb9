"""Sources of the video of a clip: face crops in arks, or cut out of the video when they are read."""

from typing import Protocol

import numpy as np

from avsv.data.lists import UtteranceTable
from avsv.data.stored import check_columns, naming
from avsv.io.ark import is_online, read_rows
from avsv.video.config import FaceFormat


class FaceSource(Protocol):
    """The face frames of the utterances of a table, as stored."""

    def read(self, index: int, rows: np.ndarray) -> np.ndarray:
        """Read frames of an utterance.

        Args:
            index: row of the utterance in the table.
            rows: (T,) frame numbers, in any order.

        Returns:
            (T, C, H, W) uint8.
        """


class FaceCrops:
    """Face crops from ``faces.scp``, in arks or online: a :class:`FaceSource`.

    Args:
        table: the utterances; ``table.video`` contains the locations of the crops.
        form: form of the crops.
    """

    def __init__(self, table: UtteranceTable, form: FaceFormat) -> None:
        self.table, self.form = table, form

    def read(self, index: int, rows: np.ndarray) -> np.ndarray:
        """See :meth:`FaceSource.read`. Raises DataError with the utterance id if they cannot be read."""
        location, form = self.table.video[index], self.form
        with naming(self.table.keys[index]):
            pixels = read_crops(location, rows)
        check_columns(pixels, form.row, self.table, index, location, "steps/make_face_crops.sh")
        return pixels.reshape(-1, form.channels, form.height, form.width)


def read_crops(location: str, rows: np.ndarray) -> np.ndarray:
    """Read face crops (T, C * H * W), given by their numbers (T,) in any order, from an ark or online."""
    wanted, places = np.unique(rows, return_inverse=True)
    if is_online(location):
        from avsv.video.online import read_faces

        return read_faces(location, wanted)[places]
    first = int(wanted[0])
    return read_rows(location, first, int(wanted[-1]) + 1)[rows - first]


def spread_rows(count: int, wanted: int | None) -> np.ndarray:
    """The middle rows of ``wanted`` equal parts of ``count`` rows; all rows if ``wanted`` is None.

    Source: the frame index floor((j + 0.5) * fps_src / fps_dst) of resampling a clip.

    Example:
        >>> spread_rows(50, 5).tolist(), spread_rows(3, None).tolist()
        ([5, 15, 25, 35, 45], [0, 1, 2])
    """
    if wanted is None:
        return np.arange(count)
    return ((2 * np.arange(wanted) + 1) * count) // (2 * wanted)
