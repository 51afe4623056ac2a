from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.measures import matching
from evaluate.measures.matching import BoxGroups, best_overlaps
from tests.evaluate.slow_voc import Corners, slow_iou

CORNERS = st.builds(
    lambda x, y, width, height: (x, y, x + width, y + height),
    *(st.integers(0, 6) for _ in range(4)),
)
ROWS = st.lists(st.tuples(st.integers(0, 3), CORNERS), max_size=12)


def as_groups(rows: list[tuple[int, Corners]]) -> BoxGroups:
    return BoxGroups(
        np.array([box for _, box in rows], dtype=float).reshape(-1, 4),
        np.array([group for group, _ in rows], dtype=np.int64),
    )


@given(ROWS, ROWS, st.booleans(), st.sampled_from([1, 5, 100_000]))
def test_equals_the_slow_implementation(
    found: list[tuple[int, Corners]],
    faces: list[tuple[int, Corners]],
    inclusive: bool,
    at_once: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "PAIRS_AT_ONCE", at_once)
        ious, best = best_overlaps(as_groups(found), as_groups(faces), inclusive=inclusive)
    for row, (group, box) in enumerate(found):
        largest, face = Fraction(0), -1
        for number, (other_group, other) in enumerate(faces):
            overlap = slow_iou(box, other, inclusive)
            if group == other_group and overlap > largest:
                largest, face = overlap, number
        assert (best[row], ious[row]) == (face, pytest.approx(float(largest)))


def test_boxes_that_touch_share_a_row_of_pixels_only_when_sides_are_inclusive() -> None:
    face, beside = as_groups([(0, (0, 0, 1, 1))]), as_groups([(0, (1, 0, 2, 1))])
    assert best_overlaps(face, beside)[1].tolist() == [-1]
    ious, best = best_overlaps(face, beside, inclusive=True)
    assert ious == pytest.approx([2 / 6])
    assert best.tolist() == [0]
