"""Draws talking heads: one textured relief per clip, turned, lit and filmed anew in every frame.

A clip's head is drawn once, from the front, at twice the picture's size, together with a depth map. The depth map
gives the light (Lambert) and, through parallax, the turning of the head. In each frame only eyes and mouth are drawn
anew.
"""

import math

import cv2
import numpy as np

from avsv.seeding import generator_for

from .face_model import Appearance, Colour, Face, bgr, tone

CLOSE = 1.4  # how much the picture is closer than the whole canvas
CANVAS = 192  # pixels of the square on which the head is drawn from the front
UNIT = 62.0  # pixels of a head unit there
CENTRE = (96.0, 100.0)  # pixel of the head's middle there
LEVELS = 9  # how many openings of eyes and mouth are told apart
_SUBPIXEL = 4  # bits of sub-pixel positions in OpenCV's drawing


def render(face: Face, look: Appearance, mouth: np.ndarray, size: int, key: str) -> np.ndarray:
    """The frames of a clip.

    Args:
        face, look: whom to draw and how the session changes it.
        mouth: how far the mouth is open in each frame, between 0 and 1, (T,).
        size: width and height of the picture.
        key: names the clip; motion and blinking depend on it.

    Returns:
        uint8 (T, size, size, 3), BGR.
    """
    rng = generator_for(look.seed, "motion", key)
    relief = Relief(face, look)
    film = Film(look, size, rng)
    motion = head_motion(len(mouth), mouth, rng)
    eyes = eye_opening(len(mouth), rng)
    frames = np.empty((len(mouth), size, size, 3), np.uint8)
    for number in range(len(mouth)):
        picture = relief.texture(float(eyes[number]), float(mouth[number]))
        frames[number] = film.shoot(picture, relief, motion[number], float(mouth[number]))
    return frames


