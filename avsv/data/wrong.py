"""Wrong labels on purpose, to study how much of them a training tolerates."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avsv.seeding import generator_for


def wrong_rows(
    labels: Sequence[str], share: float, seed: int, what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose rows whose label is to be wrong, and for each the row whose label it gets instead.

    The chosen rows exchange their labels with each other, so each label stays as frequent as it is. No row keeps its
    own label as long as none of the labels is that of more than half of the chosen rows.

    Args:
        labels: of N rows.
        share: of the rows that are to be wrong, in [0, 1].
        seed: base seed.
        what: name of the label, so that wrong labels of several kinds are drawn independently.

    Returns:
        The chosen rows, round(share N) of them, and the rows from which they take their labels.

    Example:
        >>> rows, sources = wrong_rows("abcdef", 0.5, 0, "speaker")
        >>> len(rows), sorted(rows) == sorted(sources), bool((rows == sources).any())
        (3, True, False)
    """
    rng = generator_for(seed, "wrong", what)
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    if len(chosen) == 0:
        return chosen, chosen
    numbers = np.unique([labels[row] for row in chosen], return_inverse=True)[1]
    rows = chosen[np.argsort(numbers, kind="stable")]
    return rows, np.roll(rows, int(np.bincount(numbers).max()))
