from __future__ import annotations

import numpy as np
import pytest

from evaluate.measures.matching import paired_iou

BOX = np.array([[0.0, 0.0, 10.0, 10.0]])


@pytest.mark.parametrize(
    ("other", "plain", "inclusive"),
    [
        ((0, 0, 10, 10), 1, 1),
        ((5, 0, 15, 10), 50 / 150, 66 / 176),
        ((0, 0, 5, 10), 0.5, 66 / 121),
        # Touching boxes share a column of pixels only when sides count inclusively.
        ((10, 0, 20, 10), 0, 11 / 231),
        ((30, 30, 40, 40), 0, 0),
        ((2, 2, 2, 2), 0, 1 / 121),
    ],
)
def test_hand_computed(other: tuple[int, ...], plain: float, inclusive: float) -> None:
    second = np.array([other], dtype=float)
    assert paired_iou(BOX, second) == pytest.approx([plain], abs=1e-12)
    assert paired_iou(BOX, second, inclusive=True) == pytest.approx([inclusive], abs=1e-12)
    assert paired_iou(second, BOX) == pytest.approx([plain], abs=1e-12)


def test_empty_boxes_do_not_overlap_themselves() -> None:
    point = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert paired_iou(point, point).tolist() == [0.0]


def test_no_rows() -> None:
    assert paired_iou(np.empty((0, 4)), np.empty((0, 4))).shape == (0,)