def head_motion(num_frames: int, mouth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Yaw, pitch, roll in radians and shift x, y in head units about the session's pose, (num_frames, 5)."""
    time = np.arange(num_frames)[:, None, None] / 25
    rate = rng.uniform(0.15, 0.9, (1, 5, 3))
    waves = np.sin(2 * np.pi * (rate * time + rng.random((1, 5, 3)))).sum(axis=2)
    motion = waves * np.array([0.06, 0.03, 0.025, 0.015, 0.012])
    motion[:, 1] += 0.03 * (np.convolve(np.pad(mouth, 3, mode="edge"), np.ones(7) / 7, "valid") - 0.4)
    return motion


def eye_opening(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """How far the eyes are open, (num_frames,): a blink of five frames every two seconds or so."""
    opening = np.ones(num_frames)
    start = int(rng.integers(0, 40))
    while start < num_frames:
        blink = np.array([0.5, 0.0, 0.0, 0.4, 0.8])[: num_frames - start]
        opening[start : start + len(blink)] = blink
        start += int(rng.integers(25, 90))
    return opening


class Relief:
    """A head seen from the front: premultiplied BGRA texture, depth, and where the jaw moves.

    Attributes:
        depth: head units towards the viewer, float32 (CANVAS, CANVAS).
        jaw: share of the jaw's movement that a pixel follows, float32 (CANVAS, CANVAS).
    """

    def __init__(self, face: Face, look: Appearance) -> None:
        self.face = face
        self.look = look
        self.rng = generator_for(look.seed, "strands", look.name)
        rows, columns = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
        self.x = (columns - CENTRE[0]) / UNIT
        self.y = (rows - CENTRE[1]) / UNIT
        self.depth = self._depth()
        below = np.clip((self.y - face.mouth_y) / (face.chin_y - face.mouth_y), 0, 1)
        self.jaw = (below * (np.abs(self.x) < 1.2) * np.clip((1.5 - self.y) * 3, 0, 1)).astype(np.float32)
        self.light = self._light()
        self.plain = self._draw()
        self.lit = self._shaded(self.plain, slice(None), slice(None))
        reach = max(face.eye_width + 0.06, 0.2)
        top, bottom = face.eye_y - 0.16, face.eye_y + 0.16
        self.eye_box = box(-face.eye_x - reach, top, face.eye_x + reach, bottom)
        half = face.mouth_width + 0.08
        self.mouth_box = box(-half, face.mouth_y - 0.16, half, face.mouth_y + 0.42)
        self.eyes: dict[int, np.ndarray] = {}
        self.mouths: dict[int, np.ndarray] = {}

    def texture(self, eyes: float, mouth: float) -> np.ndarray:
        """The lit texture, uint8 (CANVAS, CANVAS, 4), with eyes and mouth so far open; the next call overwrites it."""
        for opening, box_, known, draw in (
            (eyes, self.eye_box, self.eyes, self._draw_eyes),
            (mouth, self.mouth_box, self.mouths, self._draw_mouth),
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
        # The neck's axis, about which the head turns, lies behind the face.
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

    # The static head, back to front.

    def _draw(self) -> np.ndarray:
        face, look = self.face, self.look
        image = np.zeros((CANVAS, CANVAS, 4), np.uint8)
        self._draw_back_hair(image)
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
        self._draw_front_hair(image)
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

    def _draw_back_hair(self, image: np.ndarray) -> None:
        face, look = self.face, self.look
        width = face.width * look.weight
        side = face.hair_side * look.hair_volume
        top = -1.0 - face.hair_top * look.hair_volume
        length = {"long": 1.3, "fringe": 0.85, "bob": 0.72, "curly": 0.55, "bun": -0.1}.get(face.hair_style)
        colour = darker(face.hair, 0.7)
        if face.hair_style == "bun":
            ellipse(image, (0.15 * np.sign(face.parting), top - 0.1), (0.3, 0.26), 0.0, colour)
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
        fill(image, loop, colour)
        self._draw_strands(image, (-reach, reach), (top, length), 30)

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
        colour = darker(face.hair, 0.75)
        for side in (-1, 1):
            middle = face.eye_y - face.brow_gap - self.look.brows * (1.2 if side > 0 else 0.8)
            t = np.linspace(-1, 1, 13)
            x = face.eye_x + face.brow_width * t
            y = middle + face.brow_tilt * face.brow_width * t - face.brow_arch * (1 - t**2)
            thick = face.brow_thickness * (1 - 0.55 * np.clip(t, -0.3, 1)) * np.minimum(1, (1.15 - np.abs(t)) * 5)
            upper = np.stack([x, y - thick], axis=1)
            lower = np.stack([x, y + thick], axis=1)[::-1]
            fill(image, np.concatenate([upper, lower]) * [side, 1], colour)

    def _draw_front_hair(self, image: np.ndarray) -> None:
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
        colour = bgr(self.rng.uniform(20, 210, 3))
        reach = width * 1.12
        dome = smooth_loop(
            np.array([(-reach, -0.45), (-reach, -0.8), (-0.6 * reach, -1.22), (0, -1.32), (0.6 * reach, -1.22),
                      (reach, -0.8), (reach, -0.45), (0, -0.52)])
        )  # fmt: skip
        fill(image, dome, colour)
        if self.look.hat == "cap":
            brim = [(-reach, -0.5), (0, -0.62), (reach, -0.5), (0.8 * reach, -0.36), (-0.8 * reach, -0.36)]
        else:
            brim = [(-reach, -0.7), (reach, -0.7), (reach * 1.02, -0.42), (-reach * 1.02, -0.42)]
        fill(image, np.array(brim), darker(colour, 0.75))

    # What moves.

    def _draw_eyes(self, image: np.ndarray, opening: float) -> None:
        face, look = self.face, self.look
        for side in (-1, 1):
            centre = np.array([side * face.eye_x, face.eye_y])
            t = np.linspace(-1, 1, 15)
            curve_up = (1 - t**2) ** 0.7
            height = face.eye_height * max(opening, 0.04)
            tilt = face.eye_tilt * side * t * face.eye_width * -1
            upper = np.stack([t * face.eye_width, tilt - height * 1.15 * curve_up], axis=1) + centre
            lower = np.stack([t * face.eye_width, tilt + height * 0.75 * curve_up], axis=1) + centre
            almond = np.concatenate([upper, lower[::-1]])
            lid = np.concatenate([upper - [0, 0.05 + face.eye_height * (1 - opening) * 0.3], upper[::-1]])
            fill(image, lid, darker(face.skin, 0.85))
            if opening > 0.1:
                eye = image.copy()
                fill(eye, almond, (225, 230, 232))
                gaze = centre + np.array(look.gaze) * [face.eye_width * 0.8, face.eye_height]
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
            centre = (side * face.eye_x, face.eye_y + 0.01)
            if look.glasses == "dark":
                ellipse(image, centre, (0.19, height), 0, (28, 24, 22))
            elif look.glasses == "round":
                curve(image, circle(centre, (0.17, height), 2.0), (35, 35, 40), 0.022, closed=True)
            else:
                curve(image, circle(centre, (0.19, height), 5.0), (30, 28, 30), 0.03, closed=True)
        inner = face.eye_x - 0.18
        curve(image, arc((-inner, face.eye_y), (inner, face.eye_y), -0.03), (32, 30, 34), 0.025)

    def _draw_mouth(self, image: np.ndarray, opening: float) -> None:
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

        def band(above: np.ndarray, below: np.ndarray, colour: Colour) -> None:
            fill(image, np.concatenate([np.stack([x, above], 1), np.stack([x, below], 1)[::-1]]), colour)

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


class Film:
    """Takes pictures of a :class:`Relief`: pose, background, what stands before the face, lens and sensor."""

    def __init__(self, look: Appearance, size: int, rng: np.random.Generator) -> None:
        self.look = look
        self.size = size
        self.rng = rng
        scene = generator_for(look.seed, "scene", look.name)
        self.background = self._background(scene)
        self.occluder = self._occluder(scene)
        grain = 128 + look.noise * self.rng.standard_normal((2 * size, 2 * size, 3), np.float32)
        self.grain = np.clip(np.rint(grain), 0, 255).astype(np.uint8)
        ramp = np.linspace(0, 1, 256)[:, None] ** look.gamma * 255 * np.array(look.gain)
        # A soft shoulder instead of clipping, as cameras have.
        self.response = np.clip(255 * np.tanh(ramp / 255 * 0.92) / np.tanh(0.92 * 1.35), 0, 255).astype(np.uint8)[None]
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        self.x = columns + np.float32(0.5 - size / 2)
        self.y = rows + np.float32(0.5 - size / 2)

    def shoot(self, picture: np.ndarray, relief: Relief, motion: np.ndarray, mouth: float) -> np.ndarray:
        """One frame, uint8 (size, size, 3): ``motion`` as of :func:`head_motion`, ``mouth`` lowers the jaw."""
        look = self.look
        yaw, pitch, roll, sway, bob = (float(value) for value in motion)
        yaw, pitch, roll = yaw + look.yaw, pitch + look.pitch, roll + look.roll
        # From the picture's pixels to the canvas, here about the head's middle: shift and scale, roll, then parallax,
        # by which a point of depth z moves by z sin(angle); its depth is looked up where it is, hence twice.
        zoom = CANVAS / (CLOSE * look.scale * self.size)
        across = zoom * look.shift[0] * self.size + sway * UNIT
        down = zoom * look.shift[1] * self.size + bob * UNIT + CENTRE[1] - CANVAS / 2
        cos, sin = math.cos(roll), math.sin(roll)
        wide, high = 1 / math.cos(yaw), 1 / math.cos(pitch)
        base_x = cv2.addWeighted(
            self.x, zoom * cos * wide, self.y, zoom * sin * wide, CENTRE[0] - wide * (cos * across + sin * down)
        )
        base_y = cv2.addWeighted(
            self.y, zoom * cos * high, self.x, -zoom * sin * high, CENTRE[1] - high * (cos * down - sin * across)
        )
        map_x, map_y = base_x, base_y
        for _ in range(2):
            depth = cv2.remap(relief.depth, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            map_x = cv2.scaleAdd(depth, -UNIT * wide * math.sin(yaw), base_x)
            map_y = cv2.scaleAdd(depth, -UNIT * high * math.sin(pitch), base_y)
        jaw = cv2.remap(relief.jaw, map_x, map_y, cv2.INTER_LINEAR)
        map_y = cv2.scaleAdd(jaw, -0.07 * UNIT * mouth, map_y)
        head = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        left, top = (int(8 + np.clip(100 * value, -8, 8)) for value in (sway, bob))
        frame = self.background[top : top + self.size, left : left + self.size]
        frame = over(head, frame)
        if self.occluder is not None:
            drift = np.float32([[1, 0, 200 * sway], [0, 1, 200 * bob]])
            frame = over(cv2.warpAffine(self.occluder, drift, (self.size, self.size)), frame)
        frame = cv2.LUT(frame, self.response)
        if look.blur > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), look.blur)
        row, column = self.rng.integers(0, self.size, 2)
        return cv2.addWeighted(frame, 1, self.grain[row : row + self.size, column : column + self.size], 1, -128)

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        side = self.size + 16
        ends = rng.uniform(10, 245, (2, 3))
        ramp = np.linspace(0, 1, side)[:, None, None]
        picture = np.broadcast_to((1 - ramp) * ends[0] + ramp * ends[1], (side, side, 3)).astype(np.uint8).copy()
        if rng.random() < 0.5:
            picture = cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE)
        for _ in range(rng.integers(2, 9)):
            corner = rng.integers(-10, side, 2)
            if rng.random() < 0.5:
                cv2.rectangle(picture, corner, corner + rng.integers(8, 60, 2), rng.uniform(0, 255, 3).tolist(), -1)
            else:
                cv2.circle(picture, corner, int(rng.integers(4, 24)), rng.uniform(0, 255, 3).tolist(), -1)
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 5))

    def _occluder(self, rng: np.random.Generator) -> np.ndarray | None:
        kind = self.look.occlusion
        if not kind:
            return None
        image = np.zeros((CANVAS, CANVAS, 4), np.uint8)
        side = rng.choice([-1, 1])
        if kind == "hand":
            skin = bgr(tone(rng.random()))
            wrist = np.array([side * rng.uniform(0.5, 0.9), 1.0])
            palm = wrist - np.array([side * 0.1, 0.35 + rng.uniform(-0.15, 0.15)])
            across, down = np.array([0.25, 0.0]), np.array([0.0, 0.7])
            fill(image, np.array([wrist - across + down, wrist + across + down, palm + across, palm - across]), skin)
            ellipse(image, palm, (0.28, 0.3), 0, skin)
            for finger in range(4):
                tip = palm + np.array([-side * (0.42 - 0.06 * finger), -0.32 + 0.17 * finger])
                curve(image, np.stack([palm, tip]), darker(skin, 0.9 + 0.03 * finger), 0.13)
        elif kind == "bar":
            x = rng.uniform(0.2, 0.9) * side
            lean = rng.uniform(-0.3, 0.3)
            wide = rng.uniform(0.1, 0.22)
            bar = np.array([(x - wide, 2), (x + wide, 2), (x + wide + lean, -2), (x - wide + lean, -2)])
            if rng.random() < 0.4:
                y = rng.uniform(0.7, 1.1)
                bar = np.array([(-2, y), (2, y + lean), (2, y + wide * 2 + lean), (-2, y + wide * 2)])
            fill(image, bar, bgr(rng.uniform(10, 230, 3)))
        elif kind == "scarf":
            y = rng.uniform(0.5, 0.9)
            cloth = bgr(rng.uniform(20, 220, 3))
            fill(image, np.array([(-1.1, y - 0.1), (0, y + 0.08), (1.1, y - 0.1), (1.3, 2), (-1.3, 2)]), cloth)
            for fold in np.linspace(0.15, 0.8, 4):
                curve(image, arc((-1.1, y + fold), (1.1, y + fold), 0.12), darker(cloth, 0.75), 0.03)
        else:
            colour = darker(bgr(tone(rng.uniform(0.3, 1))), 0.5)
            for _ in range(7):
                x = side * rng.uniform(0.2, 0.65)
                curve(image, arc((x * 0.4, -1.2), (x, rng.uniform(0.1, 0.8)), side * 0.15), colour, 0.06)
        return cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)


