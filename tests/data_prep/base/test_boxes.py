"""Boxes clipped to their photo, and turned by EXIF against Pillow's turning of the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from data_prep.base.boxes import (
    ORIENTATIONS,
    DegenerateBoxError,
    clip_box,
    turn_box,
    turn_box_back,
    turn_size,
)
from data_prep.base.records import Box

coordinate = st.floats(-50, 150)


def test_box_inside_is_left_as_it_is():
    assert clip_box(Box(0, 0, 40, 30), 40, 30) == (Box(0, 0, 40, 30), False)


def test_far_edge_one_pixel_outside_is_clipped():
    assert clip_box(Box(30, 5, 41, 20), 40, 30) == (Box(30, 5, 40, 20), True)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (Box(20, 5, 10, 15), "inverted"),
        (Box(10, 15, 20, 5), "inverted"),
        (Box(10, 5, 10, 15), "inverted or empty"),
        (Box(50, 5, 60, 15), "outside"),
        (Box(-20, 5, 0, 15), "outside"),
        (Box(39.5, 5, 60, 15), "under one pixel"),
        (Box(math.nan, 5, 10, 15), "not finite"),
        (Box(0, 5, math.inf, 15), "not finite"),
    ],
)
def test_hopeless_box_is_refused_with_the_reason(box, reason):
    with pytest.raises(DegenerateBoxError, match=reason):
        clip_box(box, 40, 30)


@given(coordinate, coordinate, coordinate, coordinate)
def test_clipped_box_lies_in_both(xmin, ymin, xmax, ymax):
    box = Box(xmin, ymin, xmax, ymax)
    try:
        clipped, changed = clip_box(box, 100, 80)
    except DegenerateBoxError:
        return
    assert max(xmin, 0) == clipped.xmin
    assert max(ymin, 0) == clipped.ymin
    assert min(xmax, 100) == clipped.xmax
    assert min(ymax, 80) == clipped.ymax
    assert clipped.short_side >= 1
    assert changed == (clipped != box)
    assert clip_box(clipped, 100, 80) == (clipped, False)


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
