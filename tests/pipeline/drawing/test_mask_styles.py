"""Styles of masks: told apart, worn where they should be, turning and growing with the face."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.base.photo import read_photo
from pipeline.drawing.geometry import SHAPES, SUPERSAMPLING, WAYS_TO_WEAR, locate_pixels, place
from pipeline.drawing.styles import STYLES, StyleError, choose_styles, draw_mask, paint_pattern

LANDMARKS = np.array([(100, 80), (140, 80), (120, 100), (104, 120), (136, 120)], np.float32)
NOSE, MOUTH, CHIN = (120, 102), (120, 121), (120, 152)
REFERENCE = Path(__file__).with_name("default_masks.png")
"""What was drawn before there were styles: plain blue, then red without straps, in three ways."""


def by_name(style):
    return style.name


def grey(level=128):
    return np.full((220, 240, 3), level, np.uint8)


def covered(style, worn="properly", landmarks=LANDMARKS):
    return (draw_mask(grey(), landmarks, worn, style=style, straps=False) != grey()).any(axis=2)


def test_default_is_what_it_always_was():
    y, x = np.mgrid[0:72, 0:72]
    photo = np.stack([90 + x, 150 - y, 60 + (x * y) // 60], axis=2).astype(np.uint8)
    landmarks = np.array([(26, 22), (46, 23), (37, 33), (28, 43), (45, 44)], np.float32)
    cells = [draw_mask(photo, landmarks, worn) for worn in WAYS_TO_WEAR]
    red = (200, 30, 30)
    cells += [draw_mask(photo, landmarks, worn, red, straps=False) for worn in WAYS_TO_WEAR]
    difference = np.abs(np.hstack(cells).astype(int) - read_photo(REFERENCE).pixels)
    # Blurring may round differently on another processor.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_there_are_many_and_all_look_different():
    assert len(STYLES) >= 13
    assert len({style.name for style in STYLES}) == len(STYLES)
    assert {style.shape for style in STYLES} == set(SHAPES)
    drawn = {draw_mask(grey(), LANDMARKS, "properly", style=style).tobytes() for style in STYLES}
    assert len(drawn) == len(STYLES)


@pytest.mark.parametrize("style", STYLES, ids=by_name)
def test_each_way_of_wearing_leaves_bare_what_it_should(style):
    for worn, nose, mouth in (
        ("properly", True, True),
        ("below_nose", False, True),
        ("on_chin", False, False),
    ):
        mask = covered(style, worn)
        assert mask[NOSE[1], NOSE[0]] == nose
        assert mask[MOUTH[1], MOUTH[0]] == mouth
        assert mask[CHIN[1], CHIN[0]]
        assert not mask[:86, 100:141].any(), "eyes are free"


@pytest.mark.parametrize("style", STYLES, ids=by_name)
def test_masks_turn_and_grow_with_the_face(style):
    """A face lying on its side, drawn, is the drawing lying on its side, pattern and all."""
    photo = np.full((240, 240, 3), 128, np.uint8)
    straight = draw_mask(photo, LANDMARKS + 0.5, "properly", style=style, seed=4)
    side = np.stack([LANDMARKS[:, 1] + 0.5, 240 - LANDMARKS[:, 0] - 0.5], axis=1)
    lying = draw_mask(photo, side, "properly", style=style, seed=4)
    difference = np.abs(np.rot90(straight).astype(int) - lying).max(axis=2)
    changed = (straight != photo).any(axis=2).sum()
    assert (difference > 60).sum() < 0.12 * changed
    large = covered(style, landmarks=LANDMARKS * 1.5 - (60, 90))
    small = covered(style)
    assert large.sum() == pytest.approx(2.25 * small.sum(), rel=0.08)


def test_flowers_and_blotches_follow_the_seed():
    for style in STYLES:
        one, same, other = (
            draw_mask(grey(), LANDMARKS, "properly", style=style, seed=seed) for seed in (1, 1, 2)
        )
        assert np.array_equal(one, same)
        assert np.array_equal(one, other) == (style.pattern not in {"flowers", "blotches"})


def test_pixels_are_located_where_place_puts_points():
    turned = np.array([(100, 80), (138, 94), (120, 104), (94, 118), (128, 131)], np.float32)
    points = np.array([(0.0, 0.0), (0.5, 0.7), (-0.8, 1.6)])
    for (across, down), (x, y) in zip(points, place(points, turned), strict=True):
        left, top = int(x), int(y)
        here_x, here_y = locate_pixels(left, top, 1, 1, turned)
        row, column = int((y - top) * SUPERSAMPLING), int((x - left) * SUPERSAMPLING)
        assert here_x[row, column] == pytest.approx(across, abs=0.02)
        assert here_y[row, column] == pytest.approx(down, abs=0.02)


def test_share_of_the_ground_is_what_geometry_says():
    """Dots of radius 0.075 every 0.26; stripes of 0.11 every 0.26; threads of half the width."""
    steps = (np.arange(780) + 0.5) / 1000
    x, y = np.meshgrid(steps, steps)
    random, colours = np.random.default_rng(0), ((0, 0, 0), (200, 200, 200))
    for pattern, share in (
        ("plain", 0.0),
        ("dots", np.pi * 0.075**2 / 0.26**2),
        ("stripes", 0.11 / 0.26),
    ):
        painted = paint_pattern(pattern, x, y, colours, random)
        assert painted.mean() == pytest.approx(200 * share, abs=1.0)
    steps = (np.arange(600) + 0.5) / 1000
    x, y = np.meshgrid(steps, steps)
    checks = paint_pattern("checks", x, y, colours, random)
    assert np.allclose(np.unique(checks.round()), [0, 100, 200])
    assert checks.mean() == pytest.approx(100, abs=1.0)


def test_landmarks_on_one_line_and_away_from_the_photo():
    for style in STYLES:
        line = np.array([(90, 100), (130, 100), (110, 100), (95, 100), (125, 100)], np.float32)
        assert draw_mask(grey(), line, "properly", style=style).shape == grey().shape
        away = draw_mask(grey(), LANDMARKS - 900, "properly", style=style)
        assert np.array_equal(away, grey())


def test_unknown_style_is_named_with_the_known_ones():
    with pytest.raises(StyleError, match=r"no style 'pink'; there are: surgical-blue, "):
        choose_styles(["cloth-red", "pink"])
    assert choose_styles([]) == STYLES
