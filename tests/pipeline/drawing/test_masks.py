"""Drawn masks: they cover what they should, and follow the face."""

import numpy as np
import pytest

from pipeline.drawing.styles import draw_mask

LANDMARKS = np.array([(100, 80), (140, 80), (120, 100), (104, 120), (136, 120)], np.float32)
"""Eyes 40 pixels apart, mouth 40 below them."""

COLOUR = (120, 170, 205)
WORN = ("properly", "below_nose")
NOSE, MOUTH, CHIN, BROW, CHEEK = (120, 98), (120, 121), (120, 150), (120, 70), (90, 115)


def grey(level=128, width=240, height=200):
    return np.full((height, width, 3), level, np.uint8)


def covered(photo, drawn):
    return (photo != drawn).any(axis=2)


def centroid(mask):
    ys, xs = np.nonzero(mask)
    return np.array([xs.mean(), ys.mean()])


@pytest.mark.parametrize("worn", WORN)
def test_shape_type_and_the_photo_given(worn):
    photo = grey()
    drawn = draw_mask(photo, LANDMARKS, worn)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(photo, grey())


@pytest.mark.parametrize(("worn", "on_the_nose"), [("properly", True), ("below_nose", False)])
def test_what_is_covered(worn, on_the_nose):
    mask = covered(grey(), draw_mask(grey(), LANDMARKS, worn))
    assert mask[NOSE[1], NOSE[0]] == on_the_nose
    assert mask[MOUTH[1], MOUTH[0]]
    assert mask[CHIN[1], CHIN[0]]
    assert mask[CHEEK[1], CHEEK[0]]
    assert not mask[BROW[1] - 20 : 84, 85:155].any(), "eyes and brow are free"


@pytest.mark.parametrize("worn", WORN)
def test_nothing_is_drawn_away_from_the_face(worn):
    mask = covered(grey(), draw_mask(grey(), LANDMARKS, worn))
    ys, xs = np.nonzero(mask)
    assert xs.min() > 60
    assert xs.max() < 180
    assert ys.max() < 175


@pytest.mark.parametrize("worn", WORN)
def test_mask_is_as_symmetric_as_the_face(worn):
    mask = covered(grey(240), draw_mask(grey(240, 241), LANDMARKS, worn)[:, :240])
    about = mask[:, 60:181]
    assert (about != about[:, ::-1]).mean() < 0.01


@pytest.mark.parametrize("worn", WORN)
def test_mirrored_face_gets_a_mirrored_mask(worn):
    landmarks = LANDMARKS + np.array([(0, 0), (3, 4), (6, 0), (1, 2), (2, 5)])
    mirrored = landmarks[[1, 0, 2, 4, 3]] * (-1, 1) + (239, 0)
    ours = draw_mask(grey(), landmarks, worn)[:, ::-1].astype(int)
    theirs = draw_mask(grey(), mirrored, worn).astype(int)
    assert (np.abs(ours - theirs).max(axis=2) > 40).mean() < 0.01


@pytest.mark.parametrize("worn", WORN)
@pytest.mark.parametrize("angle", [-40, 25, 90])
def test_mask_turns_with_the_face(worn, angle):
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([120.0, 110.0])
    turned = (LANDMARKS - middle) @ matrix.T + middle
    straight = covered(grey(), draw_mask(grey(), LANDMARKS, worn))
    tilted = covered(grey(), draw_mask(grey(), turned, worn))
    expected = matrix @ (centroid(straight) - middle) + middle
    assert np.abs(centroid(tilted) - expected).max() < 1.5
    assert tilted.sum() == pytest.approx(straight.sum(), rel=0.05)


@pytest.mark.parametrize("worn", WORN)
def test_mask_grows_and_moves_with_the_face(worn):
    small = covered(grey(), draw_mask(grey(), LANDMARKS, worn))
    large = covered(grey(128, 480, 400), draw_mask(grey(128, 480, 400), LANDMARKS * 2, worn))
    assert large.sum() == pytest.approx(4 * small.sum(), rel=0.05)
    moved = covered(grey(), draw_mask(grey(), LANDMARKS + np.array((20, -10)), worn))
    assert np.abs(centroid(moved) - centroid(small) - (20, -10)).max() < 0.5


def test_turned_face_has_its_mask_towards_the_nose():
    turned = LANDMARKS.copy()
    turned[2, 0] += 10
    straight, aside = (
        centroid(covered(grey(), draw_mask(grey(), points, "properly")))
        for points in (LANDMARKS, turned)
    )
    assert 5 < aside[0] - straight[0] < 20
    assert abs(aside[1] - straight[1]) < 2


def test_evenly_lit_cloth_has_its_own_colour():
    drawn = draw_mask(grey(), LANDMARKS, "properly")
    pixels = drawn[100:160, 100:140].reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    assert np.abs(values[counts.argmax()].astype(int) - COLOUR).max() <= 1


def test_cloth_may_have_any_colour():
    drawn = draw_mask(grey(), LANDMARKS, "properly", colour=(200, 30, 30))
    red, green, _ = drawn[MOUTH[1] + 10, MOUTH[0]].astype(int)
    assert red > green + 100


def test_cloth_in_the_shadow_is_darker():
    photo = grey(200)
    photo[:, 120:] = 60
    drawn = draw_mask(photo, LANDMARKS, "properly").astype(int)
    assert drawn[125:150, 95:105].mean() > drawn[125:150, 135:145].mean() + 20


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("worn", WORN)
def test_black_and_white_photos(level, worn):
    drawn = draw_mask(grey(level), LANDMARKS, worn)
    assert covered(grey(level), drawn)[MOUTH[1], MOUTH[0]]


@pytest.mark.parametrize("shift", [(-110, 0), (110, 0), (0, -90), (0, 70), (-400, -400)])
@pytest.mark.parametrize("worn", WORN)
def test_face_at_or_over_the_border(worn, shift):
    drawn = draw_mask(grey(), LANDMARKS + np.array(shift), worn)
    assert drawn.shape == grey().shape
    if max(map(abs, shift)) > 300:
        assert np.array_equal(drawn, grey())


@pytest.mark.parametrize("worn", WORN)
def test_tiny_face(worn):
    drawn = draw_mask(grey(), LANDMARKS / 10 + 100, worn)
    assert covered(grey(), drawn).any()
