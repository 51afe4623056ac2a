from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import pytest

from data_prep.base.boxes import SIZE_EDGES
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.sizes import (
    NUMBERS,
    SIZE_NAMES,
    describe_sizes,
    sort_by_size,
)
from tests.evaluate.scenes import Seen, as_detections, as_truth, make_case, make_clutter
from tests.evaluate.slow_voc import Found, Truth, slow_area, slow_flags, slow_iou

HALF = Fraction(1, 2)


def slow_bin(box: Sequence[float], inclusive: bool) -> int:
    xmin, ymin, xmax, ymax = map(int, box)
    side = min(xmax - xmin, ymax - ymin) + inclusive
    return sum(side >= edge for edge in SIZE_EDGES)


def slow_ap(
    truth: GroundTruth,
    detections: Detections,
    size: int,
    label: int | None,
    scores: np.ndarray,
    inclusive: bool,
) -> Fraction | None:
    """AP within a bin, of a class or, with None, of faces as such."""
    truths = [
        Truth(photo, tuple(box), difficult or slow_bin(box, inclusive) != size)
        for photo, box, own, difficult in zip(
            *(truth.photo, truth.boxes.astype(int), truth.labels, truth.difficult), strict=True
        )
        if label in (None, own)
    ]
    found = [
        Found(photo, tuple(box), score)
        for photo, box, own, score in zip(
            *(detections.photo, detections.boxes.astype(int), detections.labels, scores),
            strict=True,
        )
        if label in (None, own)
    ]
    flags = slow_flags(truths, found, HALF, inclusive, lambda d: slow_bin(d.box, inclusive) == size)
    total = sum(not one.difficult for one in truths)
    return slow_area(flags, total) if total else None


def slow_pairs(
    truth: GroundTruth, detections: Detections, thresh: float, inclusive: bool
) -> dict[int, int]:
    """The predicted class of every face that is found."""
    pairs: dict[int, int] = {}
    rows = [d for d in range(len(detections)) if detections.detection[d] >= thresh]
    for d in sorted(rows, key=lambda d: -detections.detection[d]):
        best, face = Fraction(0), None
        for g in range(len(truth.photo)):
            free = g not in pairs and not truth.difficult[g]
            if free and truth.photo[g] == detections.photo[d]:
                overlap = slow_iou(
                    tuple(map(int, detections.boxes[d])), tuple(map(int, truth.boxes[g])), inclusive
                )
                if overlap >= HALF and overlap > best:
                    best, face = overlap, g
        if face is not None:
            pairs[face] = int(detections.labels[d])
    return pairs


def slow_share(part: list[int], whole: list[int]) -> float | None:
    return len(part) / len(whole) if whole else None


def slow_mean(values: Iterable[float | None]) -> float | None:
    defined = [float(value) for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def slow_numbers(
    truth: GroundTruth, detections: Detections, size: int, thresh: float, inclusive: bool
) -> dict[str, float | None]:
    pairs = slow_pairs(truth, detections, thresh, inclusive)
    bins = [slow_bin(box, inclusive) for box in truth.boxes]
    faces = [g for g in range(len(bins)) if not truth.difficult[g] and bins[g] == size]
    found = [g for g in faces if g in pairs]
    right = [g for g in found if pairs[g] == truth.labels[g]]
    labels = range(len(truth.classes))

    def of(label: int, some: list[int]) -> list[int]:
        return [g for g in some if truth.labels[g] == label]

    def ap(label: int | None, scores: np.ndarray) -> Fraction | None:
        return slow_ap(truth, detections, size, label, scores, inclusive)

    return {
        "found": slow_share(found, faces),
        "accuracy": slow_share(right, found),
        "macro_recall": slow_mean(slow_share(of(one, right), of(one, found)) for one in labels),
        "found_and_right": slow_share(right, faces),
        "face_ap50": ap(None, detections.detection),
        "map50": slow_mean(ap(one, detections.scores) for one in labels),
    }


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_implementation(seed: int, inclusive: bool) -> None:
    truth, detections = make_clutter(seed, faces=40, found=60)
    record = describe_sizes(make_case(truth, detections, thresh=0.25, inclusive=inclusive))
    for size, described in enumerate(record["sizes"]):
        expected = slow_numbers(truth, detections, size, 0.25, inclusive)
        for name in NUMBERS:
            value = None if expected[name] is None else float(expected[name])
            assert described[name] == pytest.approx(value, abs=1e-12), (size, name)
        assert described["intervals"] is None
    faces = [sum(described["faces"].values()) for described in record["sizes"]]
    assert sum(faces) == (~truth.difficult).sum()


def test_sides_on_an_edge_belong_to_the_larger_bin() -> None:
    boxes = np.array(
        [[0, 0, 15.9, 80], [0, 0, 80, 16], [0, 0, 31.9, 32], [0, 0, 32, 32], [0, 0, 64, 99]]
    )
    assert sort_by_size(boxes).tolist() == [0, 1, 1, 2, 3]
    assert SIZE_NAMES == ("<16", "16–32", "32–64", "≥64")


def test_hand_computed() -> None:
    faces = [
        Seen(0, 0, (0, 0, 10, 10)),
        Seen(0, 1, (20, 0, 30, 10)),
        Seen(0, 0, (0, 100, 20, 120)),
        Seen(0, 0, (0, 200, 20, 220), difficult=True),
    ]
    found = [
        # Before all of the small ones comes a false one of another size, then one of theirs.
        Seen(0, 0, (300, 0, 340, 40), 0.95),
        Seen(0, 0, (300, 100, 308, 108), 0.9),
        Seen(0, 0, (0, 0, 10, 10), 0.8),
        Seen(0, 0, (20, 0, 30, 10), 0.7),
        # Right, but under the threshold.
        Seen(0, 0, (0, 100, 20, 120), 0.4),
    ]
    small, middle, large, huge = describe_sizes(make_case(as_truth(faces), as_detections(found)))[
        "sizes"
    ]
    assert small["faces"] == {"with_mask": 1, "without_mask": 1, "mask_weared_incorrect": 0}
    assert middle["faces"] == {"with_mask": 1, "without_mask": 0, "mask_weared_incorrect": 0}
    assert (small["from"], small["below"]) == (None, 16)
    assert (huge["from"], huge["below"]) == (64, None)
    assert (small["found"], small["accuracy"], small["found_and_right"]) == (1, 0.5, 0.5)
    assert small["macro_recall"] == 0.5
    # By rank: false, right, right.
    assert small["face_ap50"] == pytest.approx(2 / 3)
    # Masked: false, right, false. Unmasked: none.
    assert small["map50"] == pytest.approx((1 / 2 + 0) / 2)
    assert (middle["found"], middle["accuracy"], middle["face_ap50"]) == (0, None, 1)
    for nobody in (large, huge):
        assert all(nobody[name] is None for name in NUMBERS)


def test_a_face_may_be_found_by_a_box_of_another_size() -> None:
    # 15 × 15 against 16 × 16: IoU 0.88.
    truth = as_truth([Seen(0, 0, (0, 0, 16, 16))])
    record = describe_sizes(make_case(truth, as_detections([Seen(0, 0, (0, 0, 15, 15), 0.9)])))
    small, middle, *_ = record["sizes"]
    assert small["map50"] is None
    assert (middle["map50"], middle["face_ap50"], middle["found"]) == (1, 1, 1)
