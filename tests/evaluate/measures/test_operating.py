"""Operating points counted by hand and in a loop."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from tests.evaluate.scenes import describe_operating_points as describe


@pytest.fixture
def read(annotations, predictions):
    truth = read_ground_truth(annotations)
    return truth, place_predictions(read_predictions(predictions), truth).detections


def test_by_hand(read):
    """At 0.65 three of the four rows are left, of which one names a bare face masked."""
    points = describe(*read, thresh=0.65)["points"]
    masked = points["with_mask"]["at_thresh"]
    assert (masked["true"], masked["shown"], masked["faces"]) == (1, 2, 2)
    assert (masked["precision"], masked["recall"], masked["f1"]) == (0.5, 0.5, 0.5)
    bare = points["without_mask"]["at_thresh"]
    assert (bare["precision"], bare["recall"], bare["f1"]) == (None, 0, 0)
    face = points["face"]["at_thresh"]
    assert (face["precision"], face["recall"]) == (1, 0.75)
    assert points["face"]["best_f1"]["score"] == 0.7
    counts = describe(*read, thresh=0.65)["confusion"]["counts"]
    assert counts == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert points["with_mask"]["best_f1"]["score"] == 0.81
    assert points["without_mask"]["best_f1"] is None


def test_threshold_removes_rows(read):
    none = describe(*read, thresh=0.95)["points"]["face"]["at_thresh"]
    assert (none["shown"], none["precision"], none["recall"]) == (0, None, 0)


def test_intervals_hold_the_value_and_need_resamples(read):
    points = describe(*read, thresh=0.65, resamples=200)["points"]
    for name in ("with_mask", "face"):
        for part in ("recall", "f1"):
            low, high = points[name]["at_thresh"]["intervals"][part]
            assert low <= points[name]["at_thresh"][part] <= high
            assert low < high
    assert describe(*read, resamples=0)["points"]["face"]["at_thresh"]["intervals"] is None


def test_rules_for_all_classes_do_not_change_the_threshold(read):
    """A row is shown under its label alone, however AP ranks it."""
    plain, all_classes = (
        describe(*read, resamples=0, all_classes=flag)["points"] for flag in (False, True)
    )
    for name in plain:
        assert plain[name]["at_thresh"] == all_classes[name]["at_thresh"]


def test_same_as_a_loop(read):
    truth, detections = read
    for thresh in (0.0, 0.65, 0.75):
        points = describe(truth, detections, thresh=thresh, resamples=0)["points"]
        for index, name in enumerate(truth.classes):
            rows = [
                row
                for row in np.argsort(-detections.scores)
                if detections.detection[row] >= thresh and detections.labels[row] == index
            ]
            true = 0
            for row in rows:
                exact = (truth.boxes == detections.boxes[row]).all(axis=1)
                true += bool(
                    (exact & (truth.photo == detections.photo[row]) & (truth.labels == index)).any()
                )
            assert points[name]["at_thresh"]["true"] == true
            assert points[name]["at_thresh"]["shown"] == len(rows)
