"""A sheet of every mask style, worn in each way by one portrait in the public domain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage import data

from data_prep.labels import MASKED
from data_prep.mask_shapes import WAYS_TO_WEAR
from data_prep.mask_styles import STYLES
from data_prep.masks import draw_mask
from data_prep.records import Box
from pipeline.detectors import FaceDetector
from pipeline.drawn_sheet import Drawn, SheetKeeper


def draw_style_sheet(detector: FaceDetector, path: Path) -> None:
    """Write the sheet, .png or .jpg.

    Raises:
        OutputError: It can't be written.
    """
    portrait = np.ascontiguousarray(data.astronaut())
    found = detector.detect([portrait])[0]
    landmarks, box = found.landmarks[0], Box(*map(float, found.boxes[0]))
    sheet = SheetKeeper()
    for style in STYLES:
        for worn in WAYS_TO_WEAR:
            drawn = Drawn(0, MASKED, worn, style, straps=True, landmarks=landmarks, box=box, seed=0)
            sheet.add(drawn, draw_mask(portrait, landmarks, worn, style=style))
    sheet.write(path)
