"""Worth of the moments of a clip: how much of the voice can be heard, and of the face be seen, at each time.

Stretches of a clip are spoiled, as in the wild: the voice is silent or covered by a burst of noise, the face is turned
away, blurred, in the dark or hidden. The worth is 1 where nothing is spoiled and 0 where nothing is left.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from avsv.seeding import generator_for

from .plan import Clip, Settings

VOICE_KINDS = ("silent", "burst")
FACE_KINDS = ("turned", "blurred", "dark", "hidden")
# Difference of the latent curve, in its standard deviations, between a worth of 1 and of 0.
_RAMP = 0.5


@dataclass(frozen=True)
class Spoiled:
    """What spoils one modality of a clip of T video frames.

    Attributes:
        worth: (T,) between 0 and 1.
        kinds: (T,) index of the kind that spoils a frame, in VOICE_KINDS or FACE_KINDS; constant within a stretch.
    """

    worth: np.ndarray
    kinds: np.ndarray

    def strength(self, kind: int) -> np.ndarray:
        """(T,) How strongly a kind acts in each frame, between 0 and 1."""
        return np.where(self.kinds == kind, 1 - self.worth, 0.0)


def spoil(clip: Clip, settings: Settings) -> tuple[Spoiled, Spoiled]:
    """What spoils the voice and the face of a clip, a pure function of the seed of the corpus and the names.

    A slow random curve exceeds a threshold in as large a share of the clip as is drawn from ``worth.spoiled``. The
    curves and shares of voice and face are mixed of a common part and parts of their own, so that they correlate by
    ``worth.correlation``.
    """
    knobs = settings.worth
    frames = round(clip.seconds * settings.media["fps"])
    rng = generator_for(clip.identity.seed, "worth", clip.key)
    knots = np.arange(0, clip.seconds + 2 * knobs["stretch"], knobs["stretch"])
    times = (np.arange(frames) + 0.5) / settings.media["fps"] + rng.random() * knobs["stretch"]
    # Of the common part, of the voice, of the face: the share first, then the curve.
    drawn = rng.standard_normal((3, 1 + len(knots)))
    weight = knobs["correlation"]
    made = []
    for own, kinds in ((drawn[1], VOICE_KINDS), (drawn[2], FACE_KINDS)):
        share, *curve = np.sqrt(weight) * drawn[0] + np.sqrt(1 - weight) * own
        low, high = knobs["spoiled"]
        share = low + (high - low) * NormalDist().cdf(share)
        latent = np.interp(times, knots, curve)
        worth = np.clip((np.quantile(latent, 1 - share) - latent) / _RAMP + 0.5, 0, 1)
        stretch = np.cumsum(np.diff(worth < 1, prepend=False) & (worth < 1))
        made.append(Spoiled(worth, rng.integers(0, len(kinds), stretch.max() + 1)[stretch]))
    return made[0], made[1]
