from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.measures.matching import BoxGroups
from tests.evaluate.scenes import find_average_precision
from tests.evaluate.slow_voc import Corners, Found, Truth, slow_ap

GOLDENS = Path(__file__).parents[4] / "shared" / "eval"
IOUS = [Fraction(3, 10), Fraction(1, 2), Fraction(3, 4)]

# The toy set of Padilla's object detection metrics (MIT): photo, xmin, ymin, xmax, ymax.
TOY_TRUTHS = [
    (0, 1, 49, 341, 499),
    (2, 160, 1, 448, 375),
    (3, 28, 1, 335, 496),
    (4, 40, 4, 484, 370),
    (5, 170, 44, 459, 251),
    (5, 72, 123, 387, 334),
    (6, 60, 123, 220, 305),
    (6, 243, 105, 437, 317),
    (7, 1, 16, 352, 272),
    (7, 130, 139, 500, 366),
    (8, 34, 1, 281, 283),
    (9, 1, 39, 248, 300),
]
# And score, photo, xmin, ymin, width, height.
TOY_DETECTIONS = [
    (0.94, 0, 12, 44, 332, 437),
    (0.85, 1, 220, 344, 180, 87),
    (0.95, 2, 166, 0, 311, 365),
    (0.92, 3, 49, 7, 269, 493),
    (0.95, 4, 6, 55, 489, 347),
    (0.81, 5, 65, 74, 305, 257),
    (0.86, 6, 67, 117, 162, 187),
    (0.76, 6, 281, 109, 163, 211),
    (0.89, 7, 7, 9, 342, 256),
    (0.82, 7, 151, 123, 352, 252),
    (0.99, 8, 29, 0, 239, 287),
    (0.98, 9, 47, 43, 179, 255),
]


def boxes(rows: list[Truth] | list[Found]) -> BoxGroups:
    return BoxGroups(
        np.array([row.box for row in rows], dtype=float).reshape(-1, 4),
        np.array([row.photo for row in rows], dtype=int),
    )


def fast_ap(
    truths: list[Truth],
    found: list[Found],
    *,
    iou: Fraction,
    inclusive: bool = False,
    eleven_point: bool = False,
) -> float:
    return find_average_precision(
        boxes(truths),
        boxes(found),
        np.array([float(row.score) for row in found]),
        difficult=np.array([row.difficult for row in truths], dtype=bool),
        iou=float(iou),
        inclusive=inclusive,
        eleven_point=eleven_point,
    )


def corners() -> st.SearchStrategy[Corners]:
    # Small whole numbers, so that equal boxes, equal overlaps and IoU at the threshold all occur.
    side = st.tuples(st.integers(0, 6), st.integers(1, 6))
    return st.builds(lambda x, y: (x[0], y[0], x[0] + x[1], y[0] + y[1]), side, side)


SCORES = st.integers(0, 8).map(lambda eighths: Fraction(eighths, 8))
TRUTHS = st.lists(st.builds(Truth, st.integers(0, 3), corners(), st.booleans()), max_size=12)
FOUND = st.lists(st.builds(Found, st.integers(0, 3), corners(), SCORES), max_size=16)


@given(TRUTHS, FOUND, st.sampled_from(IOUS), st.booleans(), st.booleans())
def test_equals_the_slow_implementation(
    truths: list[Truth], found: list[Found], iou: Fraction, inclusive: bool, eleven_point: bool
) -> None:
    options = {"iou": iou, "inclusive": inclusive, "eleven_point": eleven_point}
    expected = slow_ap(truths, found, **options)
    value = fast_ap(truths, found, **options)
    if expected is None:
        assert math.isnan(value)
    else:
        assert value == pytest.approx(float(expected), abs=1e-9)


