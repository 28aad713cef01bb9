"""One face followed through a clip, and the part of the picture that is cut out for it."""

import math
from collections.abc import Sequence

import numpy as np

from avsv.video.config import FacesConfig
from avsv.video.detect import Face

# Where a face of 112 x 112 pixels has its five points in the alignment of ArcFace (Deng et al. 2019, arXiv:1801.07698)
# and the networks trained like it.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TEMPLATE_SIDE = 112
# More than the worth of any face, so that it never pays to take somebody else for a frame or two.
_CHANGE = 2.0
# How many earlier frames with faces may come directly before one in the choice; bounds the time for long clips.
_REACH = 250


def follow_face(found: Sequence[Sequence[Face]], width: int, height: int, select: str = "largest") -> list[Face | None]:
    """Choose at most one face in every frame so that it is the one wanted, and the same person throughout.

    The choice maximizes over the whole clip, by dynamic programming, the sum of the chosen faces' worth (the area over
    the largest area in the clip, or the nearness to the picture's center; 0 to 1) less 2 for every change of person.
    Two faces chosen one after the other are the same person when each is nearest to the other among the faces of its
    frame, and their centers are nearer than the mean of their longer sides times the frames between. So neither two
    faces of nearly equal size nor a missed detection make the crop jump to somebody else: in such a frame nothing is
    chosen.

    Args:
        found: the faces of each frame looked at; a frame may have none.
        width: of the picture in pixels.
        height: of the picture in pixels.
        select: "largest" or "central".

    Returns:
        The face chosen in each frame, None where there is none.

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
        # The nearest in each earlier frame to a face of this one, beside every face of that frame.
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
    """1 for a box at the picture's center, 0 for one at its corner."""
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([width, height]) / 2
    return (1 - np.hypot(*offset.T) / (math.hypot(width, height) / 2)).clip(min=0)


def interpolate(values: np.ndarray, known: np.ndarray, count: int) -> np.ndarray:
    """Fill a series linearly between the frames where it is known; its first and last values are held outside.

    Args:
        values: (n, d), one row for each known frame.
        known: (n,) frame numbers, rising.
        count: frames in all.

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

    The box is made to the crop's shape about its center, large enough to hold its longer side with the margin.
    """
    center = (box[:2] + box[2:]) / 2
    side = max(float((box[2:] - box[:2]).max()) * (1 + 2 * config.margin), 1.0)
    scale = min(config.width, config.height) / side
    shift = np.array([config.width, config.height]) / 2 - scale * center
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])


def align_transform(points: np.ndarray, config: FacesConfig) -> np.ndarray:
    """The (2, 3) similarity that brings landmarks nearest, in least squares, to the five-point template.

    The template is scaled from 112 pixels to the crop's shorter side, and centered along the longer one. With x, y the
    points as complex numbers less their means, the similarity y = a x + b has a = sum(conj(x) y) / sum(|x|^2).

    Args:
        points: (5, 2), or (4, 2) with the mouth's center instead of its corners.
        config: the crop's size.
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
    """Cut a crop out of a picture by a similarity transform, with antialias; the picture's edge is repeated outside.

    Where the crop is smaller than its source, it is drawn at a whole multiple of its size, at least the source's, and
    averaged down: bilinear sampling alone would skip source pixels.

    Args:
        picture: (h, w) or (h, w, 3) uint8.
        matrix: (2, 3), from source to crop coordinates in pixels, the corner of both at 0.
        width: of the crop.
        height: of the crop.
    """
    import cv2

    factor = max(math.ceil(1 / max(math.hypot(matrix[0, 0], matrix[1, 0]), 1e-3) - 1e-6), 1)
    larger = matrix * factor
    # OpenCV counts from the centers of pixels, the matrix from their corners.
    larger[:, 2] += larger[:, :2].sum(axis=1) / 2 - 0.5
    drawn = cv2.warpAffine(
        picture, larger, (width * factor, height * factor), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return drawn if factor == 1 else cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
