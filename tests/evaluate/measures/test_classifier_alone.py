from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from data_prep.base.labels import CLASSES
from evaluate.measures.bootstrap import tally
from evaluate.measures.case import pair_crops
from evaluate.measures.classifier import (
    compute_classifier,
    wilson_interval,
)
from tests.evaluate.random_faces import make_scene, repeat_photos
from tests.evaluate.scenes import describe_classifier


@pytest.mark.parametrize("classes", [CLASSES, ("a", "b", "c", "d", "e")])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_sklearn(seed: int, classes: tuple[str, ...]) -> None:
    scene = make_scene(seed, photos=30, classes=classes)
    record = describe_classifier(scene.truth, scene.crops, resamples=0)
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
    record = describe_classifier(scene.truth, replace(crops, boxes=boxes), resamples=0)
    counts = [record[name] for name in ("faces", "answered", "unanswered", "rows_on_no_face")]
    assert counts == [len(asked), len(asked) - 4, 4, 1]
    rest = np.delete(asked, [0, 1, 2, 5])
    assert record["accuracy"] == pytest.approx(
        (scene.truth.labels[rest] == scene.crops.labels[rest]).mean()
    )


def test_a_class_without_faces_is_not_averaged() -> None:
    scene = make_scene(2)
    truth = replace(scene.truth, difficult=scene.truth.labels == 2)
    record = describe_classifier(truth, scene.crops, resamples=20)
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


def test_wilson_is_of_recall() -> None:
    scene = make_scene(3)
    record = describe_classifier(scene.truth, scene.crops, resamples=0)
    for label, name in enumerate(CLASSES):
        hits = record["confusion"]["counts"][label][label]
        expected = binomtest(hits, record["support"][name]).proportion_ci(method="wilson")
        assert record["wilson"][name] == pytest.approx([expected.low, expected.high])


def test_weights_are_repeated_photos() -> None:
    scene = make_scene(4)
    times = np.random.default_rng(1).integers(0, 4, (4, len(scene.truth.photos)))

    def confusion(scene):
        pairs = pair_crops(scene.truth, scene.crops)
        return tally(
            pairs.photo,
            pairs.labels,
            scene.crops.labels[pairs.rows],
            photos=len(scene.truth.photos),
            shape=(3, 3),
        )

    weighted = compute_classifier(confusion(scene), times.astype(float))
    for index, row in enumerate(times):
        for name, values in compute_classifier(
            confusion(repeat_photos(scene, row)), np.ones((1, np.maximum(row, 1).sum()))
        ).items():
            np.testing.assert_allclose(weighted[name][index], values[0], err_msg=name)


def test_intervals_by_the_same_names() -> None:
    scene = make_scene(5, photos=40)
    record = describe_classifier(scene.truth, scene.crops, resamples=300, seed=1)
    json.dumps(record, allow_nan=False)
    names = {"accuracy", "macro_recall", "macro_f1", "recall", "precision", "f1"}
    assert set(record["intervals"]) == names
    for name, ends in record["intervals"].items():
        pairs = [(record[name], ends)]
        if isinstance(ends, dict):
            pairs = [(record[name][label], ends[label]) for label in CLASSES]
        for value, (low, high) in pairs:
            assert low < value < high
    assert describe_classifier(scene.truth, scene.crops, resamples=300, seed=1) == record
