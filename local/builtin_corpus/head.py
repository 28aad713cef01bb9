"""Drawing of a head from the front."""

import cv2
import numpy as np

from avsv.seeding import generator_for

from .canvas import CANVAS, arc, box_rows, circle, curve, darker, ellipse, fill, smooth_loop
from .face_model import Appearance, Color, Face, bgr
from .hair import Hair


class Head:
    """The drawing of a head without light.

    Args:
        face, look: the face, and its appearance in the session.
    """

    def __init__(self, face: Face, look: Appearance) -> None:
        self.face, self.look = face, look
        self.rng = generator_for(look.seed, "strands", look.name)
        self.hair = Hair(face, look, self.rng)

    def draw(self) -> np.ndarray:
        """Draw the head without moving parts, from back to front: uint8 (CANVAS, CANVAS, 4), premultiplied BGRA."""
        face, look = self.face, self.look
        image = np.zeros((CANVAS, CANVAS, 4), np.uint8)
        self.hair.draw_back(image)
        self._draw_body(image)
        for side in (-1, 1):
            ear = (side * face.width * look.weight * 1.0, face.eye_y + 0.14)
            ellipse(image, ear, (0.1, face.ear), 0.12 * side, darker(face.skin, 0.88))
            ellipse(image, ear, (0.05, face.ear * 0.6), 0.12 * side, darker(face.skin, 0.7))
        fill(image, self._outline(), face.skin)
        self._draw_skin(image)
        self._draw_beard(image)
        self._draw_nose(image)
        self._draw_brows(image)
        self.hair.draw_front(image)
        return image

    def _outline(self) -> np.ndarray:
        face, width = self.face, self.face.width * self.look.weight
        right = np.array(
            [
                (0.0, -1.02),
                (0.55 * width, -0.93),
                (0.9 * face.forehead * width, -0.62),
                (face.forehead * width * 1.05, -0.3),
                (width, 0.05),
                (0.97 * width, 0.3),
                (face.jaw * width, 0.62 * face.chin_y),
                (face.chin * width * 1.25, 0.9 * face.chin_y),
                (face.chin * width * 0.6, 0.99 * face.chin_y),
                (0.0, face.chin_y),
            ]
        )
        return smooth_loop(np.concatenate([right, right[-2:0:-1] * [-1, 1]]))

    def _draw_body(self, image: np.ndarray) -> None:
        face, look = self.face, self.look
        neck = 0.52 * face.width
        throat = np.array([(-neck, 0.5), (neck, 0.5), (neck * 1.1, 1.6), (-neck * 1.1, 1.6)])
        fill(image, throat, darker(face.skin, 0.72))
        shoulders = [(-1.8, 1.7), (-1.5, 1.38), (-0.7, 1.22), (-neck, 1.12), (0, 1.3), (neck, 1.12), (0.7, 1.22)]
        fill(image, np.array([*shoulders, (1.5, 1.38), (1.8, 1.7)]), look.clothes)

    def _draw_skin(self, image: np.ndarray) -> None:
        face = self.face
        inside = slice(*box_rows(-0.9, face.chin_y))
        layer = np.full((CANVAS, CANVAS), 128, np.uint8)
        tint = 128 - int(60 * face.wrinkles)
        if face.wrinkles > 0:
            eye_x, eye_y = face.eye_x, face.eye_y
            for height in (-0.42, -0.34, -0.5):
                curve(layer, arc((-0.35, height), (0.35, height), -0.03), tint, 0.014)
            for side in (-1, 1):
                fold = arc(
                    (side * (face.nose_width + 0.02), 0.33), (side * (face.mouth_width + 0.08), 0.68), side * 0.05
                )
                curve(layer, fold, tint, 0.02)
                bag = arc((side * (eye_x - 0.12), eye_y + 0.1), (side * (eye_x + 0.12), eye_y + 0.1), 0.04)
                curve(layer, bag, tint, 0.014)
                for angle in (-0.05, 0.0, 0.05):
                    foot = arc(
                        (side * (eye_x + 0.18), eye_y + angle / 2), (side * (eye_x + 0.28), eye_y + angle * 1.6), 0
                    )
                    curve(layer, foot, tint, 0.01)
        for spot in face.freckles:
            ellipse(layer, spot, (0.012, 0.012), 0, 95)
        for spot in face.moles:
            ellipse(layer, spot, (0.024, 0.024), 0, 40)
        layer = cv2.GaussianBlur(layer, (0, 0), 0.9)
        shade = layer[inside].astype(np.float32)[..., None] / 128
        image[inside, :, :3] = np.clip(image[inside, :, :3] * shade, 0, 255).astype(np.uint8)

    def _draw_beard(self, image: np.ndarray) -> None:
        face = self.face
        if face.beard == "none":
            return
        outline = self._outline()
        layer = np.zeros((CANVAS, CANVAS), np.uint8)
        mouth, width = face.mouth_y, face.mouth_width
        if face.beard in ("full", "stubble"):
            fill(layer, outline, 255)
            keep = smooth_loop(
                np.array(
                    [(0, -1.3), (1.2, -1.0), (face.width * 1.02, 0.1), (0.6 * face.width, 0.45), (0, mouth - 0.17),
                     (-0.6 * face.width, 0.45), (-face.width * 1.02, 0.1), (-1.2, -1.0)]
                )
            )  # fmt: skip
            fill(layer, keep, 0)
        elif face.beard == "goatee":
            ellipse(layer, (0, mouth + 0.06), (width * 0.95, 0.25), 0, 255)
            ellipse(layer, (0, face.chin_y - 0.12), (0.24, 0.14), 0, 255)
        else:
            ellipse(layer, (0, mouth - 0.09), (width * 0.95, 0.055), 0, 255)
        ellipse(layer, (0, mouth + 0.01), (width * 0.78, 0.075), 0, 0)
        strength = 0.35 if face.beard == "stubble" else 0.9
        alpha = cv2.GaussianBlur(layer, (0, 0), 1.6).astype(np.float32)[..., None] * (strength / 255)
        noise = self.rng.normal(1, 0.12, (CANVAS, CANVAS, 1)).astype(np.float32)
        alpha *= image[..., 3:] / 255
        image[..., :3] = np.clip(image[..., :3] * (1 - alpha) + alpha * noise * np.array(face.hair) * 0.9, 0, 255)

    def _draw_nose(self, image: np.ndarray) -> None:
        face = self.face
        tip = face.eye_y + face.nose_length
        layer = np.full((CANVAS, CANVAS), 128, np.uint8)
        wing = face.nose_width
        for side in (-1, 1):
            ellipse(layer, (side * wing * 0.42, tip + 0.035), (0.045, 0.02), 0.3 * side, 45)
            curve(layer, arc((side * wing * 0.9, tip - 0.06), (side * wing * 0.75, tip + 0.04), side * 0.03), 75, 0.02)
            edge = arc((side * face.nose_bridge * 1.1, face.eye_y), (side * wing * 0.7, tip - 0.08), side * -0.02)
            curve(layer, edge, 112, 0.03)
        curve(layer, arc((-wing * 0.4, tip + 0.05), (wing * 0.4, tip + 0.05), 0.015), 95, 0.02)
        ellipse(layer, (0, tip - 0.03), (wing * 0.35, 0.04), 0, 140)
        shade = cv2.GaussianBlur(layer, (0, 0), 1.3).astype(np.float32)[..., None] / 128
        image[..., :3] = np.clip(image[..., :3] * shade, 0, 255).astype(np.uint8)

    def _draw_brows(self, image: np.ndarray) -> None:
        face = self.face
        color = darker(face.hair, 0.75)
        for side in (-1, 1):
            middle = face.eye_y - face.brow_gap - self.look.brows * (1.2 if side > 0 else 0.8)
            t = np.linspace(-1, 1, 13)
            x = face.eye_x + face.brow_width * t
            y = middle + face.brow_tilt * face.brow_width * t - face.brow_arch * (1 - t**2)
            thick = face.brow_thickness * (1 - 0.55 * np.clip(t, -0.3, 1)) * np.minimum(1, (1.15 - np.abs(t)) * 5)
            upper = np.stack([x, y - thick], axis=1)
            lower = np.stack([x, y + thick], axis=1)[::-1]
            fill(image, np.concatenate([upper, lower]) * [side, 1], color)

    def draw_eyes(self, image: np.ndarray, opening: float) -> None:
        """Draw the eyes, with glasses if any; ``opening`` is between 0 and 1."""
        face, look = self.face, self.look
        for side in (-1, 1):
            center = np.array([side * face.eye_x, face.eye_y])
            t = np.linspace(-1, 1, 15)
            curve_up = (1 - t**2) ** 0.7
            height = face.eye_height * max(opening, 0.04)
            tilt = face.eye_tilt * side * t * face.eye_width * -1
            upper = np.stack([t * face.eye_width, tilt - height * 1.15 * curve_up], axis=1) + center
            lower = np.stack([t * face.eye_width, tilt + height * 0.75 * curve_up], axis=1) + center
            almond = np.concatenate([upper, lower[::-1]])
            lid = np.concatenate([upper - [0, 0.05 + face.eye_height * (1 - opening) * 0.3], upper[::-1]])
            fill(image, lid, darker(face.skin, 0.85))
            if opening > 0.1:
                eye = image.copy()
                fill(eye, almond, (225, 230, 232))
                gaze = center + np.array(look.gaze) * [face.eye_width * 0.8, face.eye_height]
                ellipse(eye, gaze, (0.066, 0.066), 0, face.iris)
                ellipse(eye, gaze, (0.03, 0.03), 0, (12, 12, 12))
                ellipse(eye, (gaze[0] + 0.02, gaze[1] - 0.025), (0.014, 0.014), 0, (250, 250, 250))
                mask = np.zeros(image.shape[:2], np.uint8)
                fill(mask, almond, 255)
                cv2.copyTo(eye, (mask > 127).astype(np.uint8), image)
            curve(image, upper, darker(face.skin, 0.25), 0.02)
            curve(image, lower, darker(face.skin, 0.6), 0.008)
        if look.glasses:
            self._draw_glasses(image)

    def _draw_glasses(self, image: np.ndarray) -> None:
        face, look = self.face, self.look
        height = 0.13
        for side in (-1, 1):
            center = (side * face.eye_x, face.eye_y + 0.01)
            if look.glasses == "dark":
                ellipse(image, center, (0.19, height), 0, (28, 24, 22))
            elif look.glasses == "round":
                curve(image, circle(center, (0.17, height), 2.0), (35, 35, 40), 0.022, closed=True)
            else:
                curve(image, circle(center, (0.19, height), 5.0), (30, 28, 30), 0.03, closed=True)
        inner = face.eye_x - 0.18
        curve(image, arc((-inner, face.eye_y), (inner, face.eye_y), -0.03), (32, 30, 34), 0.025)

    def draw_mouth(self, image: np.ndarray, opening: float) -> None:
        """Draw the mouth; ``opening`` is between 0 and 1."""
        face, look = self.face, self.look
        t = np.linspace(-1, 1, 21)
        round_ = np.sqrt(np.clip(1 - t**2, 0, 1))
        half = face.mouth_width * (1 + 2 * look.smile - 0.12 * opening)
        middle = face.mouth_y - (face.mouth_corner + look.smile) * t**2
        bow = 1 - 0.3 * np.exp(-((t / 0.16) ** 2))
        gape = 0.2 * opening * round_
        top = middle - face.upper_lip * round_ * bow - 0.02 * opening * round_
        inner_top = middle - 0.02 * opening * round_
        inner_low = middle + gape
        low = inner_low + face.lower_lip * round_
        x = t * half
        red = face.lip_redness
        lips = bgr(np.array(face.skin) * (1 - 0.45 * red * np.array([1.0, 1.0, 0.25])))

        def band(above: np.ndarray, below: np.ndarray, color: Color) -> None:
            fill(image, np.concatenate([np.stack([x, above], 1), np.stack([x, below], 1)[::-1]]), color)

        band(top, inner_top, darker(lips, 0.88))
        band(inner_top, inner_low, (28, 22, 45))
        if opening > 0.25:
            depth = np.minimum(0.05, 0.6 * gape)
            band(inner_top, inner_top + depth, (215, 225, 230))
            if face.tooth_gap > 0:
                gap = np.array([(0, face.mouth_y - 0.02), (0, face.mouth_y + 0.05)])
                curve(image, gap, (40, 30, 50), 0.008 + 0.015 * face.tooth_gap)
            band(np.maximum(inner_low - 0.4 * gape, inner_top), inner_low, (85, 75, 150))
        band(inner_low, low, lips)
        curve(image, np.stack([x, inner_top], 1), darker(lips, 0.5), 0.012)
        curve(image, np.stack([x, inner_low + face.lower_lip * 1.4], 1)[6:15], darker(face.skin, 0.86), 0.016)
