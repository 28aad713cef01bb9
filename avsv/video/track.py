"""Tracking of one face through a clip, and the transforms that crop it."""

import math
from collections.abc import Sequence

import numpy as np

from avsv.video.config import FacesConfig
from avsv.video.detect import Face

# The five points of a face of 112 x 112 pixels in the alignment of ArcFace (Deng et al. 2019, arXiv:1801.07698), which
# many other face networks use.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TEMPLATE_SIDE = 112
# Larger than the value of any face, so that switching to another person for a frame or two never pays off.
_CHANGE = 2.0
# Earlier frames with faces that are considered as direct predecessors of a frame; bounds the time for long clips.
_REACH = 250


def follow_face(found: Sequence[Sequence[Face]], width: int, height: int, select: str = "largest") -> list[Face | None]:
    """Choose at most one face in every frame so that it is the same person throughout the clip.

    Dynamic programming over the whole clip maximizes the sum of the values of the chosen faces, minus 2 for every
    change of person. The value of a face, from 0 to 1, is its area divided by the largest area in the clip, or its
    nearness to the center of the picture. Two consecutively chosen faces are the same person if each is the nearest to
    the other among the faces of its frame, and if the distance of their centers is less than the mean of their longer
    sides times the number of frames between them. The crop therefore does not jump to another person of similar size.
    In a frame in which the tracked face was not detected, no face is chosen.

    Args:
        found: the faces in each examined frame; may be empty for a frame.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        select: "largest" or "central".

    Returns:
        The chosen face of each frame, or None.

    Example (the larger face, missed in the second frame):
        >>> small, large = Face(np.array([0.0, 0, 10, 10])), Face(np.array([50.0, 0, 90, 40]))
        >>> chosen = follow_face([[small, large], [small], [large, small]], 100, 100)
        >>> chosen[0] is large, chosen[1], chosen[2] is large
        (True, None, True)
    """
    chosen: list[Face | None] = [None] * len(found)
    faces = [face for frame in found for face in frame]
    if not faces:
        return chosen
    frame_of = np.repeat(np.arange(len(found)), [len(frame) for frame in found])
    boxes = np.array([face.box for face in faces])
    areas = np.prod((boxes[:, 2:] - boxes[:, :2]).clip(min=0), axis=1)
    worth = areas / (areas.max() or 1.0) if select == "largest" else _nearness(boxes, width, height)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)

    total = worth.copy()
    before = np.full(len(faces), -1)
    frames, starts = np.unique(frame_of, return_index=True)
    ends = np.append(starts[1:], len(faces))
    for number in range(1, len(frames)):
        since = starts[max(number - _REACH, 0)]
        then, now = slice(since, starts[number]), slice(starts[number], ends[number])
        distance = np.hypot(*(centers[then, None] - centers[None, now]).transpose(2, 0, 1))
        # For each face of this frame, the distance of the nearest face in each earlier frame.
        groups = starts[max(number - _REACH, 0) : number] - since
        nearest = np.repeat(np.minimum.reduceat(distance, groups, axis=0), np.diff([*groups, len(distance)]), axis=0)
        same = (distance == distance.min(axis=1, keepdims=True)) & (distance == nearest)
        elapsed = frames[number] - frame_of[then, None]
        same &= distance < (sides[then, None] + sides[now]) / 2 * elapsed
        reached = total[then, None] - _CHANGE * ~same
        best = reached.argmax(axis=0)
        gained = reached[best, np.arange(len(best))]
        before[now] = np.where(gained > 0, best + since, -1)
        total[now] += gained.clip(min=0)
    face = int(total.argmax())
    while face >= 0:
        chosen[frame_of[face]] = faces[face]
        face = before[face]
    return chosen


def _nearness(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """1 for a box at the center of the picture, 0 for a box at a corner."""
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([width, height]) / 2
    return (1 - np.hypot(*offset.T) / (math.hypot(width, height) / 2)).clip(min=0)


def interpolate(values: np.ndarray, known: np.ndarray, count: int) -> np.ndarray:
    """Interpolate a series linearly between known frames; before and after them, the first and last values are used.

    Args:
        values: (n, d), one row per known frame.
        known: (n,) frame numbers, in increasing order.
        count: total number of frames.

    Returns:
        (count, d).

    Example:
        >>> interpolate(np.array([[0.0], [6.0]]), np.array([1, 4]), 6).ravel().tolist()
        [0.0, 0.0, 2.0, 4.0, 6.0, 6.0]
    """
    frames = np.arange(count)
    return np.stack([np.interp(frames, known, column) for column in values.T], axis=1)


def box_transform(box: np.ndarray, config: FacesConfig) -> np.ndarray:
    """The (2, 3) matrix that maps source pixels to crop pixels for a detected box.

    The box is extended around its center to the shape of the crop. It then contains the longer side of the detected box
    with the margin.
    """
    center = (box[:2] + box[2:]) / 2
    side = max(float((box[2:] - box[:2]).max()) * (1 + 2 * config.margin), 1.0)
    scale = min(config.width, config.height) / side
    shift = np.array([config.width, config.height]) / 2 - scale * center
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])


def align_transform(points: np.ndarray, config: FacesConfig) -> np.ndarray:
    """The (2, 3) similarity that maps landmarks to the five-point template with the least squared error.

    The template is scaled from 112 pixels to the shorter side of the crop and centered along the longer side. For
    points x, y as complex numbers with their means subtracted, the similarity y = a x + b has
    a = sum(conj(x) y) / sum(|x|^2).

    Args:
        points: (5, 2), or (4, 2) with the center of the mouth instead of its corners.
        config: contains the size of the crop.
    """
    template = TEMPLATE if len(points) == 5 else np.vstack([TEMPLATE[:3], TEMPLATE[3:].mean(axis=0)])
    side = min(config.width, config.height)
    wanted = template * (side / TEMPLATE_SIDE) + (np.array([config.width, config.height]) - side) / 2
    x, y = points @ np.array([1, 1j]), wanted @ np.array([1, 1j])
    spread = x - x.mean()
    a = (spread.conj() @ (y - y.mean())) / max(float((abs(spread) ** 2).sum()), 1e-9)
    b = y.mean() - a * x.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def warp(picture: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Cut a crop out of a picture with a similarity transform and antialiasing, repeating the edge of the picture.

    If the crop is smaller than its source, it is drawn at an integer multiple of its size that is at least the size of
    the source, and then downsampled by area averaging: bilinear sampling alone would skip source pixels.

    Args:
        picture: (h, w) or (h, w, 3) uint8.
        matrix: (2, 3), from source to crop coordinates in pixels, with the upper left corner of both at 0.
        width: width of the crop.
        height: height of the crop.
    """
    import cv2

    factor = max(math.ceil(1 / max(math.hypot(matrix[0, 0], matrix[1, 0]), 1e-3) - 1e-6), 1)
    larger = matrix * factor
    # OpenCV measures coordinates from the centers of pixels, the matrix from their corners.
    larger[:, 2] += larger[:, :2].sum(axis=1) / 2 - 0.5
    drawn = cv2.warpAffine(
        picture, larger, (width * factor, height * factor), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return drawn if factor == 1 else cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
