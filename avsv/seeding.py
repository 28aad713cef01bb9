"""Random generators that depend on what is drawn, never on who draws it.

A draw for an utterance in an epoch comes from a generator made of (seed, epoch, utterance): the number of loader
workers, jobs or ranks, and where a run was interrupted, change nothing.
"""

import hashlib
from typing import NamedTuple

import numpy as np


def seed_for(seed: int, *keys: int | str) -> int:
    """A 63-bit seed from a base seed and any keys.

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
    """What the draws for an utterance in an epoch depend on.

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
