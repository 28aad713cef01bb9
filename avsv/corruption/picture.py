"""Corruptions of faces, equal for all frames of a clip: blur, occlusion, low resolution, darkness."""

import numpy as np

READ_NOISE = 2.0  # gray levels, standard deviation of the noise of a camera in the dark


def blur(frames: np.ndarray, percent: float) -> np.ndarray:
    """Gaussian blur of (T, C, H, W) with a standard deviation in percent of the height of the picture."""
    import cv2

    sigma = percent / 100 * frames.shape[2]
    shape = frames.shape
    planes = frames.reshape(-1, *shape[2:])
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in planes]).reshape(shape)


def occlude(frames: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Cover a share of the picture with a rectangle of one gray level and its aspect ratio, at a random position.

    Example:
        >>> hidden = occlude(np.full((2, 1, 10, 10), 200, np.uint8), 0.25, np.random.default_rng(0))
        >>> int((hidden != 200).sum())
        50
    """
    height, width = frames.shape[2:]
    tall, wide = (max(1, round(side * np.sqrt(share))) for side in (height, width))
    top, left = (int(rng.integers(side - size + 1)) for side, size in ((height, tall), (width, wide)))
    hidden = frames.copy()
    hidden[:, :, top : top + tall, left : left + wide] = rng.integers(0, 160)
    return hidden


def lower_resolution(frames: np.ndarray, pixels: int) -> np.ndarray:
    """Shrink the picture to a height of ``pixels`` and enlarge it again; a picture that is not higher is unchanged."""
    import cv2

    height, width = frames.shape[2:]
    if pixels >= height:
        return frames
    small = (max(1, round(width * pixels / height)), pixels)
    planes = [
        cv2.resize(cv2.resize(plane, small, interpolation=cv2.INTER_AREA), (width, height))
        for plane in frames.reshape(-1, height, width)
    ]
    return np.stack(planes).reshape(frames.shape)


def darken(frames: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """Reduce the light to a share of it, add the noise of a camera, and round to whole gray levels."""
    dark = frames * np.float32(light) + np.float32(READ_NOISE) * rng.standard_normal(frames.shape, dtype=np.float32)
    return np.rint(dark).clip(0, 255).astype(np.uint8)
