"""A head seen from the front as a textured, lit relief.

The depth map determines the light (Lambert) and, by parallax, the rotation of the head.
"""

import cv2
import numpy as np

from .canvas import CANVAS, CENTER, UNIT, box
from .face_model import Appearance, Face
from .head import Head

LEVELS = 9  # number of different openings of eyes and mouth


class Relief:
    """A head seen from the front: premultiplied BGRA texture, depth, and the movement of the jaw.

    Attributes:
        depth: depth in head units toward the viewer, float32 (CANVAS, CANVAS).
        jaw: share of the movement of the jaw that a pixel follows, float32 (CANVAS, CANVAS).
    """

    def __init__(self, face: Face, look: Appearance) -> None:
        self.face = face
        self.look = look
        self.head = Head(face, look)
        rows, columns = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
        self.x = (columns - CENTER[0]) / UNIT
        self.y = (rows - CENTER[1]) / UNIT
        self.depth = self._depth()
        below = np.clip((self.y - face.mouth_y) / (face.chin_y - face.mouth_y), 0, 1)
        self.jaw = (below * (np.abs(self.x) < 1.2) * np.clip((1.5 - self.y) * 3, 0, 1)).astype(np.float32)
        self.light = self._light()
        self.plain = self.head.draw()
        self.lit = self._shaded(self.plain, slice(None), slice(None))
        reach = max(face.eye_width + 0.06, 0.2)
        top, bottom = face.eye_y - 0.16, face.eye_y + 0.16
        self.eye_box = box(-face.eye_x - reach, top, face.eye_x + reach, bottom)
        half = face.mouth_width + 0.08
        self.mouth_box = box(-half, face.mouth_y - 0.16, half, face.mouth_y + 0.42)
        self.eyes: dict[int, np.ndarray] = {}
        self.mouths: dict[int, np.ndarray] = {}

    def texture(self, eyes: float, mouth: float) -> np.ndarray:
        """The lit texture, uint8 (CANVAS, CANVAS, 4), for an opening of eyes and mouth; the next call overwrites it."""
        for opening, box_, known, draw in (
            (eyes, self.eye_box, self.eyes, self.head.draw_eyes),
            (mouth, self.mouth_box, self.mouths, self.head.draw_mouth),
        ):
            level = round(opening * (LEVELS - 1))
            if level not in known:
                plain = self.plain.copy()
                draw(plain, level / (LEVELS - 1))
                known[level] = self._shaded(plain, *box_)
            self.lit[box_] = known[level]
        return self.lit

    def _depth(self) -> np.ndarray:
        face, x, y = self.face, self.x, self.y
        radius = (x / (face.width * 1.12)) ** 2 + (y / 1.12) ** 2
        depth = 0.8 * np.sqrt(np.clip(1 - radius, 0, None) + 0.01)

        def bump(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
            return np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))

        tip = face.eye_y + face.nose_length
        along = np.clip((y - face.eye_y + 0.05) / (face.nose_length + 0.05), 0, None)
        ridge = np.where(y < tip, along, np.exp(-(((y - tip) / 0.05) ** 2)))
        width = face.nose_bridge + (0.55 * face.nose_width - face.nose_bridge * 0.5) * np.clip(along, 0, 1) ** 3
        depth += face.nose_height * ridge * np.exp(-0.5 * (x / width) ** 2)
        for side in (-1, 1):
            depth -= face.socket * bump(side * face.eye_x, face.eye_y, 0.15, 0.09)
            depth += 0.03 * bump(side * face.eye_x, face.eye_y - face.brow_gap, 0.2, 0.06)
            depth += face.cheekbone * bump(side * 0.42, 0.24, 0.16, 0.12)
        depth += 0.04 * bump(0, face.mouth_y + 0.02, face.mouth_width, 0.09)
        depth += 0.06 * bump(0, face.chin_y - 0.13, 0.2, 0.09)
        depth -= 0.35 * np.clip(y - face.chin_y, 0, 1)
        # The axis of the neck, around which the head rotates, is behind the face.
        return cv2.GaussianBlur((depth - 0.3).astype(np.float32), (0, 0), 1.5)

    def _light(self) -> np.ndarray:
        smooth = cv2.GaussianBlur(self.depth, (0, 0), 1.5)
        slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=UNIT / 8)
        slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=UNIT / 8)
        light_x, light_y, light_z = self.look.light
        lambert = np.clip(light_z - slope_x * light_x - slope_y * light_y, 0, None)
        lambert /= np.sqrt(1 + slope_x**2 + slope_y**2)
        shade = self.look.ambient + (1 - self.look.ambient) * 1.5 * lambert
        return cv2.GaussianBlur(shade.astype(np.float32), (0, 0), 1.0)

    def _shaded(self, plain: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        lit = plain[rows, columns].astype(np.float32)
        lit[..., :3] *= self.light[rows, columns, None]
        np.minimum(lit, lit[..., 3:], out=lit)
        return lit.astype(np.uint8)
