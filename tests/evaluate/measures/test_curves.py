"""Curves against scikit-learn and against counting at every cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from evaluate.measures.average_precision import RankedHits, rank_hits
from evaluate.measures.curves import find_best_f1, trace_curve
from evaluate.measures.matching import BoxGroups


def hits_of(scores, true, ignored=None, missed=0) -> RankedHits:
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    ignored = np.zeros(len(scores), dtype=bool) if ignored is None else np.asarray(ignored)
    return RankedHits(
        photo=np.zeros(len(scores), dtype=np.int64),
        true=np.asarray(true, dtype=bool)[None, order],
        ignored=ignored[None, order],
        truths=np.array([int(np.sum(true)) + missed]),
        scores=np.asarray(scores, dtype=float)[order],
    )


@st.composite
def ranked(draw):
    count = draw(st.integers(1, 40))
    scores = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    true = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return np.array(scores) / 12, np.array(true), draw(st.integers(0, 5))


@settings(deadline=None)
@given(ranked())
def test_same_as_counting_at_every_cut(case):
    scores, true, missed = case
    curve = trace_curve(hits_of(scores, true, missed=missed))
    assert curve.scores.tolist() == sorted(set(scores.tolist()), reverse=True)
    faces = true.sum() + missed
    for cut, found, shown, f1 in zip(curve.scores, curve.true, curve.shown, curve.f1, strict=True):
        kept = scores >= cut
        assert found == true[kept].sum()
        assert shown == kept.sum()
        precision, recall = found / shown, found / faces if faces else 0
        wanted = 2 * precision * recall / (precision + recall) if found else 0
        assert f1 == pytest.approx(wanted)
    best = find_best_f1(curve)
    if true.any():
        assert best is not None
        assert best["f1"] == pytest.approx(curve.f1.max())
        assert best["score"] == max(curve.scores[curve.f1 == curve.f1.max()])
    else:
        assert best is None


@settings(deadline=None)
@given(ranked())
def test_same_as_scikit_learn_when_nothing_is_missed(case):
    scores, true, _ = case
    if not true.any():
        return
    curve = trace_curve(hits_of(scores, true))
    precision, recall, cuts = precision_recall_curve(true, scores)
    mine = {
        score: (p, r)
        for score, p, r in zip(curve.scores, curve.precision, curve.recall, strict=True)
    }
    for cut, p, r in zip(cuts, precision[:-1], recall[:-1], strict=True):
        assert mine[cut] == pytest.approx((p, r))


def test_detections_on_difficult_faces_are_not_shown():
    curve = trace_curve(hits_of([0.9, 0.8, 0.7], [True, False, False], [False, True, False]))
    assert curve.scores.tolist() == [0.9, 0.7]
    assert curve.shown.tolist() == [1, 2]


def test_from_boxes():
    faces = BoxGroups(np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), np.array([0, 0]))
    found = BoxGroups(np.array([[50.0, 0, 60, 10], [0, 0, 10, 10]]), np.array([0, 0]))
    hits = rank_hits(faces, np.zeros(2, bool), found, np.array([0.4, 0.6]), photos=1, ious=(0.5,))
    assert hits.scores.tolist() == [0.6, 0.4]
    best = find_best_f1(trace_curve(hits))
    assert best is not None
    assert (best["score"], best["precision"], best["recall"]) == (0.6, 1.0, 0.5)
    assert best["f1"] == pytest.approx(2 / 3)


def test_nothing_detected():
    hits = rank_hits(
        BoxGroups(np.zeros((1, 4)), np.array([0])),
        np.zeros(1, bool),
        BoxGroups(np.zeros((0, 4)), np.zeros(0, np.int64)),
        np.zeros(0),
        photos=1,
        ious=(0.5,),
    )
    curve = trace_curve(hits)
    assert len(curve.scores) == 0
    assert find_best_f1(curve) is None
