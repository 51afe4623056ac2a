"""Three classes as two, against single faces written out."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.base.labels import CLASSES
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.headline import describe_headline
from pipeline.experiments.compare_measures import leave_out_incorrect, merge_incorrect
from tests.evaluate.scenes import make_case, make_scene, without_probabilities

WITH, WITHOUT, WRONG = range(3)


def one_face(label, shares, detection=0.8):
    """A face, and a detection on its very box."""
    scene = make_scene(0)
    truth = replace(
        scene.truth,
        photo=np.zeros(1, np.int64),
        boxes=np.array([[0.0, 0, 10, 10]]),
        labels=np.array([label]),
        difficult=np.zeros(1, bool),
    )
    detections = replace(
        scene.detections.take(np.zeros(1, np.int64), np.zeros(1, np.int64)),
        boxes=truth.boxes,
        labels=np.array([int(np.argmax(shares))]),
        scores=np.array([detection * max(shares)]),
        detection=np.array([detection]),
        probabilities=np.array([shares]),
    )
    return truth, detections


def test_worn_wrongly_counts_as_bare():
    truth, detections = merge_incorrect(*one_face(WRONG, [0.4, 0.25, 0.35]))
    assert truth.labels.tolist() == [WITHOUT]
    assert detections.labels.tolist() == [WITHOUT]
    assert detections.probabilities[0] == pytest.approx([0.4, 0.6, 0])
    assert detections.scores[0] == pytest.approx(0.8 * 0.6)


def test_worn_wrongly_is_not_asked_about():
    truth, detections = leave_out_incorrect(*one_face(WRONG, [0.2, 0.3, 0.5]))
    assert truth.labels.tolist() == [WRONG]
    assert truth.difficult.tolist() == [True]
    assert detections.labels.tolist() == [WITHOUT]
    assert detections.probabilities[0] == pytest.approx([0.4, 0.6, 0])
    _, nothing = leave_out_incorrect(*one_face(WITH, [0, 0, 1]))
    assert nothing.probabilities[0] == pytest.approx([0.5, 0.5, 0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reading", [merge_incorrect, leave_out_incorrect])
def test_everything_but_the_third_class_stays(seed, reading):
    scene = make_scene(seed)
    truth, detections = reading(scene.truth, scene.detections)
    others = scene.truth.labels != WRONG
    assert np.array_equal(truth.labels[others], scene.truth.labels[others])
    assert np.array_equal(truth.difficult[others], scene.truth.difficult[others])
    assert np.array_equal(detections.boxes, scene.detections.boxes)
    assert np.array_equal(detections.detection, scene.detections.detection)
    assert detections.probabilities.sum(axis=1) == pytest.approx(1)
    assert not detections.probabilities[:, WRONG].any()
    headline = describe_headline(make_case(truth, detections))
    first, second, third = headline["ap50"].values()
    assert third is None
    assert headline["map50"] == pytest.approx((first + second) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_of_merged_classes_is_that_of_the_alarm(seed):
    """The alarm merges by its own code: among found faces both must agree."""
    scene = make_scene(seed)
    merged = merge_incorrect(scene.truth, scene.detections)
    headline = describe_headline(make_case(*merged))
    alarm = describe_alarm(make_case(scene.truth, scene.detections, thresh=0.0))
    counts = alarm["counts"]
    right = sum(counts[name]["right"] for name in CLASSES)
    wrong = sum(counts[name]["wrong"] for name in CLASSES)
    assert headline["accuracy"] == pytest.approx(right / (right + wrong))


def test_probabilities_are_needed():
    scene = make_scene(0)
    with pytest.raises(ValueError, match="class probabilities"):
        merge_incorrect(scene.truth, without_probabilities(scene.detections))
