"""The canvas on which a head is drawn from the front, and functions to draw on it in head units."""

import cv2
import numpy as np

from .face_model import Color

CANVAS = 192  # pixels of the square
UNIT = 62.0  # pixels of a head unit
CENTER = (96.0, 100.0)  # pixel of the center of the head
_SUBPIXEL = 4  # bits of sub-pixel positions in OpenCV's drawing


def over(front: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Put a premultiplied BGRA picture over a BGR picture.

    Example:
        >>> over(np.uint8([[[0, 0, 0, 0], [9, 8, 7, 255]]]), np.uint8([[[1, 2, 3], [4, 5, 6]]])).tolist()
        [[[1, 2, 3], [9, 8, 7]]]
    """
    alpha = cv2.cvtColor(255 - front[..., 3], cv2.COLOR_GRAY2BGR)
    return cv2.add(cv2.cvtColor(front, cv2.COLOR_BGRA2BGR), cv2.multiply(back, alpha, scale=1 / 255))


def darker(color: Color, factor: float) -> Color:
    """A color with its brightness multiplied by a factor.

    Example:
        >>> darker((100.0, 50.0, 200.0), 0.5)
        (50.0, 25.0, 100.0)
    """
    return color[0] * factor, color[1] * factor, color[2] * factor


def pixels(points: np.ndarray) -> np.ndarray:
    """Convert head units (n, 2) to OpenCV's fixed-point positions on the canvas."""
    return np.rint((np.asarray(points) * UNIT + CENTER) * 2**_SUBPIXEL).astype(np.int32)


def paint(image: np.ndarray, color: Color | int) -> tuple[float, ...]:
    """The color in OpenCV's form for an image: opaque on BGRA, a number for a single channel."""
    if isinstance(color, tuple):
        return (*np.clip(color, 0, 255).tolist(), 255.0)[: image.shape[2]]
    return (float(color),)


def fill(image: np.ndarray, points: np.ndarray, color: Color | int) -> None:
    """Fill a polygon given in head units."""
    cv2.fillPoly(image, [pixels(points)], paint(image, color), cv2.LINE_AA, _SUBPIXEL)


def curve(image: np.ndarray, points: np.ndarray, color: Color | int, width: float, closed: bool = False) -> None:
    """Draw a line through points given in head units; on the canvas it is at least one pixel wide."""
    thickness = max(1, round(width * UNIT))
    cv2.polylines(image, [pixels(points)], closed, paint(image, color), thickness, cv2.LINE_AA, _SUBPIXEL)


def ellipse(
    image: np.ndarray,
    center: tuple[float, float] | np.ndarray,
    radii: tuple[float, float],
    turn: float,
    color: Color | int,
) -> None:
    """Fill an ellipse given in head units, rotated by ``turn`` radians."""
    points = circle((0, 0), radii, 2.0)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    fill(image, points @ rotation + np.asarray(center), color)


def circle(center: tuple[float, float], radii: tuple[float, float], power: float) -> np.ndarray:
    """Points (32, 2) of a superellipse: a circle for power 2, nearly a rectangle for large powers."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    wave = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sign(wave) * np.abs(wave) ** (2 / power) * radii + np.asarray(center)


def arc(start: tuple[float, float], end: tuple[float, float], bulge: float) -> np.ndarray:
    """Points (9, 2) from start to end, displaced by up to ``bulge`` to the left of the direction.

    Example:
        >>> arc((0.0, 0.0), (1.0, 0.0), 0.5)[4].tolist()
        [0.5, 0.5]
    """
    a, b = np.asarray(start, float), np.asarray(end, float)
    t = np.linspace(0, 1, 9)[:, None]
    way = b - a
    across = np.array([-way[1], way[0]]) / max(np.hypot(*way), 1e-6)
    return a + t * way + 4 * t * (1 - t) * bulge * across


def smooth_loop(points: np.ndarray) -> np.ndarray:
    """A closed smooth curve (10 n, 2) through points (n, 2): cubic Hermite segments with tangents from the neighbors.

    Example:
        >>> loop = smooth_loop(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
        >>> loop.shape, loop[10].tolist(), loop[5].round(2).tolist()
        ((40, 2), [0.0, 1.0], [0.62, 0.62])
    """
    after = np.roll(points, -1, axis=0)
    # Centripetal steps, so that short segments between long ones form no loops.
    step = np.sqrt(np.linalg.norm(after - points, axis=1, keepdims=True))
    before, step_before = np.roll(points, 1, axis=0), np.roll(step, 1, axis=0)
    slope = (after - before) / (step + step_before)
    slope_after = np.roll(slope, -1, axis=0)
    t = np.linspace(0, 1, 10, endpoint=False)[:, None, None]
    rise = (3 - 2 * t) * t**2
    pull = (t - 2 * t**2 + t**3) * slope + (t**3 - t**2) * slope_after
    return ((1 - rise) * points + rise * after + step * pull).transpose(1, 0, 2).reshape(-1, 2)


def curl(loop: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """A closed curve with curls of ``size`` along it."""
    phase = np.linspace(0, 2 * np.pi * rng.integers(22, 28), len(loop), endpoint=False) + rng.uniform(0, 6)
    outward = loop / np.maximum(np.linalg.norm(loop, axis=1, keepdims=True), 1e-6)
    return loop + outward * size * np.sin(phase)[:, None]


def box(left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """Slices of the rows and columns of the canvas between bounds in head units."""
    return slice(*box_rows(top, bottom)), slice(round(left * UNIT + CENTER[0]), round(right * UNIT + CENTER[0]))


def box_rows(top: float, bottom: float) -> tuple[int, int]:
    """The first and last rows of the canvas between bounds in head units."""
    return max(0, round(top * UNIT + CENTER[1])), min(CANVAS, round(bottom * UNIT + CENTER[1]))
