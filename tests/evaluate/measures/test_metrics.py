from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.measures.average_precision import Rules
from evaluate.measures.case import IOUS, match_predictions
from evaluate.measures.headline import PER_CLASS
from tests.evaluate.scenes import compute_headline

Pair = tuple[GroundTruth, Detections]


@pytest.fixture
def pair(annotations: Path, predictions: Path) -> Pair:
    truth = read_ground_truth(annotations)
    return truth, place_predictions(read_predictions(predictions), truth).detections


def measure(pair: Pair, **rules: bool) -> dict[str, np.ndarray]:
    eleven_point = rules.get("eleven_point", False)
    headline = compute_headline(match_predictions(*pair, Rules(**rules)), eleven_point=eleven_point)
    return {name: values[0] for name, values in headline.items()}


def test_hand_computed(pair: Pair) -> None:
    numbers = measure(pair)
    # Two faces with masks, of which one is found first; the one without is found as masked.
    for name in ("ap50", "ap75"):
        assert numbers[name] == pytest.approx([0.5, 0, 1])
    for name in ("map50", "map75", "map50_95"):
        assert numbers[name] == pytest.approx(0.5)
    assert numbers["face_ap50"] == pytest.approx(0.75)
    assert numbers["face_ap75"] == pytest.approx(0.75)
    assert numbers["accuracy"] == pytest.approx(2 / 3)
    assert numbers["recall"] == pytest.approx([1, 0, 1])
    assert numbers["macro_recall"] == pytest.approx(2 / 3)
    assert numbers["face_recall"] == pytest.approx(0.75)
    assert numbers["detected"] == pytest.approx([0.5, 1, 1])
    assert {name for name, values in numbers.items() if values.shape == (3,)} == PER_CLASS


def test_confusion_hand_computed(pair: Pair) -> None:
    matches = match_predictions(*pair, Rules())
    assert matches.confusion.sum(axis=0).tolist() == [
        [1, 0, 0, 1],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
    ]
    assert matches.confusion[0].sum() == 2


def test_every_row_for_every_class(pair: Pair) -> None:
    numbers = measure(pair, all_classes=True)
    # The face without a mask is now found first among all rows offered as such: 0.8 × 0.4.
    assert numbers["ap50"] == pytest.approx([0.5, 1, 1])
    # What concerns labels stays.
    assert numbers["accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="needs the class probabilities"):
        measure((pair[0], replace(pair[1], probabilities=None)), all_classes=True)


def test_eleven_points(pair: Pair) -> None:
    # Recall 0 to 0.5 at precision 1.
    assert measure(pair, eleven_point=True)["ap50"] == pytest.approx([6 / 11, 0, 1])


def test_inclusive_sides(pair: Pair) -> None:
    truth, detections = pair
    boxes = detections.boxes.copy()
    # 10 × 5 of 10 × 10 is half; with inclusive sides 11 × 6 of 11 × 11 is more.
    boxes[0] = [0, 0, 10, 4.9]
    narrow = replace(detections, boxes=boxes)
    assert measure((truth, narrow))["face_ap50"] < 0.75
    assert measure((truth, narrow), inclusive=True)["face_ap50"] == pytest.approx(0.75)


def test_classes_without_faces_are_undefined_and_not_averaged(pair: Pair) -> None:
    truth, detections = pair
    kept = truth.labels != 2
    fewer = replace(
        truth,
        photo=truth.photo[kept],
        boxes=truth.boxes[kept],
        labels=truth.labels[kept],
        difficult=truth.difficult[kept],
    )
    numbers = measure((fewer, detections))
    assert numbers["ap50"] == pytest.approx([0.5, 0, np.nan], nan_ok=True)
    assert numbers["map50"] == pytest.approx(0.25)
    assert numbers["map50_95"] == pytest.approx(0.25)
    assert numbers["macro_recall"] == pytest.approx(0.5)


def test_difficult_faces_are_left_out(pair: Pair) -> None:
    truth, detections = pair
    numbers = measure((replace(truth, difficult=truth.labels == 1), detections))
    # The masked prediction on the difficult face without a mask stays false for its own class.
    assert numbers["ap50"] == pytest.approx([0.5, np.nan, 1], nan_ok=True)
    assert numbers["face_ap50"] == pytest.approx(2 / 3)
    assert numbers["accuracy"] == 1
    assert numbers["face_recall"] == pytest.approx(2 / 3)


def test_no_predictions(pair: Pair) -> None:
    truth, detections = pair
    none = np.empty(0, dtype=np.int64)
    numbers = measure((truth, detections.take(none, none)))
    assert numbers["ap50"].tolist() == [0, 0, 0]
    assert numbers["map50_95"] == 0
    assert numbers["face_ap50"] == 0
    assert numbers["face_recall"] == 0
    assert np.isnan(numbers["accuracy"])
    assert np.isnan(numbers["macro_recall"])


def test_thresholds_are_exact() -> None:
    assert IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
