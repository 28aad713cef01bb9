"""Drawing of hair and hats."""

import cv2
import numpy as np

from .canvas import CANVAS, arc, curl, curve, darker, ellipse, fill, smooth_loop
from .face_model import Appearance, Face, bgr


class Hair:
    """The hair of a head, or its hat.

    Args:
        face, look: the face, and its appearance in the session.
        rng: generator of strands and curls.
    """

    def __init__(self, face: Face, look: Appearance, rng: np.random.Generator) -> None:
        self.face, self.look, self.rng = face, look, rng

    def draw_back(self, image: np.ndarray) -> None:
        """Draw the part behind the head."""
        face, look = self.face, self.look
        width = face.width * look.weight
        side = face.hair_side * look.hair_volume
        top = -1.0 - face.hair_top * look.hair_volume
        length = {"long": 1.3, "fringe": 0.85, "bob": 0.72, "curly": 0.55, "bun": -0.1}.get(face.hair_style)
        color = darker(face.hair, 0.7)
        if face.hair_style == "bun":
            ellipse(image, (0.15 * np.sign(face.parting), top - 0.1), (0.3, 0.26), 0.0, color)
        if length is None:
            return
        reach = width + side
        right = np.array(
            [
                (0.0, top),
                (0.6 * reach, top + 0.1),
                (0.98 * reach, -0.55),
                (reach, 0.0),
                (reach * 1.02, 0.5 * length + 0.2),
                (reach * 0.92, length),
                (0.4 * reach, length + 0.05),
                (0.0, length),
            ]
        )
        loop = smooth_loop(np.concatenate([right, right[-2:0:-1] * [-1, 1]]))
        if face.hair_style == "curly":
            loop = curl(loop, 0.045, self.rng)
        fill(image, loop, color)
        self._draw_strands(image, (-reach, reach), (top, length), 30)

    def draw_front(self, image: np.ndarray) -> None:
        """Draw the part in front of the forehead."""
        face, look = self.face, self.look
        width = face.width * look.weight
        style = face.hair_style
        top = -1.0 - face.hair_top * look.hair_volume * {"buzz": 0.25, "receding": 0.5, "quiff": 1.9}.get(style, 1.0)
        if look.hat:
            self._draw_hat(image, width)
            return
        if style == "bald":
            return
        side = {"buzz": 0.2, "receding": 0.5, "short": 0.5, "quiff": 0.3}.get(style, 1.0)
        side *= face.hair_side * look.hair_volume
        line = face.hairline - {"receding": 0.22, "quiff": 0.05}.get(style, 0.0)
        down = {"long": 0.55, "bob": 0.6, "fringe": 0.6, "curly": 0.35, "curls": 0.1, "bun": -0.05, "pixie": 0.1}.get(
            style, -0.02
        )
        inner = {"long": 0.93, "bob": 0.9, "fringe": 0.92, "curly": 0.93}.get(style, 1.0)
        parting = np.clip(face.parting, -0.6, 0.6) * width
        reach = width + side
        outer = [(-reach, down), (-reach, -0.3), (-0.93 * reach, -0.66), (-0.58 * reach, top + 0.12), (0.0, top),
                 (0.58 * reach, top + 0.12), (0.93 * reach, -0.66), (reach, -0.3), (reach, down)]  # fmt: skip
        if style == "fringe":
            middle = [(0.8 * width, -0.32), (0.3 * width, -0.36), (-0.3 * width, -0.36), (-0.8 * width, -0.32)]
        elif style == "receding":
            middle = [(0.82 * width, -0.5), (0.55 * width, line - 0.1), (0.0, line), (-0.55 * width, line - 0.1),
                      (-0.82 * width, -0.5)]  # fmt: skip
        else:
            middle = [(0.86 * width, line + 0.3), (0.6 * width, line + 0.06), (parting, line - 0.08),
                      (-0.6 * width, line + 0.06), (-0.86 * width, line + 0.3)]  # fmt: skip
        loop = smooth_loop(np.array([*outer, (inner * width, down), *middle, (-inner * width, down)]))
        if style in ("curly", "curls"):
            loop = curl(loop, 0.035, self.rng)
        fill(image, loop, face.hair)
        self._draw_strands(image, (-reach, reach), (top, max(down, -0.3)), 40, loop)

    def _draw_strands(
        self,
        image: np.ndarray,
        xs: tuple[float, float],
        ys: tuple[float, float],
        count: int,
        inside: np.ndarray | None = None,
    ) -> None:
        layer = np.full((CANVAS, CANVAS), 128, np.uint8)
        for x in self.rng.uniform(*xs, count):
            bend = self.rng.uniform(-0.1, 0.1)
            start, end = (x * 0.6, ys[0]), (x + bend, ys[1])
            curve(layer, arc(start, end, 0.15 * x), int(self.rng.uniform(85, 180)), 0.02)
        if inside is not None:
            mask = np.zeros((CANVAS, CANVAS), np.uint8)
            fill(mask, inside, 255)
            layer[mask < 128] = 128
        shade = cv2.GaussianBlur(layer, (0, 0), 0.8).astype(np.float32)[..., None] / 128
        image[..., :3] = np.minimum(np.clip(image[..., :3] * shade, 0, 255), image[..., 3:]).astype(np.uint8)

    def _draw_hat(self, image: np.ndarray, width: float) -> None:
        color = bgr(self.rng.uniform(20, 210, 3))
        reach = width * 1.12
        dome = smooth_loop(
            np.array([(-reach, -0.45), (-reach, -0.8), (-0.6 * reach, -1.22), (0, -1.32), (0.6 * reach, -1.22),
                      (reach, -0.8), (reach, -0.45), (0, -0.52)])
        )  # fmt: skip
        fill(image, dome, color)
        if self.look.hat == "cap":
            brim = [(-reach, -0.5), (0, -0.62), (reach, -0.5), (0.8 * reach, -0.36), (-0.8 * reach, -0.36)]
        else:
            brim = [(-reach, -0.7), (reach, -0.7), (reach * 1.02, -0.42), (-reach * 1.02, -0.42)]
        fill(image, np.array(brim), darker(color, 0.75))
