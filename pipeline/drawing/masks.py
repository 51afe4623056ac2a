"""Drawing a surgical mask on a face: cloth, straps and folds."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

Worn = Literal["properly", "below_nose", "on_chin"]
"""Over nose and mouth, with the nose bare, or with nose and mouth bare."""

Points = tuple[tuple[float, float], ...]  # In the frame of the face; see `FaceFrame`.

EDGES: dict[Worn, tuple[Points, Points]] = {
    "properly": (
        ((0.0, 0.32), (0.3, 0.42), (0.75, 0.58), (0.98, 0.7)),
        ((0.95, 1.25), (0.72, 1.7), (0.35, 1.98), (0.0, 2.04)),
    ),
    "below_nose": (
        ((0.0, 0.88), (0.35, 0.86), (0.75, 0.8), (0.95, 0.86)),
        ((0.9, 1.35), (0.7, 1.75), (0.35, 2.02), (0.0, 2.08)),
    ),
    "on_chin": (
        ((0.0, 1.3), (0.3, 1.27), (0.62, 1.12), (0.86, 1.02)),
        ((0.85, 1.4), (0.66, 1.85), (0.34, 2.14), (0.0, 2.2)),
    ),
}
"""Right half of the upper edge, from the midline outwards, and of the lower one, back to it."""

SUPERSAMPLING = 4
_STRAP_COLOUR = (235.0, 235.0, 230.0)
_EAR = (1.25, 0.25)  # Where straps end; they begin where the edges meet.
_PLEATS = (0.45, 0.6, 0.75)  # Where folds cross, as shares of the height at the midline.
_SAG = 0.06  # How far the middle of a pleat hangs below its ends.
_FOLD_DARKNESS = 0.22


@dataclass(frozen=True, eq=False)
class FaceFrame:
    """A face in a photo: where points of it lie, and which pixels shapes cover.

    x is in eye distances from the midline, to the right as seen; y in eye-to-mouth distances below
    the eyes (nose tip about 0.6, mouth 1, chin about 1.8).
    """

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


def draw_mask(
    photo: np.ndarray,
    landmarks: np.ndarray,
    worn: Worn,
    colour: tuple[int, int, int] = (120, 170, 205),
    *,
    straps: bool = True,
) -> np.ndarray:
    """A copy of the photo, height × width × 3, uint8, RGB, with a surgical mask on one face.

    Landmarks are those of `FaceFrame`, as seen in the photo.
    """
    face = FaceFrame(landmarks, photo.shape[:2])
    upper, lower = EDGES[worn]
    half = np.array(upper + lower)
    outline = np.concatenate([half, half[-2:0:-1] * (-1, 1)])
    top, height = half[0, 1], half[-1, 1] - half[0, 1]
    cloth, shade = face.fill(outline), face.shade(photo)
    thickness = max(1, round(face.eye_distance / 18))
    result = photo.astype(np.float32)
    for side in (-1, 1) if straps else ():
        strap = face.trace(np.array([upper[-1], _EAR]) * (side, 1), thickness)
        result = result * (1 - strap) + np.array(_STRAP_COLOUR) * shade * strap
    result = result * (1 - cloth) + np.array(colour) * shade * cloth
    x = np.linspace(-0.85, 0.85, 9)
    for share in _PLEATS:
        fold = np.stack([x, top + height * share + _SAG * (1 - x * x)], axis=1)
        result *= 1 - _FOLD_DARKNESS * (face.trace(fold, thickness // 2) * cloth)
    return np.clip(result, 0, 255).astype(np.uint8)
