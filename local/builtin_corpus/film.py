"""Filming of a relief: pose, background, lens and sensor."""

import math

import cv2
import numpy as np

from avsv.seeding import generator_for

from .canvas import CANVAS, CENTER, UNIT, arc, curve, darker, ellipse, fill, over
from .face_model import Appearance, bgr, tone
from .relief import Relief

CLOSE = 1.4  # magnification of the picture relative to the whole canvas


class Film:
    """Takes pictures of a :class:`Relief`: pose, background, occlusion of the face, lens and sensor."""

    def __init__(self, look: Appearance, size: int, rng: np.random.Generator) -> None:
        self.look = look
        self.size = size
        self.rng = rng
        scene = generator_for(look.seed, "scene", look.name)
        self.background = self._background(scene)
        self.occluder = self._occluder(scene)
        colors = self.rng.uniform(10, 230, (2, 1, 3))
        stripes = (np.arange(size) // self.rng.integers(4, 24) % 2)[:, None]
        self.board = np.broadcast_to(np.where(stripes, *colors)[:, None], (size, size, 3)).astype(np.uint8)
        self.board_side = self.rng.choice([-1, 1])
        grain = 128 + look.noise * self.rng.standard_normal((2 * size, 2 * size, 3), np.float32)
        self.grain = np.clip(np.rint(grain), 0, 255).astype(np.uint8)
        ramp = np.linspace(0, 1, 256)[:, None] ** look.gamma * 255 * np.array(look.gain)
        # A soft shoulder instead of clipping, as in cameras.
        self.response = np.clip(255 * np.tanh(ramp / 255 * 0.92) / np.tanh(0.92 * 1.35), 0, 255).astype(np.uint8)[None]
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        self.x = columns + np.float32(0.5 - size / 2)
        self.y = rows + np.float32(0.5 - size / 2)

    def shoot(self, picture: np.ndarray, relief: Relief, motion: np.ndarray, mouth: float, hidden: float) -> np.ndarray:
        """Project one frame, uint8 (size, size, 3).

        ``motion`` is as in :func:`head_motion`, ``mouth`` lowers the jaw, a share ``hidden`` is behind something.
        """
        look = self.look
        yaw, pitch, roll, sway, bob = (float(value) for value in motion)
        yaw, pitch, roll = yaw + look.yaw, pitch + look.pitch, roll + look.roll
        # From pixels of the picture to the canvas, relative to the center of the head: shift and scale, roll, then
        # parallax, which moves a point of depth z by z sin(angle). The depth is read at the moved point, hence twice.
        zoom = CANVAS / (CLOSE * look.scale * self.size)
        across = zoom * look.shift[0] * self.size + sway * UNIT
        down = zoom * look.shift[1] * self.size + bob * UNIT + CENTER[1] - CANVAS / 2
        cos, sin = math.cos(roll), math.sin(roll)
        wide, high = 1 / math.cos(yaw), 1 / math.cos(pitch)
        base_x = cv2.addWeighted(
            self.x, zoom * cos * wide, self.y, zoom * sin * wide, CENTER[0] - wide * (cos * across + sin * down)
        )
        base_y = cv2.addWeighted(
            self.y, zoom * cos * high, self.x, -zoom * sin * high, CENTER[1] - high * (cos * down - sin * across)
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
        if hidden > 0:
            self._hide(frame, hidden)
        return frame

    def develop(self, frame: np.ndarray, light: float, blur: float) -> np.ndarray:
        """What the sensor makes of a frame of :meth:`shoot`: a share of the light, and an additional blur in pixels."""
        look = self.look
        if light < 1:
            frame = cv2.convertScaleAbs(frame, alpha=light)
        frame = cv2.LUT(frame, self.response)
        blur = math.hypot(look.blur, blur)
        if blur > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), blur)
        row, column = self.rng.integers(0, self.size, 2)
        return cv2.addWeighted(frame, 1, self.grain[row : row + self.size, column : column + self.size], 1, -128)

    def _hide(self, frame: np.ndarray, share: float) -> None:
        """Draw a striped board over a share of the frame, from the side at which it enters."""
        width = round(share * self.size)
        part = frame[:, :width] if self.board_side < 0 else frame[:, self.size - width :]
        part[:] = self.board[:, :width] if self.board_side < 0 else self.board[:, self.size - width :]

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
            color = darker(bgr(tone(rng.uniform(0.3, 1))), 0.5)
            for _ in range(7):
                x = side * rng.uniform(0.2, 0.65)
                curve(image, arc((x * 0.4, -1.2), (x, rng.uniform(0.1, 0.8)), side * 0.15), color, 0.06)
        return cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
