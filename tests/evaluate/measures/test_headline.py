"""Headline numbers by hand, and the classifier alone against scikit-learn and scipy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_truth
from evaluate.measures.headline import (
    PER_CLASS,
    compute_headline,
    describe_classifier,
    wilson_interval,
)
from tests.evaluate.scenes import make_case, make_scene

Pair = tuple[GroundTruth, Detections]


@pytest.fixture
def pair(annotations: Path, predictions: Path) -> Pair:
    truth = read_truth(annotations)
    return truth, place_predictions(read_predictions(predictions), truth).detections


def measure(pair: Pair, **rules: bool) -> dict[str, np.ndarray]:
    case = make_case(*pair, **rules)
    numbers = compute_headline(case, np.ones((1, case.photos)))
    return {name: values[0] for name, values in numbers.items()}


def test_hand_computed(pair: Pair) -> None:
    numbers = measure(pair)
    # Two faces with masks, of which one is found first; the one without is found as masked.
    expected = {
        **dict.fromkeys(("ap50", "ap75"), (0.5, 0, 1)),
        **dict.fromkeys(("map50", "map75", "map50_95"), 0.5),
        **dict.fromkeys(("face_ap50", "face_ap75", "face_recall"), 0.75),
        **dict.fromkeys(("accuracy", "macro_recall"), 2 / 3),
        "recall": [1, 0, 1],
        "detected": [0.5, 1, 1],
    }
    assert numbers == {name: pytest.approx(value) for name, value in expected.items()}
    assert {name for name, values in numbers.items() if values.shape == (3,)} == PER_CLASS
    confusion = make_case(*pair).confusion
    counts = confusion.sum(axis=0).tolist()
    assert counts == [
        [1, 0, 0, 1],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
    ]
    assert confusion[0].sum() == 2
    # Eleven points: recall 0 to 0.5 at precision 1.
    assert measure(pair, eleven_point=True)["ap50"] == pytest.approx([6 / 11, 0, 1])


def test_every_row_for_every_class(pair: Pair) -> None:
    numbers = measure(pair, all_classes=True)
    # The face without a mask is now found first among all rows offered as such: 0.8 × 0.4.
    assert numbers["ap50"] == pytest.approx([0.5, 1, 1])
    # What concerns labels stays.
    assert numbers["accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="needs the class probabilities"):
        measure((pair[0], replace(pair[1], probabilities=None)), all_classes=True)


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


def measure_crops(truth: GroundTruth, crops: Detections, **options: int) -> dict:
    return describe_classifier(make_case(truth, crops, crops=crops, **options))


@pytest.mark.parametrize("classes", [CLASSES, ("a", "b", "c", "d", "e")])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_sklearn(seed: int, classes: tuple[str, ...]) -> None:
    scene = make_scene(seed, photos=30, classes=classes)
    record = measure_crops(scene.truth, scene.crops)
    asked = ~scene.truth.difficult
    true, predicted = scene.truth.labels[asked], scene.crops.labels[asked]
    labels = list(range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(
        true, predicted, labels=labels, zero_division=np.nan
    )
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert list(record[name]) == list(classes)
        assert list(record[name].values()) == pytest.approx(values)
    assert list(record["support"].values()) == support.tolist()
    assert record["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert record["macro_recall"] == pytest.approx(recall.mean())
    assert record["macro_f1"] == pytest.approx(f1.mean())
    assert (
        record["confusion"]["counts"] == confusion_matrix(true, predicted, labels=labels).tolist()
    )
    assert record["confusion"]["rows"] == record["confusion"]["columns"] == list(classes)
    assert (record["faces"], record["answered"]) == (asked.sum(), asked.sum())
    assert (record["unanswered"], record["rows_on_no_face"]) == (0, 0)
    assert record["intervals"] is None


def test_unanswered_faces_are_only_counted() -> None:
    scene = make_scene(1)
    asked = np.flatnonzero(~scene.truth.difficult)
    kept = np.delete(np.arange(len(scene.truth.photo)), asked[:3])
    crops = scene.crops.take(kept, scene.truth.photo[kept])
    boxes = crops.boxes.copy()
    boxes[np.searchsorted(kept, asked[5])] += 300
    record = measure_crops(scene.truth, replace(crops, boxes=boxes))
    counts = [record[name] for name in ("faces", "answered", "unanswered", "rows_on_no_face")]
    assert counts == [len(asked), len(asked) - 4, 4, 1]
    rest = np.delete(asked, [0, 1, 2, 5])
    assert record["accuracy"] == pytest.approx(
        (scene.truth.labels[rest] == scene.crops.labels[rest]).mean()
    )


def test_a_class_without_faces_is_not_averaged() -> None:
    scene = make_scene(2)
    truth = replace(scene.truth, difficult=scene.truth.labels == 2)
    record = measure_crops(truth, scene.crops, resamples=20)
    json.dumps(record, allow_nan=False)
    rare = "mask_weared_incorrect"
    assert record["recall"][rare] is record["f1"][rare] is record["wilson"][rare] is None
    assert record["intervals"]["recall"][rare] is None
    # Faces of other classes were taken for it, none of them rightly.
    assert record["precision"][rare] == 0
    for mean, per_class in (("macro_recall", "recall"), ("macro_f1", "f1")):
        first, second, _ = record[per_class].values()
        assert record[mean] == pytest.approx((first + second) / 2)


def test_wilson_is_that_of_scipy() -> None:
    pairs = [(0, 5), (5, 5), (3, 10), (95, 119), (1, 1)]
    part, whole = np.array([*pairs, (0, 0)], dtype=float).T
    ends = wilson_interval(part, whole)
    for index, (hits, of) in enumerate(pairs):
        expected = binomtest(hits, of).proportion_ci(method="wilson")
        assert ends[:, index] == pytest.approx([expected.low, expected.high], abs=1e-12)
    assert np.isnan(ends[:, -1]).all()
