"""Measures of the quality of face crops compared with another library, and on pictures for which they are known."""

import numpy as np
import pytest
from scipy import ndimage

from avsv.corruption.picture import blur, darken, occlude
from avsv.video.quality import face_quality


def texture(frames=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, 1, 40, 32)).astype(np.uint8)


def test_measures_are_those_of_scipy():
    crops = texture()
    found = face_quality(crops)
    gray = crops[:, 0].astype(np.float64)
    inner = [ndimage.laplace(picture)[1:-1, 1:-1].var() for picture in gray]
    assert found.sharpness == pytest.approx(np.mean(np.log1p(inner)))
    assert found.brightness == pytest.approx(np.mean(np.log1p(gray.mean(axis=(1, 2)))))
    assert found.contrast == pytest.approx(np.mean(np.log1p(gray.std(axis=(1, 2)))))
    assert found.flatness < 0.01


def test_colors_are_averaged():
    gray = texture()
    assert face_quality(np.repeat(gray, 3, axis=1)) == pytest.approx(face_quality(gray))


def test_flatness_is_the_hidden_share():
    hidden = occlude(texture(), 0.5, np.random.default_rng(0))
    # Pixels beside the edge have a gradient.
    assert face_quality(hidden).flatness == pytest.approx(0.5, abs=0.08)


def test_what_blur_and_darkness_do():
    crops = texture()
    sharp, soft = face_quality(crops), face_quality(blur(crops, 8))
    assert soft.sharpness < sharp.sharpness - 3
    assert soft.brightness == pytest.approx(sharp.brightness, abs=0.01)
    dark = face_quality(darken(crops, 0.1, np.random.default_rng(0)))
    assert dark.brightness == pytest.approx(sharp.brightness - np.log(10), abs=0.1)
    black = face_quality(np.zeros((1, 1, 8, 8), np.uint8))
    assert black == (0, 0, 0, 1)