def over(front: np.ndarray, back: np.ndarray) -> np.ndarray:
    """A premultiplied BGRA picture over a BGR picture.

    Example:
        >>> over(np.uint8([[[0, 0, 0, 0], [9, 8, 7, 255]]]), np.uint8([[[1, 2, 3], [4, 5, 6]]])).tolist()
        [[[1, 2, 3], [9, 8, 7]]]
    """
    alpha = cv2.cvtColor(255 - front[..., 3], cv2.COLOR_GRAY2BGR)
    return cv2.add(cv2.cvtColor(front, cv2.COLOR_BGRA2BGR), cv2.multiply(back, alpha, scale=1 / 255))


def darker(colour: Colour, factor: float) -> Colour:
    """A colour with its brightness multiplied.

    Example:
        >>> darker((100.0, 50.0, 200.0), 0.5)
        (50.0, 25.0, 100.0)
    """
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def pixels(points: np.ndarray) -> np.ndarray:
    """Head units (n, 2) to OpenCV's fixed-point positions on the canvas."""
    return np.rint((np.asarray(points) * UNIT + CENTRE) * 2**_SUBPIXEL).astype(np.int32)


def paint(image: np.ndarray, colour: Colour | int) -> tuple[float, ...]:
    """The colour as OpenCV wants it for that image: opaque on BGRA, a number on a single channel."""
    if isinstance(colour, tuple):
        return (*np.clip(colour, 0, 255).tolist(), 255.0)[: image.shape[2]]
    return (float(colour),)


