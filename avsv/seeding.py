"""Random generators that depend on what is drawn, not on the process that draws it.

The draws for an utterance in an epoch come from a generator seeded with (seed, epoch, utterance): they do not depend on
the number of loader workers, jobs or ranks, or on where a run was interrupted.
"""

import hashlib
from typing import NamedTuple

import numpy as np


def seed_for(seed: int, *keys: int | str) -> int:
    """A 63-bit seed computed from a base seed and any keys.

    Example:
        >>> seed_for(0, "augment", 3, "id1-a") == seed_for(0, "augment", 3, "id1-a")
        True
        >>> seed_for(0, "augment", 3) == seed_for(1, "augment", 3)
        False
    """
    text = "\x1f".join([str(seed), *(str(key) for key in keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator_for(seed: int, *keys: int | str) -> np.random.Generator:
    """A numpy generator for the given seed and keys; see :func:`seed_for`."""
    return np.random.default_rng(seed_for(seed, *keys))


class Draw(NamedTuple):
    """The values on which the draws for an utterance in an epoch depend.

    Example:
        >>> Draw(0, 3, "id1-a").seed_for("noise") == seed_for(0, "noise", 3, "id1-a")
        True
    """

    seed: int
    epoch: int
    key: str

    def seed_for(self, purpose: str) -> int:
        """A seed for one of the utterance's draws."""
        return seed_for(self.seed, purpose, self.epoch, self.key)

    def generator(self, purpose: str) -> np.random.Generator:
        """A numpy generator for one of the utterance's draws."""
        return np.random.default_rng(self.seed_for(purpose))
