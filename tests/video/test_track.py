"""Tracking a face, interpolation, alignment and cropping, compared with brute force and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch

from avsv.video.config import FacesConfig
from avsv.video.detect import Face
from avsv.video.track import TEMPLATE, align_transform, box_transform, follow_face, interpolate, warp


def face(left: float, top: float, side: float) -> Face:
    return Face(np.array([left, top, left + side, top + side], dtype=float))


@pytest.mark.parametrize("select", ["largest", "central"])
def test_the_best_path_is_found(select):
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = [
            [face(*rng.uniform(0, 60, 2), rng.uniform(10, 40)) for _ in range(rng.integers(0, 4))] for _ in range(5)
        ]
        largest = max((float(f.box[2] - f.box[0]) ** 2 for faces in found for f in faces), default=1.0)

        def worth(one: Face, largest: float = largest) -> float:
            if select == "largest":
                return float(one.box[2] - one.box[0]) ** 2 / largest
            center = (one.box[:2] + one.box[2:]) / 2
            return max(1 - math.dist(center, (50, 50)) / math.hypot(50, 50), 0)

        def distance(a: Face, b: Face) -> float:
            return math.dist((a.box[:2] + a.box[2:]) / 2, (b.box[:2] + b.box[2:]) / 2)

        def same(first: int, a: Face, second: int, b: Face, found: list = found) -> bool:
            mean_side = (a.box[2] - a.box[0] + b.box[2] - b.box[0]) / 2
            nearest = all(distance(a, b) <= distance(a, other) for other in found[second])
            nearest &= all(distance(a, b) <= distance(other, b) for other in found[first])
            return nearest and distance(a, b) < mean_side * (second - first)

        def total(path) -> float:
            path = [(n, one) for n, one in enumerate(path) if one is not None]
            changes = sum(not same(*a, *b) for a, b in itertools.pairwise(path))
            return sum(worth(one) for _, one in path) - 2 * changes

        best = max(total(path) for path in itertools.product(*([None, *faces] for faces in found)))
        chosen = follow_face(found, 100, 100, select)
        assert all(one is None or any(one is f for f in faces) for one, faces in zip(chosen, found, strict=True))
        assert total(chosen) == pytest.approx(best)


def test_a_flicker_in_size_does_not_change_the_person():
    left = [face(10, 10, 20) for _ in range(9)]
    right = [face(60, 10, 21 if n == 4 else 18) for n in range(9)]
    chosen = follow_face([[a, b] for a, b in zip(left, right, strict=True)], 100, 100)
    assert all(one is expected for one, expected in zip(chosen, left, strict=True))


def test_a_missed_detection_does_not_bring_in_somebody_else():
    one, other = face(10, 10, 20), face(60, 10, 17)
    found = [[one, other]] * 4 + [[other]] + [[one, other]] * 4
    chosen = follow_face(found, 100, 100)
    assert [picked is one for picked in chosen] == [True] * 4 + [False] + [True] * 4
    assert chosen[4] is None


def test_a_face_that_moves_wins_over_a_picture_on_the_wall():
    wall = face(0, 60, 12)
    moving = [face(5 + 8 * n, 10, 20) for n in range(10)]
    chosen = follow_face([[wall, one] for one in moving], 100, 100)
    assert all(one is expected for one, expected in zip(chosen, moving, strict=True))


def test_a_cut_to_another_camera_is_followed():
    before, after = face(0, 0, 20), face(70, 60, 20)
    chosen = follow_face([[before]] * 5 + [[after]] * 5, 100, 100)
    assert all(picked is (before if n < 5 else after) for n, picked in enumerate(chosen))


def test_largest_and_central_differ():
    small_central, large_outside = face(45, 45, 10), face(0, 0, 30)
    assert follow_face([[small_central, large_outside]], 100, 100, "largest")[0] is large_outside
    assert follow_face([[small_central, large_outside]], 100, 100, "central")[0] is small_central


def test_no_faces_at_all():
    assert follow_face([[], [], []], 100, 100) == [None, None, None]


def test_gaps_are_linear_and_ends_are_held():
    values = np.array([[10.0, 0.0], [20.0, 4.0], [20.0, 8.0]])
    filled = interpolate(values, np.array([2, 4, 8]), 11)
    assert filled[:3].tolist() == [[10, 0]] * 3
    assert filled[3].tolist() == [15, 2]
    assert filled[4:9, 1].tolist() == [4, 5, 6, 7, 8]
    assert filled[8:].tolist() == [[20, 8]] * 3


@pytest.mark.parametrize(("height", "width"), [(112, 112), (128, 128), (96, 160)])
def test_alignment_undoes_a_similarity(height, width):
    config = FacesConfig(detector="yunet", align=True, height=height, width=width)
    side = min(height, width)
    wanted = TEMPLATE * side / 112 + [(width - side) / 2, (height - side) / 2]
    angle, scale, shift = math.radians(25), 2.3, np.array([40.0, -7.0])
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    seen = wanted @ turn.T + shift
    matrix = align_transform(seen, config)
    assert np.allclose(seen @ matrix[:, :2].T + matrix[:, 2], wanted)
    assert np.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(1 / scale)
    # With the center of the mouth instead of its corners.
    four = np.vstack([seen[:3], seen[3:].mean(axis=0)])
    assert np.allclose(align_transform(four, config), matrix)


def test_alignment_is_the_least_squares_similarity():
    rng = np.random.default_rng(4)
    config = FacesConfig(detector="yunet", align=True, height=112, width=112)
    for _ in range(10):
        seen = TEMPLATE * rng.uniform(0.5, 3) + rng.normal(0, 6, (5, 2))
        # a x - b y + c = u and b x + a y + d = v, solved for (a, b, c, d).
        x, y, one, zero = seen[:, 0], seen[:, 1], np.ones(5), np.zeros(5)
        system = np.vstack([np.stack([x, -y, one, zero], axis=1), np.stack([y, x, zero, one], axis=1)])
        a, b, c, d = np.linalg.lstsq(system, TEMPLATE.T.ravel(), rcond=None)[0]
        assert np.allclose(align_transform(seen, config), [[a, -b, c], [b, a, d]])


def test_a_box_and_its_margin_fill_the_crop():
    config = FacesConfig(detector="yunet", height=64, width=64, margin=0.25)
    matrix = box_transform(np.array([100.0, 50.0, 140.0, 110.0]), config)
    corners = np.array([[120 - 45, 80 - 45], [120 + 45, 80 + 45]])
    assert np.allclose(corners @ matrix[:, :2].T + matrix[:, 2], [[0, 0], [64, 64]])


def test_the_identity_cuts_nothing_off():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(warp(picture, np.array([[1.0, 0, 0], [0, 1.0, 0]]), 30, 20), picture)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_shrinking_averages_blocks(factor):
    picture = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    made = warp(picture, np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]]), 60 // factor, 60 // factor)
    blocks = picture.reshape(60 // factor, factor, 60 // factor, factor).mean(axis=(1, 3))
    assert np.abs(made - blocks).max() < 1.0


def test_a_cut_is_where_the_box_says():
    ramp = np.tile(np.arange(200, dtype=np.uint8), (120, 1))
    config = FacesConfig(detector="yunet", height=32, width=32, margin=0.0)
    made = warp(ramp, box_transform(np.array([60.0, 40, 140, 120]), config), 32, 32)
    # Crop column j covers source columns 60 + 2.5 j to 60 + 2.5 (j + 1), whose mean is at their middle minus 0.5.
    expected = 60 + 2.5 * (np.arange(32) + 0.5) - 0.5
    assert np.abs(made - expected).max() < 1.0


def test_enlarging_is_bilinear():
    picture = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
    made = warp(picture, np.array([[4.0, 0, 0], [0, 4.0, 0]]), 64, 64)
    expected = torch.nn.functional.interpolate(torch.from_numpy(picture)[None, None].float(), (64, 64), mode="bilinear")
    assert np.abs(made - expected[0, 0].numpy()).max() < 1.5


def test_outside_the_picture_the_edge_is_repeated():
    picture = np.full((10, 10), 50, np.uint8)
    picture[:, 0] = 200
    made = warp(picture, np.array([[1.0, 0, 8], [0, 1.0, 0]]), 18, 10)
    assert (made[:, :9] == 200).all()
    assert (made[:, 9:] == 50).all()
