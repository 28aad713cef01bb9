"""Augmentation of face crops, with the same parameters for all frames of a clip, and scaling of pixels."""

import math
from typing import TypeVar

import numpy as np

Pixels = TypeVar("Pixels")

# Probabilities. The papers do not describe how faces are augmented; all values are chosen here.
FLIP = 0.5
PHOTOMETRIC = 0.8
GEOMETRIC = 0.5
BLUR = 0.2
NOISE = 0.2
CUTOUT = 0.3
GRAY = 0.2  # color frames become gray

# Strengths.
BRIGHTNESS = 0.2  # offset of up to this share of the full range
CONTRAST = 0.3  # factor 1 - x ... 1 + x about mid-gray
GAMMA = 0.3  # exponent exp(-x) ... exp(x)
TINT = 0.15  # factor exp(-x) ... exp(x) of each channel
SHIFT = 0.06  # share of the side of the picture
SCALE = 0.1  # factor exp(-x) ... exp(x)
ROTATION = 10.0  # degrees
BLUR_SIGMA = (0.4, 1.2)  # pixels for a picture of 64 pixels, scaled in proportion for others
NOISE_SIGMA = (2.0, 10.0)  # gray levels
CUTOUT_SIDE = (0.15, 0.4)  # share of the side of the picture
LUMA = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue in gray, ITU-R BT.601


