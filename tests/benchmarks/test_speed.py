from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from evaluate.evaluation import measure_case
from evaluate.measures.headline import describe_headline
from tests.benchmarks.evaluate_speed import (
    ARRAYS,
    COCO_EVAL,
    LOOKED_UP,
    TEN,
    loop_average_precision,
    main,
    make_boxes,
    time_all,
)
from tests.evaluate.scenes import make_case


@pytest.mark.parametrize("seed", range(3))
def test_all_ways_agree(seed: int) -> None:
    truth, detections = make_boxes(photos=20, boxes=15, classes=3, seed=seed)
    timing = time_all(truth, detections, rounds=2)
    headline = describe_headline(make_case(truth, detections))
    expected = list(headline["ap50"].values())
    assert timing.results[ARRAYS] == pytest.approx(expected, abs=1e-12)
    assert timing.results[LOOKED_UP] == pytest.approx(expected, abs=1e-12)
    assert timing.results[TEN].mean() == pytest.approx(headline["map50_95"], abs=1e-12)
    # 101 recalls instead of every one.
    assert timing.results[COCO_EVAL].mean() == pytest.approx(headline["map50_95"], abs=0.02)
    assert 0.3 < headline["map50_95"] < 0.7
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in timing.seconds.values())


def test_both_loops_agree() -> None:
    truth, detections = make_boxes(photos=20, boxes=30, classes=2, seed=0)
    found = loop_average_precision(truth, detections, 0)
    assert loop_average_precision(truth, detections, 0, search=True) == found > 0.2
    assert np.isnan(loop_average_precision(truth, detections, 5))


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--photos", "20", "--boxes", "5", "--rounds", "1"])
    assert "times as fast as faster-coco-eval" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_many_boxes_take_little_time_and_memory() -> None:
    """A tenth of the boxes and resamples that evaluate/README.md names, held loosely."""
    from resource import RUSAGE_SELF, getrusage

    truth, detections = make_boxes(photos=5000, boxes=20, classes=3, seed=0)
    before, began = getrusage(RUSAGE_SELF).ru_maxrss, time.process_time()
    record = measure_case(make_case(truth, detections, resamples=100)).metrics
    assert time.process_time() - began < 30
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 1_000_000
    assert record["intervals"]["map50"][0] < record["map50"] < record["intervals"]["map50"][1]
