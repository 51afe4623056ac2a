"""Drawn masks: they cover what they should, follow the face, and differ by style."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.base.photo import read_photo
from pipeline.drawing.masks import EDGES, draw_mask

LANDMARKS = np.array([(100, 80), (140, 80), (120, 100), (104, 120), (136, 120)], np.float32)
"""Eyes 40 pixels apart, mouth 40 below them."""

NOSE, MOUTH, CHIN, CHEEK = (120, 102), (120, 121), (120, 152), (92, 115)
REFERENCE = Path(__file__).with_name("default_masks.png")
"""What was drawn before there were styles: plain blue, then red without straps, in three ways."""

each_way = pytest.mark.parametrize("worn", EDGES)


def grey(level=128, width=240, height=220):
    return np.full((height, width, 3), level, np.uint8)


def covered(landmarks=LANDMARKS, worn="properly", photo=None, **options):
    photo = grey() if photo is None else photo
    return (draw_mask(photo, landmarks, worn, **options) != photo).any(axis=2)


def centroid(mask):
    ys, xs = np.nonzero(mask)
    return np.array([xs.mean(), ys.mean()])


def test_default_is_what_it_always_was():
    y, x = np.mgrid[0:72, 0:72]
    photo = np.stack([90 + x, 150 - y, 60 + (x * y) // 60], axis=2).astype(np.uint8)
    landmarks = np.array([(26, 22), (46, 23), (37, 33), (28, 43), (45, 44)], np.float32)
    cells = [draw_mask(photo, landmarks, worn) for worn in EDGES]
    red = (200, 30, 30)
    cells += [draw_mask(photo, landmarks, worn, red, straps=False) for worn in EDGES]
    difference = np.abs(np.hstack(cells).astype(int) - read_photo(REFERENCE).pixels)
    # Blurring may round differently on another processor.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_each_way_of_wearing_leaves_bare_what_it_should():
    for worn, nose, mouth in (
        ("properly", True, True),
        ("below_nose", False, True),
        ("on_chin", False, False),
    ):
        mask = covered(worn=worn, straps=False)
        assert mask[NOSE[1], NOSE[0]] == nose
        assert mask[MOUTH[1], MOUTH[0]] == mouth
        assert mask[CHIN[1], CHIN[0]]
        assert not mask[:86, 100:141].any(), "eyes are free"


def test_masks_turn_and_grow_with_the_face():
    """A face lying on its side, drawn, is the drawing lying on its side."""
    photo = grey(width=240, height=240)
    straight = draw_mask(photo, LANDMARKS + 0.5, "properly")
    side = np.stack([LANDMARKS[:, 1] + 0.5, 240 - LANDMARKS[:, 0] - 0.5], axis=1)
    lying = draw_mask(photo, side, "properly")
    difference = np.abs(np.rot90(straight).astype(int) - lying).max(axis=2)
    changed = (straight != photo).any(axis=2).sum()
    assert (difference > 60).sum() < 0.12 * changed
    large = covered(LANDMARKS * 1.5 - (60, 90), straps=False)
    small = covered(straps=False)
    assert large.sum() == pytest.approx(2.25 * small.sum(), rel=0.08)


@each_way
def test_mask_is_on_the_face_alone_and_moves_with_it(worn):
    photo = grey()
    mask = covered(worn=worn, photo=photo)
    assert np.array_equal(photo, grey()), "the photo given stays"
    ys, xs = np.nonzero(mask)
    assert (xs.min() > 60, xs.max() < 180, ys.max() < 175) == (True, True, True)
    assert mask[CHEEK[1], CHEEK[0]] == (worn != "on_chin")
    moved = covered(LANDMARKS + np.array((20, -10)), worn)
    assert np.abs(centroid(moved) - centroid(mask) - (20, -10)).max() < 0.5
    turned = LANDMARKS + np.array([(0, 0), (0, 0), (10, 0), (0, 0), (0, 0)])
    aside = centroid(covered(turned, worn)) - centroid(mask)
    assert aside[0] > 4, "towards the nose"
    assert abs(aside[1]) < 2.5
    for level in (0, 255):
        assert covered(worn=worn, photo=grey(level))[CHIN[1], CHIN[0]]
    assert covered(LANDMARKS / 10 + 100, worn).any(), "a tiny face"


@each_way
def test_mask_is_as_symmetric_as_the_face(worn):
    about = covered(worn=worn, photo=grey(240))[:, 60:181]
    assert (about != about[:, ::-1]).mean() < 0.01
    landmarks = LANDMARKS + np.array([(0, 0), (3, 4), (6, 0), (1, 2), (2, 5)])
    mirrored = landmarks[[1, 0, 2, 4, 3]] * (-1, 1) + (239, 0)
    ours = draw_mask(grey(), landmarks, worn)[:, ::-1].astype(int)
    theirs = draw_mask(grey(), mirrored, worn).astype(int)
    assert (np.abs(ours - theirs).max(axis=2) > 40).mean() < 0.01


def test_cloth_has_its_colour_in_even_light_and_is_darker_in_the_shadow():
    pixels = draw_mask(grey(), LANDMARKS, "properly")[100:160, 100:140].reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    assert np.abs(values[counts.argmax()].astype(int) - (120, 170, 205)).max() <= 1
    red, green, _ = draw_mask(grey(), LANDMARKS, "properly", (200, 30, 30))[131, 120].astype(int)
    assert red > green + 100
    photo = grey(200)
    photo[:, 120:] = 60
    drawn = draw_mask(photo, LANDMARKS, "properly").astype(int)
    assert drawn[125:150, 95:105].mean() > drawn[125:150, 135:145].mean() + 20


def test_landmarks_on_one_line_and_away_from_the_photo():
    line = np.array([(90, 100), (130, 100), (110, 100), (95, 100), (125, 100)], np.float32)
    assert draw_mask(grey(), line, "properly").shape == grey().shape
    assert not covered(LANDMARKS - 900).any()
    for shift in ((-110, 0), (0, 70)):  # Over the border.
        assert draw_mask(grey(), LANDMARKS + shift, "on_chin").any()
