"""Figures of an order against scikit-learn and against counting by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.experiments.noise_report import (
    average_precision,
    order_faces,
    precision_recall_curve,
    recall_at_flipped,
)

rng = np.random.default_rng(7)
WRONG = rng.random(300) < 0.1
SCORES = rng.random(300) + 0.5 * WRONG
ORDER = order_faces(SCORES)


def test_area_is_that_of_scikit_learn():
    ours = average_precision(ORDER, WRONG, np.ones((1, 300)))
    assert ours[0] == pytest.approx(average_precision_score(WRONG, SCORES))


def test_weighted_area_is_that_of_repeated_faces():
    times = rng.integers(0, 3, (5, 300))
    ours = average_precision(ORDER, WRONG, times.astype(float))
    for row, area in zip(times, ours, strict=True):
        theirs = average_precision_score(WRONG, SCORES, sample_weight=row)
        assert area == pytest.approx(theirs)


def test_recall_by_hand():
    k = WRONG.sum()
    found = sorted(range(300), key=lambda row: -SCORES[row])[:k]
    ours = recall_at_flipped(ORDER, WRONG, np.ones((1, 300)))
    assert ours[0] == pytest.approx(sum(WRONG[row] for row in found) / k)


def test_weighted_recall_is_that_of_repeated_faces():
    times = rng.integers(0, 3, (5, 300))
    ours = recall_at_flipped(ORDER, WRONG, times.astype(float))
    for row, recall in zip(times, ours, strict=True):
        ranked = [WRONG[face] for face in ORDER for _ in range(row[face])]
        k = sum(ranked)
        assert recall == pytest.approx(sum(ranked[:k]) / k)


def test_recall_among_some_keeps_the_k_of_all():
    among = rng.random(300) < 0.5
    ours = recall_at_flipped(ORDER, WRONG, np.ones((1, 300)), among=among)
    first = ORDER[: WRONG.sum()]
    expected = (WRONG & among)[first].sum() / (WRONG & among).sum()
    assert ours[0] == pytest.approx(expected)


def test_nothing_to_find():
    none = np.zeros(300, bool)
    assert np.isnan(recall_at_flipped(ORDER, none, np.ones((1, 300))))[0]
    assert np.isnan(average_precision(ORDER, none, np.ones((1, 300))))[0]


def test_equal_scores_stay_in_order():
    expected = [*range(1, 200, 2), *range(0, 200, 2)]
    assert order_faces(np.array([0.5, 0.9] * 100)).tolist() == expected


def test_curve():
    precision, recall = precision_recall_curve(np.array([1, 0, 2]), np.array([False, True, True]))
    assert precision.tolist() == pytest.approx([1, 0.5, 2 / 3])
    assert recall.tolist() == [0.5, 0.5, 1]
