"""The hard cases, with landmarks given in place of a net's, and the sheet of answers."""

import numpy as np
import pytest
from PIL import Image

from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from pipeline.inference.records import Face
from tests.benchmarks.hard_cases import (
    WALL,
    HardCase,
    answer_hard_case,
    draw_hard_sheet,
    make_hard_cases,
)
from tests.demo import read_portrait
from tests.pipeline.drawing.test_demo import PortraitDetector


@pytest.fixture(scope="module")
def cases():
    return make_hard_cases(PortraitDetector())


def test_every_case_is_a_photo_with_a_class(cases):
    assert {case.truth for case in cases} == set(CLASSES)
    assert len({(case.kind, case.what) for case in cases}) == len(cases) == 40
    for case in cases:
        (height, width, _), (x, y) = case.photo.shape, case.face
        assert (case.photo.dtype, 0 < x < width, 0 < y < height) == (np.uint8, True, True)
    small = next(case for case in cases if case.kind == "20 px" and case.what == "worn")
    assert small.photo.shape == (*WALL, 3)
    x, y = np.rint(small.face).astype(int)
    red, _, blue = small.photo[y + 4, x].astype(int)
    assert blue > red + 20, "the blue mask lies just below the middle of the face"


def test_what_is_held_up_hides_the_mouth_and_not_the_eyes(cases):
    for case in cases:
        if case.kind == "no mask" and case.what != "beard":
            change = np.abs(case.photo - read_portrait().astype(int)).max(axis=2)
            assert (change[140:165, 205:240] > 10).mean() > 0.3
            assert change[60:110, 195:246].max() < 10


def test_an_answer_counts_where_the_face_is(tmp_path):
    case = HardCase("kind", "what", "without_mask", np.zeros((99, 99, 3), np.uint8), (30, 30), 20)
    near, far = Box(22, 22, 42, 42), Box(60, 60, 80, 80)
    told = [Face(near, 0.9, (0.1, 0.8, 0.1)), Face(near, 0.9, (0.8, 0.1, 0.1))]
    told.append(Face(far, 0.9, (0.1, 0.8, 0.1)))
    answers = [answer_hard_case(lambda _, face=face: [[face]], case) for face in told]
    assert answers == [told[0], told[1], None]
    assert draw_hard_sheet([case] * 3, answers, tmp_path / "a.png") == 1
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3).astype(int)
    green, red = (
        (np.abs(pixels - colour).max(axis=1) < 10).sum()
        for colour in ((44, 138, 75), (192, 57, 43))
    )
    assert red > 1.5 * green > 300
