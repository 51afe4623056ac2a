"""The frame of a face: where points of it lie in a photo, and which pixels shapes cover.

x is in eye distances from the midline, to the right as seen; y in eye-to-mouth distances below the
eyes (nose tip about 0.6, mouth 1, chin about 1.8).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import cv2
import numpy as np

Worn = Literal["properly", "below_nose", "on_chin"]
"""Over nose and mouth, with the nose bare, or with nose and mouth bare."""

WAYS_TO_WEAR: tuple[Worn, ...] = get_args(Worn)

SUPERSAMPLING = 4


def measure_turn(landmarks: np.ndarray) -> float:
    """How far the nose lies from the midline of the eyes, in eye distances: 0 from the front.

    >>> measure_turn(np.array([[0, 0], [10, 0], [8, 6], [2, 10], [9, 10]]))
    0.3
    """
    eyes, middle = landmarks[1] - landmarks[0], landmarks[:2].mean(axis=0)
    return float(abs((landmarks[2] - middle) @ eyes) / max(float(eyes @ eyes), 1e-9))


@dataclass(frozen=True, eq=False)
class FaceFrame:
    """A face in a photo."""

    landmarks: np.ndarray  # 5 × 2, pixels: left eye, right eye, nose, left and right mouth corner.
    size: tuple[int, int]  # Height and width of the photo.

    @cached_property
    def eye_distance(self) -> float:
        """Pixels between the eyes."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Origin, both axes, and how far the midline leans aside on its way to the mouth."""
        eyes, mouth = self.landmarks[:2].mean(axis=0), self.landmarks[3:].mean(axis=0)
        across, down = self.landmarks[1] - self.landmarks[0], mouth - eyes
        middle = (eyes + mouth) / 2
        lean = float((self.landmarks[2] - middle) @ across / (across @ across))
        return eyes, across, down, lean

    def place(self, points: np.ndarray) -> np.ndarray:
        """From the frame to pixels, N × 2; a turned face's midline goes through the nose."""
        eyes, across, down, lean = self._axes
        x, y = points[:, :1], points[:, 1:]
        return eyes + (x + lean * np.minimum(y, 1)) * across + y * down

    def locate_pixels(
        self, left: int, top: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where parts of a rectangle's pixels lie in the frame, x and y; undoes `place`.

        Each has sides times `SUPERSAMPLING`, float32.
        """
        eyes, across, down, lean = self._axes
        # Landmarks on one line span no plane; what is drawn on them is a line anyway.
        inverse = np.linalg.pinv(np.stack([across, down], axis=1).astype(float))
        step = (np.arange(max(width, height) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
        from_eyes_x = (left + step[: width * SUPERSAMPLING] - float(eyes[0]))[None, :]
        from_eyes_y = (top + step[: height * SUPERSAMPLING] - float(eyes[1]))[:, None]
        along = inverse[0, 0] * from_eyes_x + inverse[0, 1] * from_eyes_y
        y = inverse[1, 0] * from_eyes_x + inverse[1, 1] * from_eyes_y
        x = along - lean * np.minimum(y, 1)
        return x.astype(np.float32), y.astype(np.float32)

    def fill(self, polygon: np.ndarray) -> np.ndarray:
        """Share of each pixel that a polygon covers: height × width × 1, float32, 0 to 1."""
        height, width = self.size
        big = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        cv2.fillPoly(big, [np.rint(self.place(polygon) * SUPERSAMPLING).astype(np.int32)], 255)
        small = cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32)[..., None] / 255

    def trace(self, points: np.ndarray, thickness: int) -> np.ndarray:
        """Share of each pixel that a line through points covers, as `fill`; thickness in pixels."""
        layer = np.zeros(self.size, np.uint8)
        line = [np.rint(self.place(points)).astype(np.int32)]
        cv2.polylines(layer, line, False, 255, max(1, thickness), cv2.LINE_AA)
        return layer.astype(np.float32)[..., None] / 255

    def shade(self, photo: np.ndarray) -> np.ndarray:
        """Light and shadow of the face, blurred: height × width × 1, about 1 in its middle."""
        grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
        light = cv2.GaussianBlur(grey, (0, 0), max(1.0, self.eye_distance / 3))
        x, y = np.rint(self.landmarks.mean(axis=0)).astype(int)
        level = light[np.clip(y, 0, len(light) - 1), np.clip(x, 0, light.shape[1] - 1)]
        return np.clip(0.55 + 0.45 * light / max(float(level), 1.0), 0.4, 1.2)[..., None]
