"""Each definition against the slow one, where they differ."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.average_precision import Rules
from evaluate.measures.coco import describe_at
from tests.evaluate.scenes import list_conventions, make_case
from tests.evaluate.slow_voc import Found, Truth, slow_ap

CLASSES = ("with_mask", "without_mask", "mask_weared_incorrect")


@pytest.fixture(scope="module")
def boxes() -> tuple[GroundTruth, Detections]:
    """Twelve photos of small faces; detections off by a pixel or two, some with wrong labels."""
    rng = np.random.default_rng(5)
    photo = np.repeat(np.arange(12), 4)
    corner = np.tile([[0, 0], [40, 0], [0, 40], [40, 40]], (12, 1))
    sides = rng.integers(5, 14, (48, 2))
    faces = np.hstack([corner, corner + sides]).astype(float)
    labels = rng.choice(3, 48, p=[0.6, 0.3, 0.1])
    labels[:3] = range(3)
    names = tuple(f"{n:02}" for n in range(12))
    truth = GroundTruth(names, photo, faces, labels, np.zeros(48, bool))
    off = rng.integers(-3, 4, (48, 4))
    moved = faces + np.sort(off.reshape(48, 2, 2), axis=1).reshape(48, 4)
    given = np.where(rng.random(48) < 0.25, (labels + 1) % 3, labels)
    chances = np.full((48, 3), 0.125)
    chances[np.arange(48), given] = 0.75
    detection = rng.permutation(48) / 64 + 0.2
    scores = detection * 0.75
    return truth, Detections(photo, moved, given, scores, detection, chances)


def slow_map(truth, detections, keep=None, ranked_by_all=False, **options):
    values = {}
    for index, name in enumerate(CLASSES):
        truths = [
            Truth(int(p), tuple(map(int, box)))
            for p, box, label in zip(truth.photo, truth.boxes, truth.labels, strict=True)
            if label == index
        ]
        found = []
        for row in range(len(detections)):
            if keep is not None and not keep[row]:
                continue
            if not ranked_by_all and detections.labels[row] != index:
                continue
            score = detections.scores[row]
            if ranked_by_all:
                score = detections.detection[row] * detections.probabilities[row, index]
            box = tuple(map(int, detections.boxes[row]))
            found.append(Found(int(detections.photo[row]), box, Fraction(float(score))))
        values[name] = float(slow_ap(truths, found, iou=Fraction(1, 2), **options))
    return values


def test_every_row_follows_its_definition(boxes):
    truth, detections = boxes
    rows = {row["name"]: row for row in list_conventions(truth, detections, Rules())}
    wanted = {
        "VOC 2010, every point": {},
        "VOC 2007, 11 points": {"eleven_point": True},
        "VOC 2010, inclusive pixels": {"inclusive": True},
        "VOC 2007, inclusive pixels": {"inclusive": True, "eleven_point": True},
        "every class of each row": {"ranked_by_all": True},
        "only detections from 0.5": {"keep": detections.detection >= 0.5},
    }
    assert set(rows) == {*wanted, "COCO, 101 points"}
    for name, options in wanted.items():
        slow = slow_map(truth, detections, **options)
        assert rows[name]["ap50"] == pytest.approx(slow, abs=1e-9), name
        assert rows[name]["map50"] == pytest.approx(np.mean(list(slow.values())), abs=1e-9)
    # The fixture must be able to tell them apart.
    assert len({round(row["map50"], 6) for row in rows.values()}) == len(rows)


def test_headline_row_is_marked(boxes):
    for rules, name in (
        (Rules(), "VOC 2010, every point"),
        (Rules(inclusive=True), "VOC 2010, inclusive pixels"),
        (Rules(all_classes=True), "every class of each row"),
    ):
        rows = list_conventions(*boxes, rules)
        assert [row["name"] for row in rows if row["headline"]] == [name]


def test_coco_row_is_passed_on(boxes):
    case = make_case(*boxes)
    rows = list_conventions(*boxes, Rules())
    assert rows[-1]["name"] == "COCO, 101 points"
    assert rows[-1]["map50"] == case.coco["map50"]


def test_any_threshold(boxes):
    truth, detections = boxes
    low, high = describe_at(make_case(truth, detections, ious=(0.3, 0.7)))
    assert (low["iou"], high["iou"]) == (0.3, 0.7)
    assert low["map"] > high["map"]
    assert low["map"] == pytest.approx(np.mean(list(low["ap"].values())))


def test_class_without_ground_truth_is_reported_and_not_averaged(boxes):
    truth, detections = boxes
    kept = truth.labels != 2
    fewer = GroundTruth(
        truth.photos,
        truth.photo[kept],
        truth.boxes[kept],
        truth.labels[kept],
        truth.difficult[kept],
    )
    row = list_conventions(fewer, detections, Rules())[0]
    assert row["ap50"]["mask_weared_incorrect"] is None
    assert row["map50"] == pytest.approx(
        (row["ap50"]["with_mask"] + row["ap50"]["without_mask"]) / 2
    )
