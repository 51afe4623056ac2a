"""Which photos are looked at closely, and which faces are taken from which look."""

import numpy as np
import pytest

from pipeline.inference.boxes import (
    FIRST_FROM,
    SECOND_BELOW,
    SURE_SCORE,
    TINY_SIDE,
    FaceBoxes,
    has_tiny_faces,
    merge_scales,
)
from tests.pipeline.makers import faces_of

TINY, LARGE = TINY_SIDE / 2 - 1, TINY_SIDE / 2 + 1
"""Sides that lie on either side of the limit at an enlargement of 2."""


@pytest.mark.parametrize(
    ("sides", "score", "tiny"),
    [
        ([TINY], 0.9, True),
        ([TINY], SURE_SCORE + 0.01, True),
        ([TINY], SURE_SCORE - 0.01, False),
        ([LARGE] * 4, 0.9, False),
        ([LARGE] * 4 + [TINY], 0.9, True),
        ([], 0.9, False),
    ],
)
def test_one_sure_tiny_face_is_enough(sides, score, tiny):
    assert has_tiny_faces(faces_of(sides, [score] * len(sides)), 2.0) is tiny


def at(x, side, score):
    """One square face at this place."""
    box = np.array([[x, 0, x + side, side]], np.float32)
    return FaceBoxes(box, np.array([score], np.float32), np.full((1, 5, 2), x, np.float32))


def join(*faces):
    return FaceBoxes(
        np.concatenate([one.boxes for one in faces]),
        np.concatenate([one.scores for one in faces]),
        np.concatenate([one.landmarks for one in faces]),
    )


def test_each_size_is_taken_from_the_look_that_sees_it_best():
    """At an enlargement of 2: tiny from the closer look, large from the first, middle from both."""
    tiny, middle, large = FIRST_FROM / 2 - 3, (FIRST_FROM + SECOND_BELOW) / 4, SECOND_BELOW / 2 + 3
    first = join(at(0, tiny, 0.9), at(100, middle, 0.8), at(200, large, 0.7))
    closer = join(at(300, tiny, 0.6), at(400, middle, 0.5), at(500, large, 0.95))
    merged = merge_scales(first, closer, 2.0)
    assert merged.boxes[:, 0].tolist() == [100, 200, 300, 400]
    assert merged.scores.tolist() == pytest.approx([0.8, 0.7, 0.6, 0.5])
    assert merged.landmarks[:, 0, 0].tolist() == [100, 200, 300, 400]


def test_a_face_of_both_looks_is_kept_once_with_its_surer_box():
    side = (FIRST_FROM + SECOND_BELOW) / 4
    merged = merge_scales(at(100, side, 0.6), at(101, side, 0.8), 2.0)
    assert merged.boxes[:, 0].tolist() == [101]
    assert merged.scores.tolist() == pytest.approx([0.8])


def test_nothing_found():
    merged = merge_scales(faces_of([], []), faces_of([], []), 2.0)
    assert merged.boxes.shape == (0, 4)
    assert merged.landmarks.shape == (0, 5, 2)
