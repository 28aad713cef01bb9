"""Angles of every identity, by system: the grouped box plots of Claborne et al., figures 1 to 3."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from avsv.analysis.geometry import identity_rows, sample_identities, voice_to_face, within_angles
from avsv.analysis.rows import IdentityBox
from avsv.analysis.spaces import Space

MAX_IDENTITIES = 16  # in the plot; the table has all
MEASURES = {
    "voice to face": "angle between voice and face of a clip",
    "within voice": "angle between two voices of an identity",
    "within face": "angle between two faces of an identity",
}


def identity_boxes(system: str, spaces: Mapping[str, Space]) -> list[IdentityBox]:
    """The boxes of all identities of a system, by measure; identities without an angle have none.

    Args:
        system: its name.
        spaces: its embeddings by modality, see :func:`avsv.analysis.spaces.read_spaces`. Those of a system of one
            modality give only the angles within it.

    Example:
        >>> names = np.array(["a", "a", "b"])
        >>> voice = Space(["a-1", "a-2", "b-1"], np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32), names)
        >>> [(box.measure, box.identity, box.count, box.median) for box in identity_boxes("ecapa", {"A": voice})]
        [('within voice', 'a', 1, 90.0)]
    """
    found = []
    for measure, identity, angles in _angles(spaces):
        if len(angles):
            quantiles = np.quantile(angles, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
            found.append(IdentityBox(system, measure, identity, len(angles), *quantiles))
    return found


def shown_identities(boxes: Sequence[IdentityBox], seed: int = 0) -> list[str]:
    """The identities that a plot of limited width shows: up to :data:`MAX_IDENTITIES`, drawn at random."""
    names = np.unique([box.identity for box in boxes])
    if len(names) <= MAX_IDENTITIES:
        return names.tolist()
    return names[sample_identities(names, len(names), MAX_IDENTITIES, seed)].tolist()


def _angles(spaces: Mapping[str, Space]) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """Measure, identity and angles."""
    if {"A", "V"} <= spaces.keys():
        for identity, (voice, face) in _by_identity(spaces["A"], spaces["V"]):
            yield "voice to face", identity, voice_to_face(voice, face)
    for letter, measure in (("A", "within voice"), ("V", "within face")):
        if letter in spaces:
            for identity, (space,) in _by_identity(spaces[letter]):
                yield measure, identity, within_angles(space.vectors, space.identities)


def _by_identity(*spaces: Space) -> Iterator[tuple[str, list[Space]]]:
    """The parts of spaces that belong to each identity of the first."""
    rows = [identity_rows(space.identities) for space in spaces]
    for identity in rows[0]:
        if all(identity in of for of in rows):
            parts = [(space, of[identity]) for space, of in zip(spaces, rows, strict=True)]
            yield identity, [_part(space, mine) for space, mine in parts]


def _part(space: Space, rows: NDArray[np.intp]) -> Space:
    return Space([space.keys[row] for row in rows], space.vectors[rows], space.identities[rows])
