"""The frame of a face: where points of it lie in a photo, and how shapes are laid on it.

x is in eye distances from the midline, to the right as seen; y in eye-to-mouth distances below the
eyes (nose tip about 0.6, mouth 1, chin about 1.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

SUPERSAMPLING = 4


def eye_distance(landmarks: np.ndarray) -> float:
    """Pixels between the eyes."""
    return float(np.linalg.norm(landmarks[1] - landmarks[0]))


def measure_turn(landmarks: np.ndarray) -> float:
    """How far the nose lies from the midline of the eyes, in eye distances: 0 from the front.

    >>> measure_turn(np.array([[0, 0], [10, 0], [8, 6], [2, 10], [9, 10]]))
    0.3
    """
    eyes, middle = landmarks[1] - landmarks[0], landmarks[:2].mean(axis=0)
    return float(abs((landmarks[2] - middle) @ eyes) / max(float(eyes @ eyes), 1e-9))


def place(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """From the frame of the face to pixels; a turned face's midline goes through the nose.

    Args:
        points: N × 2, in the frame.
        landmarks: 5 × 2, pixels: left eye, right eye, nose, left and right mouth corner.

    Returns:
        N × 2, pixels.
    """
    eyes, across, down, lean = _axes(landmarks)
    x, y = points[:, :1], points[:, 1:]
    return eyes + (x + lean * np.minimum(y, 1)) * across + y * down


def locate_pixels(
    left: int, top: int, width: int, height: int, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where parts of a rectangle's pixels lie in the frame of the face; undoes `place`.

    Args:
        left: Left edge of the rectangle, in pixels.
        top: Its upper edge.
        width: Its width.
        height: Its height.
        landmarks: As for `place`.

    Returns:
        x and y, each (height × `SUPERSAMPLING`) × (width × `SUPERSAMPLING`), float32.
    """
    eyes, across, down, lean = _axes(landmarks)
    # Landmarks on one line span no plane; what is drawn on them is a line anyway.
    inverse = np.linalg.pinv(np.stack([across, down], axis=1).astype(float))
    step = (np.arange(max(width, height) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
    from_eyes_x = (left + step[: width * SUPERSAMPLING] - float(eyes[0]))[None, :]
    from_eyes_y = (top + step[: height * SUPERSAMPLING] - float(eyes[1]))[:, None]
    along = inverse[0, 0] * from_eyes_x + inverse[0, 1] * from_eyes_y
    y = inverse[1, 0] * from_eyes_x + inverse[1, 1] * from_eyes_y
    x = along - lean * np.minimum(y, 1)
    return x.astype(np.float32), y.astype(np.float32)


def cover_polygon(shape: tuple[int, ...], polygon: np.ndarray) -> np.ndarray:
    """Share of each pixel that lies in a polygon.

    Args:
        shape: Height, width.
        polygon: N × 2, pixels.

    Returns:
        Height × width, float32, 0 to 1, soft at the edge.
    """
    big = np.zeros((shape[0] * SUPERSAMPLING, shape[1] * SUPERSAMPLING), np.uint8)
    cv2.fillPoly(big, [np.rint(polygon * SUPERSAMPLING).astype(np.int32)], 255)
    small = cv2.resize(big, shape[1::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def cover_line(shape: tuple[int, ...], points: np.ndarray, thickness: int) -> np.ndarray:
    """Share of each pixel that a line through points covers; see `cover_polygon`."""
    layer = np.zeros(shape[:2], np.uint8)
    line = np.rint(points).astype(np.int32)
    cv2.polylines(
        layer, [line], isClosed=False, color=255, thickness=thickness, lineType=cv2.LINE_AA
    )
    return layer.astype(np.float32) / 255


def shade_of(photo: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Light and shadow of the face itself, blurred, so that what is drawn looks lit like it.

    Returns:
        Height × width, float32, about 1 in the middle of the face.
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    width = max(1.0, eye_distance(landmarks) / 3)
    light = cv2.GaussianBlur(grey, (0, 0), width)
    x, y = np.rint(landmarks.mean(axis=0)).astype(int)
    level = light[np.clip(y, 0, len(light) - 1), np.clip(x, 0, light.shape[1] - 1)]
    return np.clip(0.55 + 0.45 * light / max(float(level), 1.0), 0.4, 1.2)


def _axes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Origin, both axes, and how far the midline leans to the side on its way to the mouth."""
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    across, down = landmarks[1] - landmarks[0], mouth - eyes
    middle = (eyes + mouth) / 2
    lean = float((landmarks[2] - middle) @ across / (across @ across))
    return eyes, across, down, lean


Worn = Literal["properly", "below_nose", "on_chin"]
"""Over nose and mouth, with the nose bare, or with nose and mouth bare."""

WAYS_TO_WEAR: tuple[Worn, ...] = get_args(Worn)

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class MaskShape:
    """A kind of mask.

    Attributes:
        upper: Right half of the upper edge for each way of wearing, from the midline outwards.
        lower: Right half of the lower edge, from the outside to the midline, for each way.
        pleats: Where folds cross it, as shares of its height at the midline.
        sag: How far the middle of a pleat hangs below its ends, in eye-to-mouth distances.
        centre_fold: Whether a fold runs down the midline.
        straps: Where straps end, on the right side; they begin at the outer end of `upper`.
    """

    upper: Mapping[Worn, Points]
    lower: Mapping[Worn, Points]
    pleats: tuple[float, ...] = ()
    sag: float = 0.06
    centre_fold: bool = False
    straps: Points = ()

    def outline(self, worn: Worn) -> np.ndarray:
        """The whole outline, N × 2, clockwise from the middle of the upper edge."""
        half = np.array(self.upper[worn] + self.lower[worn])
        return np.concatenate([half, half[-2:0:-1] * (-1, 1)])

    def folds(self, worn: Worn) -> list[np.ndarray]:
        """Lines of points, each N × 2."""
        top, bottom = self.upper[worn][0][1], self.lower[worn][-1][1]
        lines = []
        for share in self.pleats:
            y = top + (bottom - top) * share
            lines.append(
                np.array([(x, y + self.sag * (1 - x * x)) for x in np.linspace(-0.85, 0.85, 9)])
            )
        if self.centre_fold:
            lines.append(np.array([(0.0, top), (0.0, bottom)]))
        return lines


def _lowered(lower: Points, below_nose: float = 0.04, on_chin: float = 0.16) -> dict[Worn, Points]:
    """A lower edge, and the same moved down as the mask is pulled down."""
    shifts: dict[Worn, float] = {"properly": 0.0, "below_nose": below_nose, "on_chin": on_chin}
    return {worn: tuple((x, y + by) for x, y in lower) for worn, by in shifts.items()}


_EAR = ((1.25, 0.25),)
_HEAD_BANDS = ((1.2, -0.05), (1.2, 0.75))

SHAPES: dict[str, MaskShape] = {
    "surgical": MaskShape(
        upper={
            "properly": ((0.0, 0.32), (0.3, 0.42), (0.75, 0.58), (0.98, 0.7)),
            "below_nose": ((0.0, 0.88), (0.35, 0.86), (0.75, 0.8), (0.95, 0.86)),
            "on_chin": ((0.0, 1.3), (0.3, 1.27), (0.62, 1.12), (0.86, 1.02)),
        },
        lower={
            "properly": ((0.95, 1.25), (0.72, 1.7), (0.35, 1.98), (0.0, 2.04)),
            "below_nose": ((0.9, 1.35), (0.7, 1.75), (0.35, 2.02), (0.0, 2.08)),
            "on_chin": ((0.85, 1.4), (0.66, 1.85), (0.34, 2.14), (0.0, 2.2)),
        },
        pleats=(0.45, 0.6, 0.75),
        straps=_EAR,
    ),
    "cup": MaskShape(
        upper={
            "properly": ((0.0, 0.2), (0.16, 0.26), (0.32, 0.5), (0.62, 0.7), (0.86, 0.86)),
            "below_nose": ((0.0, 0.84), (0.2, 0.85), (0.45, 0.86), (0.66, 0.88), (0.84, 1.0)),
            "on_chin": ((0.0, 1.27), (0.2, 1.26), (0.42, 1.2), (0.62, 1.14), (0.8, 1.16)),
        },
        lower=_lowered(((0.9, 1.12), (0.8, 1.5), (0.56, 1.84), (0.28, 2.02), (0.0, 2.08))),
        straps=_HEAD_BANDS,
    ),
    "folded": MaskShape(
        upper={
            "properly": ((0.0, 0.24), (0.2, 0.36), (0.55, 0.62), (1.0, 0.74)),
            "below_nose": ((0.0, 0.86), (0.25, 0.87), (0.6, 0.84), (0.98, 0.86)),
            "on_chin": ((0.0, 1.28), (0.25, 1.26), (0.6, 1.14), (0.9, 1.04)),
        },
        lower=_lowered(((1.0, 0.98), (0.82, 1.45), (0.45, 1.88), (0.0, 2.16))),
        centre_fold=True,
        straps=_EAR,
    ),
    "duckbill": MaskShape(
        upper={
            "properly": ((0.0, 0.3), (0.26, 0.4), (0.6, 0.62), (0.98, 0.86)),
            "below_nose": ((0.0, 0.87), (0.3, 0.86), (0.65, 0.9), (0.98, 1.02)),
            "on_chin": ((0.0, 1.29), (0.3, 1.26), (0.6, 1.18), (0.92, 1.16)),
        },
        lower=_lowered(((1.04, 1.16), (0.86, 1.66), (0.66, 1.94), (0.0, 1.98))),
        pleats=(0.62,),
        sag=-0.08,
        straps=_HEAD_BANDS,
    ),
    "fish": MaskShape(
        upper={
            "properly": ((0.0, 0.26), (0.3, 0.42), (0.62, 0.66), (1.08, 0.92)),
            "below_nose": ((0.0, 0.87), (0.3, 0.86), (0.64, 0.9), (1.04, 1.06)),
            "on_chin": ((0.0, 1.28), (0.3, 1.25), (0.62, 1.17), (0.98, 1.18)),
        },
        lower=_lowered(((1.08, 1.04), (0.74, 1.56), (0.42, 1.92), (0.0, 2.06))),
        pleats=(0.36, 0.7),
        sag=0.0,
        straps=_EAR,
    ),
    "cloth": MaskShape(
        upper={
            "properly": ((0.0, 0.28), (0.28, 0.4), (0.66, 0.6), (1.06, 0.58)),
            "below_nose": ((0.0, 0.86), (0.32, 0.85), (0.7, 0.8), (1.04, 0.72)),
            "on_chin": ((0.0, 1.28), (0.32, 1.25), (0.64, 1.1), (0.96, 0.94)),
        },
        lower=_lowered(((1.08, 0.92), (0.88, 1.48), (0.5, 1.9), (0.0, 2.12))),
        centre_fold=True,
        straps=_EAR,
    ),
    "bandana": MaskShape(
        upper={
            "properly": ((0.0, 0.32), (0.32, 0.36), (0.8, 0.38), (1.25, 0.28)),
            "below_nose": ((0.0, 0.88), (0.35, 0.86), (0.8, 0.74), (1.22, 0.5)),
            "on_chin": ((0.0, 1.32), (0.35, 1.28), (0.75, 1.06), (1.1, 0.76)),
        },
        lower=_lowered(((1.2, 0.9), (1.0, 1.5), (0.62, 2.2), (0.26, 2.8), (0.0, 3.02)), 0.1, 0.3),
        pleats=(0.24, 0.4),
        sag=0.16,
    ),
    "gaiter": MaskShape(
        upper={
            "properly": ((0.0, 0.34), (0.32, 0.38), (0.72, 0.46), (1.12, 0.5)),
            "below_nose": ((0.0, 0.88), (0.35, 0.87), (0.75, 0.82), (1.1, 0.76)),
            "on_chin": ((0.0, 1.32), (0.35, 1.28), (0.72, 1.12), (1.04, 1.0)),
        },
        lower=_lowered(
            ((1.08, 1.2), (0.9, 1.8), (0.84, 2.3), (0.9, 2.9), (0.45, 3.04), (0.0, 3.08)), 0, 0
        ),
        pleats=(0.55, 0.68, 0.8),
        sag=0.14,
    ),
}
"""Shapes by name."""
