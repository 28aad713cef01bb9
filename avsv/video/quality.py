"""Measures of the quality of face crops, which need no reference."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_FLAT = 1.0  # gray levels per pixel: a weaker gradient is no structure


class FaceQuality(NamedTuple):
    """The quality of the face crops of a clip, in gray levels from 0 to 255 and their natural logarithms.

    Attributes:
        brightness: log(1 + mean gray level).
        contrast: log(1 + standard deviation of the gray levels of a crop).
        sharpness: log(1 + variance of the Laplacian).
        flatness: share of a crop that shows nothing: pixels with a gradient below one gray level.
    """

    brightness: float
    contrast: float
    sharpness: float
    flatness: float


def face_quality(crops: NDArray[np.uint8]) -> FaceQuality:
    """Measure face crops; each measure is the mean over the crops.

    Source: the variance of the Laplacian is measure LAP4 of Pertuz et al. 2013, "Analysis of focus measure operators
    for shape-from-focus".

    Args:
        crops: (T, C, H, W) of bytes; channels are averaged to gray.

    Example:
        >>> half = np.zeros((1, 1, 8, 8), np.uint8)
        >>> half[..., 4:] = 200
        >>> measured = face_quality(half)
        >>> round(np.exp(measured.brightness) - 1), round(np.exp(measured.contrast) - 1), measured.flatness
        (100, 100, 0.75)
    """
    gray = np.asarray(crops, dtype=np.float64).mean(axis=1)
    rows, columns = np.gradient(gray, axis=(1, 2))
    laplacian = np.diff(gray, 2, axis=1)[:, :, 1:-1] + np.diff(gray, 2, axis=2)[:, 1:-1]
    return FaceQuality(
        brightness=float(np.log1p(gray.mean(axis=(1, 2))).mean()),
        contrast=float(np.log1p(gray.std(axis=(1, 2))).mean()),
        sharpness=float(np.log1p(laplacian.var(axis=(1, 2))).mean()),
        flatness=float((np.hypot(rows, columns) < _FLAT).mean()),
    )
