from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluate.measures.case import match_predictions
from tests.benchmarks.evaluate_speed import app, loop_average_precision, make_boxes, time_all
from tests.evaluate.scenes import compute_headline


@pytest.mark.parametrize("seed", range(3))
def test_all_ways_agree(seed: int) -> None:
    truth, detections = make_boxes(photos=20, boxes=15, classes=3, seed=seed)
    headline = compute_headline(match_predictions(truth, detections))
    timing = time_all(truth, detections, rounds=2, loop_every=3)
    assert timing.ap == pytest.approx(headline["ap50"][0], abs=1e-12)
    assert timing.loop_ap == pytest.approx(headline["ap50"][0], abs=1e-12)
    assert timing.map50_95 == pytest.approx(headline["map50_95"][0], abs=1e-12)
    # 101 recalls instead of every one.
    assert timing.coco_map50_95 == pytest.approx(timing.map50_95, abs=0.02)
    assert 0.3 < timing.map50_95 < 0.7
    for seconds in timing.seconds.values():
        assert len(seconds) == 2
        assert min(seconds) > 0
    assert timing.peak_bytes > 0


def test_both_loops_agree() -> None:
    truth, detections = make_boxes(photos=20, boxes=60, classes=2, seed=0)
    found = loop_average_precision(truth, detections, iou=0.3)
    searched = loop_average_precision(truth, detections, iou=0.3, search=True)
    assert searched.tolist() == found.tolist()
    assert (found > 0.2).all()
    assert np.isnan(
        loop_average_precision(
            make_boxes(photos=1, boxes=1, classes=9, seed=0)[0], detections, iou=0.5
        )
    ).any()


def test_made_boxes() -> None:
    truth, detections = make_boxes(photos=50, boxes=20, classes=3, seed=1)
    assert len(truth.labels) == len(detections) == 1000
    assert (np.bincount(truth.photo) == 20).all()
    assert (np.diff(detections.photo) >= 0).all()
    assert (detections.boxes[:, 2:] > detections.boxes[:, :2]).all()
    again, _ = make_boxes(photos=50, boxes=20, classes=3, seed=1)
    np.testing.assert_array_equal(truth.boxes, again.boxes)


def test_command_line() -> None:
    options = ["--photos", "20", "--boxes", "5", "--rounds", "1", "--loop-every", "2"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "20 photos, 100 faces" in result.output
    assert "times as fast as faster-coco-eval" in result.output
    assert "one detection in 2" in result.output
    assert "tracemalloc" in result.output
