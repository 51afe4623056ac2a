"""The crop against a slow reimplementation that looks up every pixel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.base.crop import crop_face, resize_crop
from data_prep.base.records import Box
from tests.makers import make_pixels


def look_up(position, side, length):
    """Index along one axis: shift a window that fits, mirror where it is longer than the photo."""
    if side <= length:
        return position
    index = position
    while not 0 <= index < length:
        index = -1 - index if index < 0 else 2 * length - 1 - index
    return index


def crop_slowly(photo, box, scale):
    height, width = photo.shape[:2]
    side = max(1, round(scale * max(box.xmax - box.xmin, box.ymax - box.ymin)))

    def start(centre, length):
        if side > length:
            return -((side - length) // 2)
        first = round(centre - side / 2)
        while first < 0:
            first += 1
        while first + side > length:
            first -= 1
        return first

    left = start((box.xmin + box.xmax) / 2, width)
    top = start((box.ymin + box.ymax) / 2, height)
    crop = np.zeros((side, side, 3), np.uint8)
    for row in range(side):
        for column in range(side):
            y, x = look_up(top + row, side, height), look_up(left + column, side, width)
            crop[row, column] = photo[y, x]
    return crop


@st.composite
def cases(draw):
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    xmin, ymin = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
    xmax = draw(st.floats(xmin + 1, width)) if xmin + 1 < width else width
    ymax = draw(st.floats(ymin + 1, height)) if ymin + 1 < height else height
    scale = draw(st.sampled_from([1.0, 1.5, 2.0, 3.7]))
    return make_pixels(width, height, seed=1), Box(xmin, ymin, xmax, ymax), scale


@settings(max_examples=80, deadline=None)
@given(cases())
def test_same_pixels_as_the_slow_crop(case):
    photo, box, scale = case
    assert np.array_equal(crop_face(photo, box, scale), crop_slowly(photo, box, scale))


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(0, 0, 20, 20), slice(0, 30), slice(0, 30)),
        (Box(80, 60, 100, 80), slice(50, 80), slice(70, 100)),
    ],
)
def test_crop_at_the_border_is_shifted(box, rows, columns):
    photo = make_pixels(100, 80)
    assert np.array_equal(crop_face(photo, box, 1.5), photo[rows, columns])


def test_crop_larger_than_the_photo_is_mirrored():
    photo = make_pixels(10, 10)
    crop = crop_face(photo, Box(0, 0, 10, 10), 2)
    assert np.array_equal(crop[5:15, 5:15], photo)
    assert np.array_equal(crop[4, 5:15], photo[0])
    assert np.array_equal(crop[5:15, 15], photo[:, 9])


def test_crop_has_its_own_memory():
    photo = make_pixels(100, 80)
    before = photo.copy()
    crop_face(photo, Box(40, 30, 60, 50))[:] = 0
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("box", [Box(5, 5, 5, 9), Box(9, 5, 5, 9), Box(0, 0, math.nan, 5)])
def test_empty_box_is_refused(box):
    with pytest.raises(ValueError, match="empty box"):
        crop_face(make_pixels(20, 20), box)


def test_scale_that_cuts_into_the_face_is_refused():
    with pytest.raises(ValueError, match="crop scale"):
        crop_face(make_pixels(20, 20), Box(1, 1, 9, 9), 0.9)


@pytest.mark.parametrize("size", [8, 30, 64])
def test_resize_gives_the_size_and_keeps_the_mean(size):
    crop = make_pixels(30, 30)
    resized = resize_crop(crop, size)
    assert resized.shape == (size, size, 3)
    assert resized.dtype == np.uint8
    assert abs(resized.mean() - crop.mean()) < 2


def test_shrinking_averages_areas():
    crop = make_pixels(40, 40)
    means = crop.reshape(10, 4, 10, 4, 3).mean(axis=(1, 3))
    assert np.abs(resize_crop(crop, 10) - means).max() <= 0.5 + 1e-6
