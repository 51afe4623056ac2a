"""Boxes turned by EXIF, against Pillow's turning of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_prep.base.boxes import ORIENTATIONS, turn_box, turn_box_back, turn_size
from data_prep.base.records import Box

WIDTH, HEIGHT = 90, 60


def find_mark(pixels: np.ndarray) -> Box:
    rows, columns = np.nonzero(pixels)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return Box(float(x0), float(y0), float(x1), float(y1))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_box_lies_where_pillow_turns_its_pixels(orientation: int) -> None:
    box = Box(5.0, 11.0, 25.0, 42.0)
    stored = np.zeros((HEIGHT, WIDTH), np.uint8)
    stored[11:42, 5:25] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image)
    assert turn_size(WIDTH, HEIGHT, orientation) == upright.size
    assert turn_box(box, WIDTH, HEIGHT, orientation) == find_mark(np.asarray(upright))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("box", [Box(5.0, 11.0, 25.0, 42.0), Box(-3.25, 0.0, 90.0, 61.5)])
def test_there_and_back(orientation: int, box: Box) -> None:
    turned = turn_box(box, WIDTH, HEIGHT, orientation)
    assert turn_box_back(turned, WIDTH, HEIGHT, orientation) == box