def test_hand_computed() -> None:
    truths = [Truth(0, (0, 0, 10, 10)), Truth(1, (0, 0, 10, 10)), Truth(2, (0, 0, 10, 10))]
    found = [
        Found(0, (0, 0, 10, 10), Fraction(9, 10)),
        Found(0, (50, 50, 60, 60), Fraction(8, 10)),
        Found(1, (0, 0, 10, 10), Fraction(7, 10)),
        Found(1, (0, 0, 10, 9), Fraction(6, 10)),
    ]
    # Precision 1 up to recall 1/3, 2/3 up to recall 2/3, 0 beyond.
    assert fast_ap(truths, found, iou=IOUS[1]) == pytest.approx(1 / 3 + (1 / 3) * (2 / 3))
    # Recall 0 to 0.3 at precision 1, 0.4 to 0.6 at 2/3.
    eleven = fast_ap(truths, found, iou=IOUS[1], eleven_point=True)
    assert eleven == pytest.approx((4 + 3 * (2 / 3)) / 11)


def test_recall_on_a_step_counts_as_reached() -> None:
    truths = [Truth(photo, (0, 0, 10, 10)) for photo in range(10)]
    found = [Found(photo, (0, 0, 10, 10), Fraction(1)) for photo in range(3)]
    # 3 of 10 faces: recall 0, 0.1, 0.2 and 0.3, although 3 × 0.1 > 0.3 in floating point.
    assert fast_ap(truths, found, iou=IOUS[1], eleven_point=True) == pytest.approx(4 / 11)


def test_nothing_found_is_zero_and_nothing_to_find_undefined() -> None:
    assert fast_ap([Truth(0, (0, 0, 1, 1))], [], iou=IOUS[1]) == 0
    assert math.isnan(fast_ap([], [Found(0, (0, 0, 1, 1), Fraction(1))], iou=IOUS[1]))
    assert math.isnan(fast_ap([], [], iou=IOUS[1]))


@pytest.mark.parametrize(
    ("iou", "eleven_point", "percent"),
    [(0.5, False, 89.58), (0.5, True, 88.64), (0.75, False, 50.97), (0.75, True, 49.24)],
)
def test_published_values_of_the_toy_set(iou: float, eleven_point: bool, percent: float) -> None:
    truths = np.array(TOY_TRUTHS, dtype=float)
    found = np.array(TOY_DETECTIONS)
    found[:, 4:] += found[:, 2:4]
    value = find_average_precision(
        BoxGroups(truths[:, 1:], truths[:, 0].astype(int)),
        BoxGroups(found[:, 2:], found[:, 1].astype(int)),
        found[:, 0],
        iou=iou,
        inclusive=True,
        eleven_point=eleven_point,
    )
    assert round(100 * value, 2) == percent


def _read_xywh(folder: Path) -> np.ndarray:
    """Rows of photo, [score,] xmin, ymin, xmax, ymax."""
    rows = [
        [number, *map(float, line.split()[1:])]
        for number, path in enumerate(sorted(folder.glob("*.txt")))
        for line in path.read_text().splitlines()
        if line.strip()
    ]
    table = np.array(rows)
    table[:, -2:] += table[:, -4:-2]
    return table


@pytest.mark.skipif(not GOLDENS.is_dir(), reason="the golden boxes are not here")
@pytest.mark.parametrize(
    ("inclusive", "eleven_point", "percent"),
    [(True, False, 24.57), (True, True, 26.84), (False, False, 22.54), (False, True, 26.84)],
)
def test_published_values_of_the_voc_sample(
    inclusive: bool, eleven_point: bool, percent: float
) -> None:
    truths = _read_xywh(GOLDENS / "voc-sample" / "groundtruths")
    found = _read_xywh(GOLDENS / "voc-sample" / "detections")
    value = find_average_precision(
        BoxGroups(truths[:, 1:], truths[:, 0].astype(int)),
        BoxGroups(found[:, 2:], found[:, 0].astype(int)),
        found[:, 1],
        iou=0.3,
        inclusive=inclusive,
        eleven_point=eleven_point,
    )
    assert round(100 * value, 2) == percent
