"""Paired differences against resampling photo by photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.against import describe_difference
from evaluate.measures.bootstrap import draw_weights
from evaluate.measures.metrics import DEFAULT_RULES, compute_headline, match_predictions

PHOTOS = 40


def make(seed: int, wrong: float) -> tuple[GroundTruth, Detections]:
    """Two faces in each photo, found exactly; a share of them gets the wrong label."""
    rng = np.random.default_rng(0)
    photo = np.repeat(np.arange(PHOTOS), 2)
    boxes = np.tile([[0.0, 0, 10, 10], [20, 0, 30, 10]], (PHOTOS, 1))
    labels = rng.integers(0, 3, 2 * PHOTOS)
    names = tuple(f"{n:02}" for n in range(PHOTOS))
    truth = GroundTruth(names, photo, boxes, labels, np.zeros(2 * PHOTOS, bool))
    other = np.random.default_rng(seed)
    given = np.where(other.random(2 * PHOTOS) < wrong, (labels + 1) % 3, labels)
    scores = other.random(2 * PHOTOS)
    return truth, Detections(photo, boxes, given, scores, scores, None)


def matches(seed, wrong):
    return match_predictions(*make(seed, wrong), DEFAULT_RULES)


def test_same_tables_do_not_differ():
    same = matches(1, 0.3)
    record = describe_difference(("a", "b", "c"), same, same, resamples=50)
    assert record["accuracy"]["difference"] == 0
    assert record["accuracy"]["interval"] == [0, 0]
    assert record["accuracy"]["better"] == 0
    assert record["ap50"]["a"]["interval"] == [0, 0]


def test_a_better_table_is_better_and_the_interval_is_paired():
    good, bad = matches(1, 0.05), matches(2, 0.5)
    record = describe_difference(("a", "b", "c"), good, bad, resamples=400, seed=3)
    row = record["accuracy"]
    assert row["difference"] == pytest.approx(row["mine"] - row["other"])
    assert row["interval"][0] > 0
    assert row["better"] == 1
    slow = []
    for weights in draw_weights(PHOTOS, 400, 3, rows=2 * PHOTOS):
        for one in weights:
            first, second = (compute_headline(side, one[None]) for side in (good, bad))
            slow.append(first["accuracy"][0] - second["accuracy"][0])
    assert row["interval"] == pytest.approx(np.percentile(slow, [2.5, 97.5]))


def test_pairing_narrows_the_interval():
    """One more fault on top of the same faults: unpaired intervals would overlap widely."""
    truth, detections = make(1, 0.4)
    labels = detections.labels.copy()
    right = np.flatnonzero(labels == truth.labels)[:6]
    labels[right] = (labels[right] + 1) % 3
    worse = match_predictions(truth, replace(detections, labels=labels), DEFAULT_RULES)
    better = match_predictions(truth, detections, DEFAULT_RULES)
    row = describe_difference(("a", "b", "c"), better, worse, resamples=500)["accuracy"]
    spread = row["interval"][1] - row["interval"][0]
    alone = [compute_headline(better, w)["accuracy"] for w in draw_weights(PHOTOS, 500, 0)]
    unpaired = np.subtract(*np.percentile(np.concatenate(alone), [97.5, 2.5]))
    assert row["interval"][0] > 0
    assert spread < unpaired


def test_without_resamples():
    record = describe_difference(("a", "b", "c"), matches(1, 0.1), matches(2, 0.2), resamples=0)
    assert record["map50"]["interval"] is None
    assert record["map50"]["better"] is None
    assert record["map50"]["difference"] is not None


def test_other_faces_are_refused():
    truth, detections = make(1, 0.1)
    fewer = GroundTruth(
        truth.photos, truth.photo[:-1], truth.boxes[:-1], truth.labels[:-1], truth.difficult[:-1]
    )
    other = match_predictions(fewer, detections, DEFAULT_RULES)
    with pytest.raises(ValueError, match="same photos"):
        describe_difference(("a", "b", "c"), matches(1, 0.1), other)