def augment_clip(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Augment a clip of face crops; every draw applies to the whole clip, so that motion does not change.

    Horizontal flip (p 0.5); gamma, contrast and brightness (p 0.8); shift, scale and rotation with the edge repeated
    (p 0.5); Gaussian blur (p 0.2); one pattern of Gaussian noise (p 0.2); a rectangle of one gray level (p 0.3). Color
    frames become gray (p 0.2); otherwise each channel is multiplied by its own factor (with the contrast).

    Args:
        frames: (T, C, H, W) uint8.
        rng: generator of all draws; equal generators give equal results.

    Returns:
        (T, C, H, W) uint8, a new array.

    Example:
        >>> clip = np.tile(np.arange(64, dtype=np.uint8), (2, 1, 64, 1))
        >>> result = augment_clip(clip, np.random.default_rng(1))
        >>> result.shape, bool((result[0] == result[1]).all())
        ((2, 1, 64, 64), True)
    """
    # All decisions are drawn first, so that the draws of one operation do not shift those of the next.
    flip, photometric, geometric, blur, noise, cutout = rng.random(6) < (
        FLIP,
        PHOTOMETRIC,
        GEOMETRIC,
        BLUR,
        NOISE,
        CUTOUT,
    )
    frames = _mirrored(frames) if flip else frames.copy()
    if photometric:
        _look_up(frames, np.broadcast_to(_levels(rng), (frames.shape[1], 256)))
    if frames.shape[1] == 3:
        _change_color(frames, rng, photometric)
    if geometric or blur:
        frames = _filter(frames, rng, geometric, blur)
    if noise:
        pattern = rng.standard_normal(frames.shape[1:], dtype=np.float32) * rng.uniform(*NOISE_SIGMA)
        frames = np.clip(frames + np.rint(pattern).astype(np.int16), 0, 255).astype(np.uint8)
    if cutout:
        _cut_out(frames, rng)
    return frames


def _mirrored(frames: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.flip(np.ascontiguousarray(frames).reshape(-1, frames.shape[-1]), 1).reshape(frames.shape)


def _look_up(frames: np.ndarray, levels: np.ndarray) -> None:
    """Replace the levels of each channel by those of its table, (C, 256), in place."""
    import cv2

    for frame in frames:
        for plane, table in zip(frame, levels, strict=True):
            cv2.LUT(plane, table, dst=plane)


def _levels(rng: np.random.Generator) -> np.ndarray:
    """The new value of each of the 256 levels after a random change of gamma, contrast and brightness."""
    gamma = math.exp(rng.uniform(-GAMMA, GAMMA))
    contrast = 1.0 + rng.uniform(-CONTRAST, CONTRAST)
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    levels = (np.linspace(0.0, 1.0, 256) ** gamma - 0.5) * contrast + 0.5 + brightness
    return np.rint(levels.clip(0.0, 1.0) * 255.0).astype(np.uint8)


def _change_color(frames: np.ndarray, rng: np.random.Generator, tint: bool) -> None:
    """Make frames gray or tint them, in place."""
    gray, factors = rng.random() < GRAY, np.exp(rng.uniform(-TINT, TINT, size=3))
    if gray:
        frames[:] = np.rint(np.tensordot(frames, LUMA, axes=(1, 0))).astype(np.uint8)[:, None]
    elif tint:
        _look_up(frames, np.rint(np.outer(factors, np.arange(256)).clip(0, 255)).astype(np.uint8))


def _filter(frames: np.ndarray, rng: np.random.Generator, geometric: bool, blur: bool) -> np.ndarray:
    """Shift, scale and rotate, then blur, plane by plane; returns a new array."""
    import cv2

    height, width = frames.shape[2:]
    if geometric:
        matrix = cv2.getRotationMatrix2D(
            ((width - 1) / 2, (height - 1) / 2),
            rng.uniform(-ROTATION, ROTATION),
            math.exp(rng.uniform(-SCALE, SCALE)),
        )
        matrix[:, 2] += rng.uniform(-SHIFT, SHIFT, size=2) * (width, height)
    if blur:
        sigma = rng.uniform(*BLUR_SIGMA) * max(height, width) / 64
        size = 2 * math.ceil(2 * sigma) + 1
    result = np.empty_like(frames)
    planes = np.ascontiguousarray(frames).reshape(-1, height, width)
    edge, warped = cv2.BORDER_REPLICATE, np.empty((height, width), dtype=np.uint8)
    for source, target in zip(planes, result.reshape(-1, height, width), strict=True):
        plane = source
        if geometric:
            plane = warped if blur else target
            cv2.warpAffine(source, matrix, (width, height), dst=plane, flags=cv2.INTER_LINEAR, borderMode=edge)
        if blur:
            cv2.GaussianBlur(plane, (size, size), sigma, dst=target, borderType=edge)
    return result


def _cut_out(frames: np.ndarray, rng: np.random.Generator) -> None:
    """Cover a rectangle with one gray level, in place; parts outside the picture are ignored."""
    for_axis = []
    for side in frames.shape[2:]:
        length = max(round(rng.uniform(*CUTOUT_SIDE) * side), 1)
        start = round(rng.uniform(-length / 2, side - length / 2))
        for_axis.append(slice(max(start, 0), max(start + length, 0)))
    frames[:, :, for_axis[0], for_axis[1]] = rng.integers(0, 256)


Levels = float | tuple[float, ...]


def normalize(frames: Pixels, mean: Levels = 0.5, scale: Levels = 1.0) -> Pixels:
    """Scale pixels for a network: (x / 255 - mean) / scale in float32.

    Args:
        frames: (..., C, H, W) uint8, an array or a tensor.
        mean: one value, or one value per channel.
        scale: likewise.

    Returns:
        Float32 of the same shape and kind.

    Example (black and white for gray face networks, then a pixel with the mean of one channel):
        >>> normalize(np.array([[[0, 255]]], dtype=np.uint8)).tolist()
        [[[-0.5, 0.5]]]
        >>> color = np.array([[[51]], [[0]], [[255]]], dtype=np.uint8)
        >>> normalize(color, mean=(0.2, 0.0, 0.5), scale=(1.0, 1.0, 0.5)).ravel().tolist()
        [0.0, 0.0, 1.0]
    """
    if isinstance(frames, np.ndarray):
        result = np.divide(frames, 255, dtype=np.float32)
        mean, scale = (np.asarray(value, dtype=np.float32).reshape(-1, 1, 1) for value in (mean, scale))
    else:
        result = frames / 255
        # A number needs no tensor, which would have to be copied to the device.
        mean, scale = (
            value if isinstance(value, float) else result.new_tensor(value).reshape(-1, 1, 1) for value in (mean, scale)
        )
    result -= mean
    if not isinstance(scale, float) or scale != 1.0:
        result /= scale
    return result
