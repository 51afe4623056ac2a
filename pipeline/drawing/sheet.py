"""The contact sheet of an artificial dataset: every style, every way of wearing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data_prep.base.crop import crop_face
from data_prep.base.labels import MASKED
from data_prep.base.records import Box
from pipeline.drawing.demo import read_portrait
from pipeline.drawing.geometry import WAYS_TO_WEAR, Worn
from pipeline.drawing.styles import STYLES, MaskStyle, draw_mask
from pipeline.inference.boxes import FaceDetector
from pipeline.runs.plots import save_figure

PARTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

COLUMNS = 10
VIEW = 1.8
"""Side of what is shown, as a multiple of the longer box side."""

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
            self._best[key] = (side, crop_face(photo, drawn.box, VIEW).copy())

    def write(self, path: Path) -> None:
        """Draw the sheet, a column per style; .png or .jpg.

        Raises:
            OutputError: It can't be written.
        """
        shown = {style for style, _ in self._best}
        styles = [style.name for style in STYLES if style.name in shown]
        blocks = [styles[start : start + COLUMNS] for start in range(0, len(styles), COLUMNS)]
        rows, columns = len(blocks) * len(WAYS_TO_WEAR), len(blocks[0])
        figure = Figure(figsize=(1.2 * columns + 0.4, 1.25 * rows), layout="constrained")
        cells = figure.subplots(rows, columns, squeeze=False)
        for axes in cells.flat:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for block, names in enumerate(blocks):
            self._fill(names, cells[block * len(WAYS_TO_WEAR) :])
        save_figure(figure, path)

    def _fill(self, styles: Sequence[str], cells: np.ndarray) -> None:
        for row, worn in zip(cells, WAYS_TO_WEAR, strict=False):
            row[0].set_ylabel(worn.replace("_", " "), fontsize=8)
            for style, axes in zip(styles, row, strict=False):
                if worn == WAYS_TO_WEAR[0]:
                    axes.set_title(style, fontsize=7)
                if (style, worn) in self._best:
                    axes.imshow(self._best[style, worn][1])


def draw_style_sheet(detector: FaceDetector, path: Path) -> None:
    """Write the sheet, .png or .jpg.

    Raises:
        OutputError: It can't be written.
    """
    portrait = read_portrait()
    found = detector.detect([portrait])[0]
    landmarks, box = found.landmarks[0], Box(*map(float, found.boxes[0]))
    sheet = SheetKeeper()
    for style in STYLES:
        for worn in WAYS_TO_WEAR:
            drawn = Drawn(0, MASKED, worn, style, straps=True, landmarks=landmarks, box=box, seed=0)
            sheet.add(drawn, draw_mask(portrait, landmarks, worn, style=style))
    sheet.write(path)
