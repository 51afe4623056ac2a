"""Paired differences against resampling photo by photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.bootstrap import draw_weights
from evaluate.measures.headline import compute_headline, describe_difference
from tests.evaluate.scenes import make_case

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


def compare(mine, other, **options):
    truth, detections = make(*mine)
    return describe_difference(make_case(truth, detections, other=make(*other)[1], **options))


def test_same_tables_do_not_differ():
    record = compare((1, 0.3), (1, 0.3), resamples=50)
    assert record["accuracy"]["difference"] == 0
    assert record["accuracy"]["interval"] == [0, 0]
    assert record["accuracy"]["better"] == 0
    assert record["ap50"]["with_mask"]["interval"] == [0, 0]


def test_a_better_table_is_better_and_the_interval_is_paired():
    row = compare((1, 0.05), (2, 0.5), resamples=400, seed=3)["accuracy"]
    assert row["difference"] == pytest.approx(row["mine"] - row["other"])
    assert row["interval"][0] > 0
    assert row["better"] == 1
    good, bad = (make_case(*make(*side)).matches for side in ((1, 0.05), (2, 0.5)))
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
    worse = replace(detections, labels=labels)
    case = make_case(truth, detections, other=worse, resamples=500)
    row = describe_difference(case)["accuracy"]
    spread = row["interval"][1] - row["interval"][0]
    alone = [compute_headline(case.matches, w)["accuracy"] for w in draw_weights(PHOTOS, 500, 0)]
    unpaired = np.subtract(*np.percentile(np.concatenate(alone), [97.5, 2.5]))
    assert row["interval"][0] > 0
    assert spread < unpaired


def test_without_resamples_and_without_another_table():
    record = compare((1, 0.1), (2, 0.2))
    assert record["map50"]["interval"] is None
    assert record["map50"]["better"] is None
    assert record["map50"]["difference"] is not None
    assert describe_difference(make_case(*make(1, 0.1))) is None
