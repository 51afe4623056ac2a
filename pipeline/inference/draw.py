"""Boxes and labels drawn on a photo."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.base.files import write_atomically
from pipeline.inference.records import Face

COLOURS: dict[str, tuple[int, int, int]] = {
    "with_mask": (46, 160, 67),
    "without_mask": (218, 54, 51),
    "mask_weared_incorrect": (230, 150, 20),
}
"""RGB of each class; label texts tell them apart for those who can't see the difference."""

TEXT = {"with_mask": "mask", "without_mask": "no mask", "mask_weared_incorrect": "wrong"}
LABEL_FROM = 24
"""Faces with a shorter side under this many pixels of the drawing get a box without text."""

SMALLEST_DRAWING = 640

COARSE, FINE = {"quality": 90}, {"quality": 95, "subsampling": 0}
"""How JPEG files are written."""


def draw_faces(photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of the photo with its faces marked; small photos are enlarged to be readable.

    Args:
        photo: Height × width × 3, uint8, RGB.
        faces: Boxes in pixels of the photo.

    Returns:
        Height × width × 3, uint8, RGB; sides times a whole number.
    """
    factor = max(1, min(4, round(SMALLEST_DRAWING / max(photo.shape[:2]))))
    drawing = photo.copy()
    if factor > 1:
        drawing = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    line = max(1, round(max(drawing.shape[:2]) / 500))
    for face in sorted(faces, key=lambda face: face.detection):
        x0, y0, x1, y1 = (round(value * factor) for value in face.box)
        colour = COLOURS[face.label]
        cv2.rectangle(drawing, (x0, y0), (x1, y1), colour, line, cv2.LINE_AA)
        if min(x1 - x0, y1 - y0) >= LABEL_FROM:
            _write_label(drawing, f"{TEXT[face.label]} {face.score:.2f}", x0, y0, colour)
    return drawing


def _write_label(
    drawing: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int]
) -> None:
    scale = max(0.4, max(drawing.shape[:2]) / 1800)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = max(0, min(x, drawing.shape[1] - width - 4))
    top = y - height - below - 4
    top = top if top >= 0 else y
    cv2.rectangle(drawing, (x, top), (x + width + 4, top + height + below + 4), colour, -1)
    place = (x + 2, top + height + 2)
    white = (255, 255, 255)
    cv2.putText(drawing, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, white, 1, cv2.LINE_AA)


def save_drawing(path: Path, drawing: np.ndarray, *, fine: bool = False) -> None:
    """Write a drawing in the format of its file name; JPEG for endings that have no writer.

    Args:
        path: The file.
        drawing: Height × width × 3, uint8, RGB.
        fine: Spare what JPEG saves by coarser colours: for photos to learn from.

    Raises:
        OutputError: It can't be written.
    """
    format_ = Image.registered_extensions().get(path.suffix.lower(), "JPEG")
    if format_ not in Image.SAVE:
        format_ = "JPEG"
    buffer = io.BytesIO()
    Image.fromarray(drawing).save(
        buffer, format=format_, **((FINE if fine else COARSE) if format_ == "JPEG" else {})
    )
    write_atomically(path, buffer.getvalue())
