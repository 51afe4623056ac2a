"""The merged order and what it is made of, by hand."""

import numpy as np
import pytest

from pipeline.cleaning.evidence import Neighbours
from pipeline.cleaning.ranking import (
    NETWORK,
    TWIN,
    OrderError,
    choose_order,
    gather_evidence,
    margins,
    merge_opinions,
    score_labels,
)

LABELS = np.array([0, 1, 2])
SURE = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
NEAR = Neighbours(np.array([[1, 2], [0, 2], [0, 1]]), np.array([[0.6, 0.2], [1, 0], [0.5, 0.5]]))


def gather(twins=((), (), ())):
    return gather_evidence(LABELS, SURE, NEAR, twins)


def test_evidence_by_hand():
    evidence = gather(twins=((1,), (0,), ()))
    assert evidence.loss.tolist() == pytest.approx([-np.log(0.7), -np.log(0.3), 0], abs=1e-9)
    assert evidence.margin.tolist() == pytest.approx([0.5, -0.3, 1.0])
    np.testing.assert_allclose(evidence.votes, [[0, 0.75, 0.25], [1, 0, 0], [0.5, 0.5, 0]])
    assert evidence.disagreement.tolist() == [1, 1, 1]
    assert evidence.twin.tolist() == [True, True, False]


def test_twins_with_the_same_label_are_no_reason():
    evidence = gather_evidence(np.array([0, 0, 2]), SURE, NEAR, ((1,), (0,), ()))
    assert not evidence.twin.any()


def test_impossible_label_has_a_finite_loss():
    evidence = gather_evidence(np.array([2, 2, 0]), SURE, NEAR, ((), (), ()))
    assert np.isfinite(evidence.loss).all()


def test_merged_opinion_by_hand():
    merged = merge_opinions(gather(twins=((1,), (0,), ())))
    before = NETWORK * 0.7
    assert merged[0, 0] == pytest.approx(before / (1 + TWIN))
    assert merged[0, 1] == pytest.approx((NETWORK * 0.2 + (1 - NETWORK) * 0.75 + TWIN) / (1 + TWIN))
    np.testing.assert_allclose(merged.sum(axis=1), 1)


def test_score_rises_with_each_reason():
    base = score_labels(gather())
    assert score_labels(gather(twins=((1,), (), ())))[0] > base[0]
    less = SURE.copy()
    less[0] = [0.4, 0.5, 0.1]
    assert score_labels(gather_evidence(LABELS, less, NEAR, ((), (), ())))[0] > base[0]
    kinder = Neighbours(NEAR.index, np.array([[0.1, 0.9], [1, 0], [0.5, 0.5]]))
    same = gather_evidence(np.array([2, 1, 2]), SURE, kinder, ((), (), ()))
    other = gather_evidence(np.array([2, 1, 2]), SURE, NEAR, ((), (), ()))
    assert score_labels(same)[0] < score_labels(other)[0]


def test_what_was_learnt_has_half_the_say():
    learnt = np.array([[0.1, 0.1, 0.8], [0, 1, 0], [0.5, 0.5, 0]])
    without = gather_evidence(LABELS, SURE, NEAR, ((), (), ()))
    merged = merge_opinions(gather_evidence(LABELS, SURE, NEAR, ((), (), ()), learnt))
    np.testing.assert_allclose(merged, (merge_opinions(without) + learnt) / 2)


def test_margins_against_a_loop():
    rng = np.random.default_rng(0)
    p, labels = rng.dirichlet([1, 1, 1], 50), rng.integers(0, 3, 50)
    expected = [row[k] - max(np.delete(row, k)) for row, k in zip(p, labels, strict=True)]
    np.testing.assert_allclose(margins(p, labels), expected)


def test_orders_by_name():
    assert choose_order("in-sample") == "in-sample"
    with pytest.raises(OrderError, match="unknown order 'loss': use merged, out-of-fold"):
        choose_order("loss")
