"""Utterances that are corrupted each in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from avsv.corruption.kinds import Corruption, Level
from avsv.corruption.sound import Noises
from avsv.corruption.table import KINDS
from avsv.seeding import generator_for

MISSING = ("no_audio", "no_video")
"""Kinds that leave nothing to be measured or embedded."""


@dataclass(frozen=True)
class Mixture:
    """For the voice and the face of every utterance, independently: no corruption or one of a list, equally probable.

    Of a list, first the kind is drawn, then the level; a kind that touches both modalities corrupts one of them only.
    Used like a :class:`avsv.corruption.kinds.Corruption`.

    Args:
        conditions: kinds and levels.
        seed: seed of all draws.
        noises: recordings for noise, music and babble.

    Example:
        >>> mixture = Mixture([("clipping", 0.1), ("darkness", 0.3), ("darkness", 0.1), ("no_video", 1)])
        >>> found = {corruption and corruption.level for n in range(30) for corruption in [mixture.of(f"id{n}", "V")]}
        >>> found == {None, 0.3, 0.1}
        True
    """

    touches: ClassVar[str] = "AV"
    kind: ClassVar[str] = "mixture"

    conditions: Sequence[tuple[str, Level]]
    seed: int = 0
    noises: Noises | None = None

    @cached_property
    def _corruptions(self) -> dict[str, dict[str, list[Corruption]]]:
        """By modality and kind."""
        found: dict[str, dict[str, list[Corruption]]] = {"A": {}, "V": {}}
        for kind, level in self.conditions:
            for letter in KINDS[kind].touches if kind not in MISSING else "":
                found[letter].setdefault(kind, []).append(Corruption(kind, level, self.seed, self.noises))
        return found

    def of(self, key: str, letter: str) -> Corruption | None:
        """The corruption of a modality, A or V, of an utterance."""
        kinds = list(self._corruptions[letter].values())
        rng = generator_for(self.seed, "mixture", letter, key)
        if not kinds or rng.random() < 0.5:
            return None
        levels = kinds[rng.integers(len(kinds))]
        return levels[rng.integers(len(levels))]

    def sound(self, waveform: np.ndarray, key: str, sample_rate: int) -> np.ndarray:
        """See :meth:`avsv.corruption.kinds.Corruption.sound`."""
        chosen = self.of(key, "A")
        return waveform if chosen is None else chosen.sound(waveform, key, sample_rate)

    def picture(self, frames: np.ndarray, key: str) -> np.ndarray:
        """See :meth:`avsv.corruption.kinds.Corruption.picture`."""
        chosen = self.of(key, "V")
        return frames if chosen is None else chosen.picture(frames, key)

    def rows(self, rows: np.ndarray, count: int, fps: float, key: str) -> np.ndarray:
        """See :meth:`avsv.corruption.kinds.Corruption.rows`."""
        chosen = self.of(key, "V")
        return rows if chosen is None else chosen.rows(rows, count, fps, key)

    def strangers(self, rows: np.ndarray, count: int, key: str) -> np.ndarray:
        """See :meth:`avsv.corruption.kinds.Corruption.strangers`."""
        chosen = self.of(key, "V")
        return np.zeros(len(rows), dtype=bool) if chosen is None else chosen.strangers(rows, count, key)

    def seconds(self, key: str, letter: str) -> float:
        """See :meth:`avsv.corruption.kinds.Corruption.seconds`."""
        chosen = self.of(key, letter)
        return np.inf if chosen is None else chosen.seconds(key, letter)

    def start(self, key: str, spare: float) -> float:
        """See :meth:`avsv.corruption.kinds.Corruption.start`."""
        return max(chosen.start(key, spare) for letter in "AV" if (chosen := self.of(key, letter)))
