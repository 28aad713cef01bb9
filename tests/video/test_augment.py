"""Augmentation that is equal in all frames, and the scalings of SPEC B."""

import numpy as np
import pytest
import torch

from avsv.video import augment
from avsv.video.augment import augment_clip, normalize


def clip(frames: int = 6, channels: int = 1, side: int = 48, seed: int = 0) -> np.ndarray:
    """Different smooth frames, (T, C, H, W)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (frames * channels, 1, 6, 6)).astype(np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), (side, side), mode="bicubic")
    return fine.clamp(0, 255).byte().numpy().reshape(frames, channels, side, side)


def only(monkeypatch, *names: str) -> None:
    """Disable all augmentations except the named ones, which are always applied."""
    for name in ("FLIP", "PHOTOMETRIC", "GEOMETRIC", "BLUR", "NOISE", "CUTOUT", "GRAY"):
        monkeypatch.setattr(augment, name, float(name in names))


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_of_a_clip_are_augmented_equally(channels):
    still = np.repeat(clip(1, channels), 5, axis=0)
    changed = 0
    for seed in range(40):
        result = augment_clip(still, np.random.default_rng(seed))
        assert result.shape == still.shape
        assert result.dtype == np.uint8
        assert (result == result[:1]).all()
        changed += not np.array_equal(result, still)
    assert changed > 30


def test_what_a_frame_becomes_does_not_depend_on_the_others():
    frames = clip(8)
    for seed in range(20):
        alone = augment_clip(frames[3:4], np.random.default_rng(seed))
        assert np.array_equal(augment_clip(frames, np.random.default_rng(seed))[3:4], alone)


def test_equal_generators_give_equal_results_and_the_input_stays():
    frames = clip()
    before = frames.copy()
    results = [augment_clip(frames, np.random.default_rng(seed)) for seed in (1, 1, 2, 3)]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[1], results[2])
    assert np.array_equal(frames, before)
    results[3][:] = 0
    assert np.array_equal(frames, before)


def test_without_augmentation_nothing_changes(monkeypatch):
    only(monkeypatch)
    assert np.array_equal(augment_clip(clip(), np.random.default_rng(0)), clip())


def test_half_of_the_clips_are_flipped(monkeypatch):
    only(monkeypatch)
    monkeypatch.setattr(augment, "FLIP", 0.5)
    frames = clip(2)
    flipped = 0
    for seed in range(400):
        result = augment_clip(frames, np.random.default_rng(seed))
        flipped += np.array_equal(result, frames[..., ::-1])
        assert np.array_equal(result, frames) or np.array_equal(result, frames[..., ::-1])
    assert 160 <= flipped <= 240  # four standard deviations


def test_light_is_a_rising_map_of_levels(monkeypatch):
    only(monkeypatch, "PHOTOMETRIC")
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    maps = [augment_clip(ramp, np.random.default_rng(seed)).ravel().astype(int) for seed in range(200)]
    assert all((np.diff(levels) >= 0).all() for levels in maps)
    middle = np.array(maps)[:, 128]
    assert middle.min() < 100
    assert middle.max() > 156
    assert abs(np.median(middle) - 128) < 12


def test_color_is_taken_out_of_some_clips(monkeypatch):
    only(monkeypatch, "GRAY")
    frames = clip(2, channels=3)
    result = augment_clip(frames, np.random.default_rng(0))
    assert (result == result[:, :1]).all()
    luma = 0.299 * frames[:, 0] + 0.587 * frames[:, 1] + 0.114 * frames[:, 2]
    assert np.abs(result[:, 0] - luma).max() <= 0.5 + 1e-6
    assert np.array_equal(augment_clip(clip(), np.random.default_rng(0)), clip())


def test_tint_is_a_factor_of_each_channel(monkeypatch):
    only(monkeypatch, "PHOTOMETRIC")
    for name in ("BRIGHTNESS", "CONTRAST", "GAMMA"):
        monkeypatch.setattr(augment, name, 0.0)
    frames = np.full((2, 3, 8, 8), 200, np.uint8)
    factors = np.array([augment_clip(frames, np.random.default_rng(seed))[0, :, 0, 0] for seed in range(200)]) / 200
    assert np.exp(-0.15) - 0.003 < factors.min() < 0.88
    assert 1.13 < factors.max() < np.exp(0.15) + 0.003
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.25
    gray = np.full((2, 1, 8, 8), 200, np.uint8)
    assert np.array_equal(augment_clip(gray, np.random.default_rng(0)), gray)


def test_geometry_is_small_and_repeats_the_edge(monkeypatch):
    only(monkeypatch, "GEOMETRIC")
    plain = np.full((2, 1, 64, 64), 90, np.uint8)
    dot = np.zeros((1, 1, 64, 64), np.uint8)
    dot[0, 0, 28:36, 28:36] = 200
    places = []
    for seed in range(60):
        assert (augment_clip(plain, np.random.default_rng(seed)) == 90).all()
        moved = augment_clip(dot, np.random.default_rng(seed))[0, 0].astype(float)
        rows, columns = np.indices(moved.shape)
        places.append([(rows * moved).sum() / moved.sum() - 31.5, (columns * moved).sum() / moved.sum() - 31.5])
    assert 3 < np.abs(places).max() < 0.06 * 64 + 0.1
    assert np.abs(np.mean(places, axis=0)).max() < 1.0


def test_blur_keeps_the_mean_and_smooths(monkeypatch):
    only(monkeypatch, "BLUR")
    rough = np.random.default_rng(5).integers(0, 256, (1, 1, 64, 64), dtype=np.uint8)
    for seed in range(20):
        soft = augment_clip(rough, np.random.default_rng(seed))
        assert abs(soft.mean() - rough.mean()) < 2
        assert soft.std() < 0.85 * rough.std()


def test_noise_has_the_documented_strength(monkeypatch):
    only(monkeypatch, "NOISE")
    plain = np.full((2, 1, 64, 64), 128, np.uint8)
    strengths = [augment_clip(plain, np.random.default_rng(seed)).std() for seed in range(60)]
    assert 1.8 < min(strengths) < 3.5
    assert 8.5 < max(strengths) < 10.6


def test_a_cutout_is_one_rectangle_of_one_level(monkeypatch):
    only(monkeypatch, "CUTOUT")
    frames = clip(3, side=64)
    shares = []
    for seed in range(100):
        covered = (augment_clip(frames, np.random.default_rng(seed)) != frames).any(axis=(0, 1))
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        result = augment_clip(frames, np.random.default_rng(seed))
        inside = result[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert len(np.unique(inside)) == 1
        shares.append(covered.mean())
    assert max(shares) < 0.17
    assert np.median(shares) > 0.03


def test_gray_scaling_as_specified():
    levels = normalize(np.array([0, 255, 76], np.uint8).reshape(3, 1, 1, 1)).ravel()
    assert levels.dtype == np.float32
    assert np.allclose(levels, [-0.5, 0.5, -0.201], atol=2e-3)
    assert levels[:2].tolist() == [-0.5, 0.5]


def test_color_scaling_as_specified():
    mean = (0.4582268298, 0.3447833359, 0.3283427358)
    scale = (0.2709922791, 0.2274252474, 0.2343513072)
    frames = np.stack([np.full((3, 4, 4), level, np.uint8) for level in (0, 255)])
    result = normalize(frames, mean, scale)
    assert np.allclose(result[0, :, 0, 0], [-1.6909, -1.5160, -1.4011], atol=5e-5)
    assert np.allclose(result[1, :, 0, 0], [1.9992, 2.8810, 2.8660], atol=5e-5)


def test_facenet_scaling_as_specified():
    result = normalize(np.full((1, 1, 1, 1), 255, np.uint8), 127.5 / 255, 128 / 255)
    assert result.item() == pytest.approx(0.99609375)


def test_tensors_and_arrays_scale_alike():
    frames = clip(3, channels=3)
    for options in ({}, {"mean": (0.4, 0.3, 0.2), "scale": (0.2, 0.3, 0.4)}):
        tensor = normalize(torch.from_numpy(frames), **options)
        assert tensor.dtype == torch.float32
        assert np.allclose(tensor.numpy(), normalize(frames, **options), atol=1e-6)
