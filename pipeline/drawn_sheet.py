"""The contact sheet of an artificial dataset: every style, every way of wearing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.crop import crop_face
from data_prep.mask_shapes import WAYS_TO_WEAR, Worn
from data_prep.mask_styles import STYLES, MaskStyle
from data_prep.records import Box
from pipeline.plots import plot_faces

PARTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

LARGEST = 160.0
"""Faces over this side look alike at the size of the sheet; the first of them stays."""


@dataclass(frozen=True)
class Drawn:
    """A mask that was drawn.

    Attributes:
        object: Number of the face in its annotation file.
        label: What the face is now.
        worn: How the mask is worn.
        style: How it looks.
        straps: Whether its straps are seen.
        landmarks: 5 × 2, pixels of the photo: eyes, nose, mouth corners.
        box: Of the face, in pixels of the photo.
        seed: Of its pattern.
    """

    object: int
    label: str
    worn: Worn
    style: MaskStyle
    straps: bool
    landmarks: np.ndarray
    box: Box
    seed: int

    def to_row(self) -> dict[str, Any]:
        """Its row of `drawn.csv`."""
        points = {
            f"{part}_{axis}": round(float(value), 2)
            for part, point in zip(PARTS, self.landmarks, strict=True)
            for axis, value in zip("xy", point, strict=True)
        }
        return {
            "object": self.object,
            "label": self.label,
            "worn": self.worn,
            "style": self.style.name,
            **points,
        }


class SheetKeeper:
    """Keeps the largest face of every style and way while photos go by."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, str], tuple[float, np.ndarray]] = {}

    def add(self, drawn: Drawn, photo: np.ndarray) -> None:
        """Look at a face in its photo, height × width × 3."""
        key, side = (drawn.style.name, drawn.worn), min(drawn.box.short_side, LARGEST)
        if key not in self._best or side > self._best[key][0]:
            self._best[key] = (side, crop_face(photo, drawn.box, 1.5).copy())

    def write(self, path: Path) -> None:
        """Draw the sheet, a style after the other.

        Raises:
            OutputError: It can't be written.
        """
        keys = [(style.name, worn) for style in STYLES for worn in WAYS_TO_WEAR]
        keys = [key for key in keys if key in self._best]
        crops = [self._best[key][1] for key in keys]
        plot_faces(crops, [f"{style}\n{worn.replace('_', ' ')}" for style, worn in keys], path)
