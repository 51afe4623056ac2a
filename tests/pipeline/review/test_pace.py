"""Pace, and the hint when going on no longer pays."""

import math

import pytest

from pipeline.review.pace import describe_yield, measure_pace, measure_yield


def at(seconds: float) -> str:
    return f"2026-11-20T10:{int(seconds) // 60:02}:{seconds % 60:06.3f}Z"


def test_pace_leaves_breaks_and_imports_out():
    assert measure_pace([at(s) for s in (0, 3, 6, 9)]) == pytest.approx(20)
    assert measure_pace([at(s) for s in (0, 3, 6, 600, 603)]) == pytest.approx(20)
    assert measure_pace([at(s) for s in (0, 0.01, 0.02, 3.02, 6.02, 9.02)]) == pytest.approx(20)
    assert measure_pace([at(s) for s in (0, 3, 6)]) is None
    assert measure_pace([]) is None


def wilson(changed: int, of: int) -> tuple[float, float]:
    """Both ends, by bisection of its defining equation |p - q| = z √(q (1 - q) / n)."""
    z, p = 1.959963984540054, changed / of

    def solve(low: float, high: float) -> float:
        inside_is_low = low == p
        for _ in range(80):
            middle = (low + high) / 2
            inside = abs(p - middle) <= z * math.sqrt(middle * (1 - middle) / of)
            if inside == inside_is_low:
                low = middle
            else:
                high = middle
        return low

    return (0.0 if changed == 0 else solve(0, p)), (1.0 if changed == of else solve(p, 1))


@pytest.mark.parametrize(("changed", "of"), [(0, 50), (3, 50), (0, 73), (12, 40), (40, 40)])
def test_the_interval_is_wilsons(changed, of):
    found = measure_yield([True] * changed + [False] * (of - changed))
    assert (found.low, found.high) == pytest.approx(wilson(changed, of), abs=1e-9)


def test_it_stops_paying_after_73_in_vain():
    assert not measure_yield([False] * 72).is_low
    assert measure_yield([False] * 73).is_low
    assert not measure_yield([True] + [False] * 99).is_low


def test_the_hint_tells_the_numbers():
    found = measure_yield([False] * 100)
    expected = {"with_mask": (30.0, 20.0, 45.0), "without_mask": (10.0, 5.0, 15.0)}
    text = describe_yield(found, expected, changed=25, left=3000)
    assert "None of your last 100 decisions changed anything" in text
    assert "0.0% to 3.7%" in text
    assert "About 40 labels (25 to 60)" in text
    assert "changed 25 faces" in text
    assert "one in 200 of the 3000 faces left" in text
    busy = describe_yield(measure_yield([True] * 10 + [False] * 40), {}, changed=1, left=10)
    assert busy == "10 of your last 50 decisions changed anything (95 % interval 11.2% to 33.0%)."
