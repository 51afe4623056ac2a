from __future__ import annotations

import numpy as np
import pytest

from evaluate.measures import matching
from evaluate.measures.matching import BoxGroups, best_overlaps, flag_hits, match_greedily

NONE = np.zeros(9, dtype=bool)


def groups(*rows: tuple[int, float, float, float, float]) -> BoxGroups:
    table = np.array(rows, dtype=float).reshape(-1, 5)
    return BoxGroups(table[:, 1:], table[:, 0].astype(int))


def test_best_overlap_stays_in_its_photo() -> None:
    truths = groups((0, 0, 0, 10, 10), (1, 0, 0, 10, 10), (1, 0, 0, 10, 8))
    iou, truth = best_overlaps(
        groups((1, 0, 0, 10, 8), (0, 0, 0, 10, 8), (2, 0, 0, 10, 8), (1, 50, 50, 60, 60)), truths
    )
    assert iou == pytest.approx([1, 0.8, 0, 0])
    assert truth.tolist()[:3] == [2, 0, -1]


def test_first_of_equal_overlaps_wins() -> None:
    twins = groups((0, 0, 0, 10, 10), (0, 0, 0, 10, 10))
    assert best_overlaps(groups((0, 0, 0, 10, 10)), twins)[1].tolist() == [0]


def test_small_slices_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 20, (60, 2))
    boxes = np.hstack([corner, corner + generator.uniform(1, 20, (60, 2))])
    detections = BoxGroups(boxes[:40], generator.integers(0, 3, 40))
    truths = BoxGroups(boxes[40:], generator.integers(0, 3, 20))
    difficult = generator.random(20) < 0.2
    whole = best_overlaps(detections, truths)
    matched = match_greedily(detections, truths, difficult, iou=0.2)
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 7)
    for first, second in zip(whole, best_overlaps(detections, truths), strict=True):
        np.testing.assert_array_equal(first, second)
    again = match_greedily(detections, truths, difficult, iou=0.2)
    for first, second in zip(matched, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_second_hit_is_false_without_falling_back() -> None:
    # Both detections overlap box 0 most; the second also overlaps box 1 by more than 0.5.
    truths = groups((0, 0, 0, 10, 10), (0, 0, 0, 10, 14))
    detections = groups((0, 0, 0, 10, 10), (0, 0, 0, 10, 11))
    iou, best = best_overlaps(detections, truths)
    true, ignored = flag_hits(iou, best, NONE[:2], iou=0.5)
    assert true.tolist() == [True, False]
    assert not ignored.any()
    # The pairing for labels does fall back.
    assert match_greedily(detections, truths, NONE[:2])[0].tolist() == [0, 1]


def test_iou_equal_to_the_threshold_is_a_hit() -> None:
    iou, best = best_overlaps(groups((0, 0, 0, 10, 5)), groups((0, 0, 0, 10, 10)))
    assert flag_hits(iou, best, NONE[:1], iou=0.5)[0].tolist() == [True]
    assert flag_hits(iou, best, NONE[:1], iou=0.51)[0].tolist() == [False]
    found, _ = match_greedily(groups((0, 0, 0, 10, 5)), groups((0, 0, 0, 10, 10)), NONE[:1])
    assert found.tolist() == [0]


def test_difficult_faces_count_neither_way() -> None:
    truths = groups((0, 0, 0, 10, 10), (0, 40, 40, 50, 50))
    difficult = np.array([True, False])
    detections = groups(
        (0, 0, 0, 10, 10), (0, 0, 0, 10, 9), (0, 40, 40, 50, 50), (0, 0, 40, 10, 50)
    )
    iou, best = best_overlaps(detections, truths)
    true, ignored = flag_hits(iou, best, difficult, iou=0.5)
    assert true.tolist() == [False, False, True, False]
    assert ignored.tolist() == [True, True, False, False]
    taken, passed = match_greedily(detections, truths, difficult)
    assert taken.tolist() == [-1, -1, 1, -1]
    assert passed.tolist() == [True, True, False, False]


def test_greedy_prefers_the_face_that_is_not_difficult() -> None:
    truths = groups((0, 0, 0, 10, 10), (0, 0, 0, 10, 9))
    taken, ignored = match_greedily(
        groups((0, 0, 0, 10, 10)), truths, np.array([True, False]), iou=0.5
    )
    assert taken.tolist() == [1]
    assert not ignored.any()


def test_nothing_to_match() -> None:
    empty, one = groups(), groups((0, 0, 0, 10, 10))
    assert best_overlaps(empty, one)[0].shape == (0,)
    assert best_overlaps(one, empty)[1].tolist() == [-1]
    assert match_greedily(one, empty, NONE[:0])[0].tolist() == [-1]
    assert flag_hits(np.zeros(1), np.array([-1]), NONE[:0], iou=0.5)[0].tolist() == [False]
