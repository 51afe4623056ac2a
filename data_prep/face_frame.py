"""The frame of a face: where points of it lie in a photo, and how shapes are laid on it.

x is in eye distances from the midline, to the right as seen; y in eye-to-mouth distances below the
eyes (nose tip about 0.6, mouth 1, chin about 1.8).
"""

from __future__ import annotations

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