def fill(image: np.ndarray, points: np.ndarray, colour: Colour | int) -> None:
    """Fill a polygon given in head units."""
    cv2.fillPoly(image, [pixels(points)], paint(image, colour), cv2.LINE_AA, _SUBPIXEL)


def curve(image: np.ndarray, points: np.ndarray, colour: Colour | int, width: float, closed: bool = False) -> None:
    """Draw a line through points given in head units; on the canvas it is at least a pixel wide."""
    thickness = max(1, round(width * UNIT))
    cv2.polylines(image, [pixels(points)], closed, paint(image, colour), thickness, cv2.LINE_AA, _SUBPIXEL)


def ellipse(
    image: np.ndarray,
    centre: tuple[float, float] | np.ndarray,
    radii: tuple[float, float],
    turn: float,
    colour: Colour | int,
) -> None:
    """Fill an ellipse given in head units, turned by ``turn`` radians."""
    points = circle((0, 0), radii, 2.0)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    fill(image, points @ rotation + np.asarray(centre), colour)


def circle(centre: tuple[float, float], radii: tuple[float, float], power: float) -> np.ndarray:
    """Points (32, 2) of a superellipse: a circle for power 2, nearly a rectangle for large powers."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    wave = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sign(wave) * np.abs(wave) ** (2 / power) * radii + np.asarray(centre)


def arc(start: tuple[float, float], end: tuple[float, float], bulge: float) -> np.ndarray:
    """Points (9, 2) from start to end, in the middle displaced by ``bulge`` to the left of the way.

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
    """A closed smooth curve (10 n, 2) through points (n, 2): cubic Hermite pieces, tangents from the neighbours.

    Example:
        >>> loop = smooth_loop(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
        >>> loop.shape, loop[10].tolist(), loop[5].round(2).tolist()
        ((40, 2), [0.0, 1.0], [0.62, 0.62])
    """
    after = np.roll(points, -1, axis=0)
    # Centripetal steps, so that short pieces between long ones make no loops.
    step = np.sqrt(np.linalg.norm(after - points, axis=1, keepdims=True))
    before, step_before = np.roll(points, 1, axis=0), np.roll(step, 1, axis=0)
    slope = (after - before) / (step + step_before)
    slope_after = np.roll(slope, -1, axis=0)
    t = np.linspace(0, 1, 10, endpoint=False)[:, None, None]
    rise = (3 - 2 * t) * t**2
    pull = (t - 2 * t**2 + t**3) * slope + (t**3 - t**2) * slope_after
    return ((1 - rise) * points + rise * after + step * pull).transpose(1, 0, 2).reshape(-1, 2)


def curl(loop: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """The loop with curls of ``size`` along it."""
    phase = np.linspace(0, 2 * np.pi * rng.integers(22, 28), len(loop), endpoint=False) + rng.uniform(0, 6)
    outward = loop / np.maximum(np.linalg.norm(loop, axis=1, keepdims=True), 1e-6)
    return loop + outward * size * np.sin(phase)[:, None]


def box(left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """Rows and columns of the canvas between bounds in head units."""
    return slice(*box_rows(top, bottom)), slice(round(left * UNIT + CENTRE[0]), round(right * UNIT + CENTRE[0]))


def box_rows(top: float, bottom: float) -> tuple[int, int]:
    """First and last row of the canvas between bounds in head units."""
    return max(0, round(top * UNIT + CENTRE[1])), min(CANVAS, round(bottom * UNIT + CENTRE[1]))
