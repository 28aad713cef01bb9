"""Random generators that depend on what is drawn, not on the process that draws it.

The draws for an utterance in an epoch come from a generator seeded with (seed, epoch, utterance): they do not depend on
the number of loader workers, jobs or ranks, or on where a run was interrupted.
"""

import hashlib
from typing import NamedTuple, Protocol

import numpy as np

_BITS = (1 << 64) - 1


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


class Numbers(Protocol):
    """A source of single random numbers: a :class:`Counter`, or a ``np.random.Generator``."""

    def integers(self, low: int, high: int | None = None) -> int:
        """An integer of ``low`` to ``high - 1``, or of 0 to ``low - 1`` without ``high``."""

    def uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""


class Counter:
    """The random numbers of a seed: hashes of the seed plus multiples of a constant.

    Making one costs a fraction of a microsecond, a numpy generator ten: several are needed for every training clip.

    Source: SplitMix64; Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 16.

    Args:
        seed: 64 bits.

    Example:
        >>> numbers = Counter(1)
        >>> [numbers.integers(6) for _ in range(8)], 2.0 <= numbers.uniform(2.0, 3.0) < 3.0
        ([3, 4, 5, 2, 2, 4, 5, 3], True)
    """

    def __init__(self, seed: int) -> None:
        self._state = seed

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = mixed = (self._state + 0x9E3779B97F4A7C15) & _BITS
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _BITS
        return mixed ^ (mixed >> 31)

    def integers(self, low: int, high: int | None = None) -> int:
        """See :meth:`Numbers.integers`."""
        if high is None:
            low, high = 0, low
        return low + (self.bits() * (high - low) >> 64)

    def uniform(self, low: float, high: float) -> float:
        """See :meth:`Numbers.uniform`."""
        return low + (high - low) * ((self.bits() >> 11) / (1 << 53))


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

    def counter(self, purpose: str) -> Counter:
        """A few numbers for one of the utterance's draws."""
        return Counter(self.seed_for(purpose))

    def generator(self, purpose: str) -> np.random.Generator:
        """A numpy generator for one of the utterance's draws, where arrays are drawn."""
        return np.random.default_rng(self.seed_for(purpose))
