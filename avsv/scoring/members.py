"""The utterances that a side of a trial is made of: one, or those of an enrollment model.

A model is represented by the mean of the embeddings of its utterances, each scaled to length 1, which is scaled to
length 1 again; so is a speaker of the cohort. What holds for a single utterance, such as its duration, is averaged too.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError


class Embeddings(NamedTuple):
    """Embeddings of length 1.

    Attributes:
        matrix: (U, D) float32; rows of zeros for missing embeddings.
        present: (U,) whether there is an embedding.
    """

    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]


class Members(NamedTuple):
    """Which utterances the S sides of trials are made of.

    Attributes:
        utterances: ids of the U utterances of all sides.
        rows: (K,) positions in ``utterances``, of all sides one after the other.
        starts: (S,) where each side begins in ``rows``; each has at least one utterance.
    """

    utterances: list[str]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sides: Sequence[str], models: Mapping[str, Sequence[str]]) -> "Members":
        """Look up sides that are models; all others are utterances.

        Example:
            >>> Members.of(["a-1", "b"], {"b": ["b-1", "b-2"]}).utterances
            ['a-1', 'b-1', 'b-2']
        """
        parts = [models.get(side, (side,)) for side in sides]
        row_of = {key: row for row, key in enumerate(dict.fromkeys(key for part in parts for key in part))}
        rows = np.fromiter((row_of[key] for part in parts for key in part), np.int64)
        starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)[:-1]
        return cls(list(row_of), rows, starts)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(S,) numbers of utterances of the sides."""
        return np.diff(self.starts, append=len(self.rows))

    def pool(self, embeddings: Embeddings, names: Sequence[str]) -> Embeddings:
        """Embeddings (S, D) of sides from those of utterances (U, D); a side lacks one if all its utterances do.

        Args:
            embeddings: of the utterances.
            names: of the sides, for messages.

        Raises:
            DataError: the embeddings of a model cancel out.

        Example:
            >>> x = Embeddings(np.array([[1, 0], [0, 1]], np.float32), np.array([True, True]))
            >>> members = Members.of(["b"], {"b": ["b-1", "b-2"]})
            >>> members.pool(x, ["b"]).matrix.round(3).tolist()
            [[0.7070000171661377, 0.7070000171661377]]
        """
        first = self.rows[self.starts]
        several = np.flatnonzero(self.sizes > 1)
        if not len(several):
            if np.array_equal(first, np.arange(len(embeddings.present))):
                return embeddings
            return Embeddings(embeddings.matrix[first], embeddings.present[first])
        matrix, present = embeddings.matrix[first], embeddings.present[first]
        present[several] = np.logical_or.reduceat(embeddings.present[self.rows], self.starts)[several]
        rows, starts = self._only(several)
        # Missing embeddings are zeros, which add nothing.
        sums = np.add.reduceat(embeddings.matrix[rows], starts, axis=0, dtype=np.float64)
        norms = np.linalg.norm(sums, axis=1)
        empty = present[several] & (norms == 0)
        if empty.any():
            raise DataError(f"model '{names[several[int(empty.argmax())]]}': the embeddings cancel out to zero")
        matrix[several] = sums / np.maximum(norms, np.finfo(np.float64).tiny)[:, np.newaxis]
        return Embeddings(matrix, present)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means (S,) of the known values (U,) of the utterances of a side; NaN where none is known.

        Example:
            >>> Members.of(["a-1", "b"], {"b": ["b-1", "b-2"]}).mean(np.array([5.0, 1.0, 2.0])).tolist()
            [5.0, 1.5]
        """
        of_side = values[self.rows]
        known = ~np.isnan(of_side)
        counts = np.add.reduceat(known, self.starts, dtype=np.int64)
        sums = np.add.reduceat(np.where(known, of_side, 0.0), self.starts)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def common(self, values: NDArray) -> tuple[NDArray, NDArray[np.bool_]]:
        """A value (S,) of each side's utterances, of values (U,), and whether it is that of all of them.

        Example:
            >>> members = Members.of(["a-1", "b"], {"b": ["b-1", "b-2"]})
            >>> [found.tolist() for found in members.common(np.array(["x", "y", "z"]))]
            [['x', 'y'], [True, False]]
        """
        of_side = values[self.rows]
        first = of_side[self.starts]
        same = np.logical_and.reduceat(of_side == np.repeat(first, self.sizes), self.starts)
        return first, same

    def utterances_of(self, sides: NDArray[np.int64]) -> set[str]:
        """The utterances of some sides."""
        return {self.utterances[row] for row in self._only(sides)[0].tolist()}

    def _only(self, sides: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of some sides, in increasing order and each once, and where each begins."""
        chosen = np.zeros(len(self.starts), dtype=bool)
        chosen[sides] = True
        rows = self.rows[np.repeat(chosen, self.sizes)]
        return rows, np.cumsum(np.append(0, self.sizes[sides]))[:-1]
