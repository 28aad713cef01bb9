"""Rendering of talking heads: one textured relief per clip, which is rotated, lit and filmed in every frame.

The head of a clip is drawn once from the front, at twice the size of the picture, together with a depth map. In each
frame, only eyes and mouth are drawn again.
"""

import numpy as np

from avsv.seeding import generator_for

from .face_model import Appearance, Face
from .film import Film
from .plan import Settings
from .relief import Relief
from .worth import FACE_KINDS, Spoiled


def render(
    face: Face, look: Appearance, mouth: np.ndarray, spoiled: Spoiled, settings: Settings, key: str
) -> np.ndarray:
    """Render the frames of a clip.

    Args:
        face, look: the face, and its appearance in the session.
        mouth: (T,) opening of the mouth in each frame, between 0 and 1.
        spoiled: in which frames little can be seen of the face.
        settings: size of the picture, and how strongly a face is spoiled.
        key: name of the clip, on which motion and blinking depend.

    Returns:
        uint8 (T, size, size, 3), BGR.
    """
    rng = generator_for(look.seed, "motion", key)
    size, knobs = settings.media["size"], settings.worth
    relief = Relief(face, look)
    film = Film(look, size, rng)
    motion = head_motion(len(mouth), mouth, rng)
    eyes = eye_opening(len(mouth), rng)
    turned, blurred, dark, hidden = (spoiled.strength(kind) for kind in range(len(FACE_KINDS)))
    motion[:, 0] += np.radians(knobs["turned"]) * rng.choice([-1, 1]) * turned
    light = knobs["dark"] ** dark
    frames = np.empty((len(mouth), size, size, 3), np.uint8)
    for number in range(len(mouth)):
        picture = relief.texture(float(eyes[number]), float(mouth[number]))
        frame = film.shoot(picture, relief, motion[number], float(mouth[number]), float(hidden[number]))
        frames[number] = film.develop(frame, float(light[number]), float(knobs["blurred"] * blurred[number]))
    return frames


def head_motion(num_frames: int, mouth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Yaw, pitch, roll in radians and shifts x, y in head units, relative to the session's pose, (num_frames, 5)."""
    time = np.arange(num_frames)[:, None, None] / 25
    rate = rng.uniform(0.15, 0.9, (1, 5, 3))
    waves = np.sin(2 * np.pi * (rate * time + rng.random((1, 5, 3)))).sum(axis=2)
    motion = waves * np.array([0.06, 0.03, 0.025, 0.015, 0.012])
    motion[:, 1] += 0.03 * (np.convolve(np.pad(mouth, 3, mode="edge"), np.ones(7) / 7, "valid") - 0.4)
    return motion


def eye_opening(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """The opening of the eyes, (num_frames,), with a blink of five frames about every two seconds."""
    opening = np.ones(num_frames)
    start = int(rng.integers(0, 40))
    while start < num_frames:
        blink = np.array([0.5, 0.0, 0.0, 0.4, 0.8])[: num_frames - start]
        opening[start : start + len(blink)] = blink
        start += int(rng.integers(25, 90))
    return opening
