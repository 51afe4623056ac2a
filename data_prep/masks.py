"""Face masks drawn on bare faces."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

Worn = Literal["properly", "below_nose", "on_chin"]

# Outlines in the frame of the face: x in eye distances from its midline, y in eye-to-mouth
# distances below the eyes (nose tip about 0.6, mouth 1, chin about 1.8). Right half, from the top.
_OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "properly": (
        (0.0, 0.32),
        (0.3, 0.42),
        (0.75, 0.58),
        (0.98, 0.7),
        (0.95, 1.25),
        (0.72, 1.7),
        (0.35, 1.98),
        (0.0, 2.04),
    ),
    "below_nose": (
        (0.0, 0.88),
        (0.35, 0.86),
        (0.75, 0.8),
        (0.95, 0.86),
        (0.9, 1.35),
        (0.7, 1.75),
        (0.35, 2.02),
        (0.0, 2.08),
    ),
    "on_chin": (
        (0.0, 1.3),
        (0.3, 1.27),
        (0.62, 1.12),
        (0.86, 1.02),
        (0.85, 1.4),
        (0.66, 1.85),
        (0.34, 2.14),
        (0.0, 2.2),
    ),
}
_EAR = (1.25, 0.25)
_PLEATS = (0.45, 0.6, 0.75)
SUPERSAMPLING = 4


def draw_mask(
    photo: np.ndarray,
    landmarks: np.ndarray,
    worn: Worn,
    colour: tuple[int, int, int] = (120, 170, 205),
    *,
    straps: bool = True,
) -> np.ndarray:
    """A copy of the photo with a surgical mask on one face.

    Args:
        photo: Height × width × 3, uint8, RGB.
        landmarks: 5 × 2, pixels of the photo: left eye, right eye, nose, left and right mouth
            corner, as seen in the photo.
        worn: Over nose and mouth, with the nose bare, or with nose and mouth bare.
        colour: RGB of the cloth.
        straps: Whether its straps are seen.

    Returns:
        Same shape and type.
    """
    half = np.array(_OUTLINES[worn])
    outline = np.concatenate([half, half[-2:0:-1] * (-1, 1)])
    top, bottom = half[0, 1], half[-1, 1]
    cloth = _cover(photo.shape[:2], [_place(outline, landmarks)])
    shade = _shade(photo, landmarks)[..., None]
    result = photo.astype(np.float32)
    lines = [np.array([half[3] * (s, 1), np.array(_EAR) * (s, 1)]) for s in (-1, 1)]
    thickness = max(1, round(_eye_distance(landmarks) / 18))
    for strap in lines if straps else []:
        line = _stroke(photo.shape[:2], _place(strap, landmarks), thickness)[..., None]
        result = result * (1 - line) + np.array([235.0, 235.0, 230.0]) * shade * line
    result = result * (1 - cloth[..., None]) + np.array(colour) * shade * cloth[..., None]
    for share in _PLEATS:
        y = top + (bottom - top) * share
        pleat = np.array([(x, y + 0.06 * (1 - x * x)) for x in np.linspace(-0.85, 0.85, 9)])
        line = _stroke(photo.shape[:2], _place(pleat, landmarks), max(1, thickness // 2))
        result *= 1 - 0.22 * (line * cloth)[..., None]
    return np.clip(result, 0, 255).astype(np.uint8)


def _eye_distance(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[1] - landmarks[0]))


def _place(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """From the frame of the face to pixels; a turned face's midline goes through the nose."""
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    across, down = landmarks[1] - landmarks[0], mouth - eyes
    middle = (eyes + mouth) / 2
    lean = float((landmarks[2] - middle) @ across / (across @ across))
    x, y = points[:, :1], points[:, 1:]
    return eyes + (x + lean * np.minimum(y, 1)) * across + y * down


def _cover(shape: tuple[int, ...], polygons: list[np.ndarray]) -> np.ndarray:
    """Share of each pixel that lies in the polygons, 0 to 1, with a soft edge."""
    big = np.zeros((shape[0] * SUPERSAMPLING, shape[1] * SUPERSAMPLING), np.uint8)
    scaled = [np.rint(polygon * SUPERSAMPLING).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(big, scaled, 255)
    small = cv2.resize(big, shape[1::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _stroke(shape: tuple[int, ...], points: np.ndarray, thickness: int) -> np.ndarray:
    layer = np.zeros(shape[:2], np.uint8)
    line = np.rint(points).astype(np.int32)
    cv2.polylines(
        layer, [line], isClosed=False, color=255, thickness=thickness, lineType=cv2.LINE_AA
    )
    return layer.astype(np.float32) / 255


def _shade(photo: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Light and shadow of the face itself, blurred, so that the cloth looks lit like it."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    width = max(1.0, _eye_distance(landmarks) / 3)
    light = cv2.GaussianBlur(grey, (0, 0), width)
    x, y = np.rint(landmarks.mean(axis=0)).astype(int)
    level = light[np.clip(y, 0, len(light) - 1), np.clip(x, 0, light.shape[1] - 1)]
    return np.clip(0.55 + 0.45 * light / max(float(level), 1.0), 0.4, 1.2)
