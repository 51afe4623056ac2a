"""The hard cases, with landmarks given in place of a net's, and the sheet of answers."""

import numpy as np
import pytest
from PIL import Image

from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from pipeline.drawing.demo import read_portrait
from pipeline.inference.predictor import Face
from tests.benchmarks.hard_cases import (
    COLUMNS,
    WALL,
    Answer,
    HardCase,
    answer_hard_cases,
    draw_hard_sheet,
    make_hard_cases,
)
from tests.pipeline.drawing.test_demo import PortraitDetector


@pytest.fixture(scope="module")
def cases():
    return make_hard_cases(PortraitDetector())


def test_every_case_is_a_photo_with_a_class(cases):
    assert {case.truth for case in cases} == set(CLASSES)
    names = [(case.kind, case.what) for case in cases]
    assert len(names) == len(set(names))
    for case in cases:
        assert case.photo.dtype == np.uint8
        assert case.photo.ndim == 3
        x, y = case.face
        assert 0 < x < case.photo.shape[1]
        assert 0 < y < case.photo.shape[0]


def test_what_is_held_up_hides_the_mouth_and_not_the_eyes(cases):
    bare = read_portrait().astype(int)
    for case in cases:
        if case.kind == "no mask" and case.what != "beard":
            change = np.abs(case.photo - bare).max(axis=2)
            assert (change[140:165, 205:240] > 10).mean() > 0.3
            assert change[60:110, 195:246].max() < 10


def test_small_faces_are_where_they_are_said_to_be(cases):
    small = next(case for case in cases if case.kind == "20 px" and case.what == "worn")
    assert small.photo.shape == (*WALL, 3)
    x, y = np.rint(small.face).astype(int)
    red, _, blue = small.photo[y + 4, x].astype(int)
    assert blue > red + 20, "the blue mask lies just below the middle of the face"


class Says:
    """Two stages that find one face at one place."""

    def __init__(self, box, probabilities):
        self.face = Face(box, 0.9, probabilities)

    def __call__(self, frames):
        return [[self.face] for _ in frames]


def test_an_answer_counts_where_the_face_is():
    photo = np.zeros((100, 100, 3), np.uint8)
    case = HardCase("kind", "what", "without_mask", photo, (30, 30), 20)
    near, far = Box(22, 22, 42, 42), Box(60, 60, 80, 80)
    right = answer_hard_cases(Says(near, (0.1, 0.8, 0.1)), [case])[0]
    wrong = answer_hard_cases(Says(near, (0.8, 0.1, 0.1)), [case])[0]
    missed = answer_hard_cases(Says(far, (0.1, 0.8, 0.1)), [case])[0]
    assert (right.is_right, wrong.is_right, missed.is_right) == (True, False, False)
    assert wrong.prediction is not None
    assert missed.prediction is None


def test_sheet_frames_right_and_wrong_answers(tmp_path):
    photo = np.full((60, 60, 3), 200, np.uint8)
    case = HardCase("kind", "what", "without_mask", photo, (30, 30), 20)
    answers = [Answer(case, None)] * (COLUMNS + 1)
    draw_hard_sheet(answers, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3).astype(int)
    red = np.abs(pixels - (192, 57, 43)).max(axis=1) < 10
    green = np.abs(pixels - (44, 138, 75)).max(axis=1) < 10
    assert red.sum() > 500
    assert green.sum() == 0
