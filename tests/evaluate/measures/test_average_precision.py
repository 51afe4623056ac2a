"""VOC's average precision against the slow implementation and by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.matching import BoxGroups
from tests.evaluate.scenes import find_average_precision
from tests.evaluate.slow_voc import Corners, Found, Truth, slow_ap

IOUS = [Fraction(3, 10), Fraction(1, 2), Fraction(3, 4)]
FACE = (0, 0, 10, 10)


def group(rows: list[Truth] | list[Found]) -> BoxGroups:
    return BoxGroups(
        np.array([row.box for row in rows], dtype=float).reshape(-1, 4),
        np.array([row.photo for row in rows], dtype=int),
    )


def fast_ap(
    truths: list[Truth],
    found: list[Found],
    *,
    iou: Fraction = IOUS[1],
    inclusive: bool = False,
    eleven_point: bool = False,
) -> float:
    return find_average_precision(
        group(truths),
        group(found),
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
    assert value == pytest.approx(
        math.nan if expected is None else float(expected), abs=1e-9, nan_ok=True
    )


def test_hand_computed() -> None:
    truths = [Truth(0, FACE), Truth(1, FACE), Truth(2, FACE)]
    found = [
        Found(0, FACE, Fraction(9, 10)),
        Found(0, (50, 50, 60, 60), Fraction(8, 10)),
        Found(1, FACE, Fraction(7, 10)),
        Found(1, (0, 0, 10, 9), Fraction(6, 10)),
    ]
    # Precision 1 up to recall 1/3, 2/3 up to recall 2/3, 0 beyond.
    assert fast_ap(truths, found) == pytest.approx(1 / 3 + (1 / 3) * (2 / 3))
    # Recall 0 to 0.3 at precision 1, 0.4 to 0.6 at 2/3.
    assert fast_ap(truths, found, eleven_point=True) == pytest.approx((4 + 3 * (2 / 3)) / 11)
    assert fast_ap(truths, []) == 0
    assert math.isnan(fast_ap([], found))


def test_recall_on_a_step_counts_as_reached() -> None:
    truths = [Truth(photo, FACE) for photo in range(10)]
    found = [Found(photo, FACE, Fraction(1)) for photo in range(3)]
    # 3 of 10 faces: recall 0, 0.1, 0.2 and 0.3, although 3 × 0.1 > 0.3 in floating point.
    assert fast_ap(truths, found, eleven_point=True) == pytest.approx(4 / 11)


@pytest.mark.parametrize("eleven_point", [False, True])
def test_hits_together_are_hits_alone(eleven_point: bool) -> None:
    """Also where but what is to be found differs, whose areas are shared."""
    rng = np.random.default_rng(3)
    photo, true = rng.integers(0, 6, 40), rng.random(40) < 0.6
    truths, rest = np.bincount(photo[true], minlength=6), (np.arange(40, 0, -1.0), eleven_point)
    hits = RankedHits.at_one_iou(photo, true, truths + 2, *rest)
    fewer = replace(hits, truths=truths)
    other = RankedHits.at_one_iou(photo[::-1], true[::-1], truths, *rest)
    weights = rng.integers(0, 4, (5, 6)).astype(float)
    for one, ap in zip(
        (hits, fewer, other), average_precisions([hits, fewer, other], weights), strict=True
    ):
        alone = RankedHits.at_one_iou(one.photo, one.true[0].copy(), one.truths, *rest)
        np.testing.assert_array_equal(ap, average_precisions([alone], weights)[0])
