"""Curves and operating points against scikit-learn, counting in loops, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_truth
from evaluate.measures.average_precision import RankedHits
from evaluate.measures.curves import describe_operating_points, find_best_f1, trace_curve
from tests.evaluate.scenes import make_case


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
    assert curve.score.tolist() == sorted(set(scores.tolist()), reverse=True)
    faces = true.sum() + missed
    for cut, found, shown, f1 in zip(curve.score, curve.true, curve.shown, curve.f1, strict=True):
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
        assert best["score"] == curve.score[curve.f1 == curve.f1.max()].max()
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
        for score, p, r in zip(curve.score, curve.precision, curve.recall, strict=True)
    }
    for cut, p, r in zip(cuts, precision[:-1], recall[:-1], strict=True):
        assert mine[cut] == pytest.approx((p, r))


def test_detections_on_difficult_faces_are_not_shown():
    curve = trace_curve(hits_of([0.9, 0.8, 0.7], [True, False, False], [False, True, False]))
    assert curve.score.tolist() == [0.9, 0.7]
    assert curve.shown.tolist() == [1, 2]


def describe(truth, detections, **options):
    return describe_operating_points(make_case(truth, detections, **options))


@pytest.fixture
def read(annotations, predictions):
    truth = read_truth(annotations)
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


def test_rules_for_all_classes_do_not_change_the_threshold(read):
    """A row is shown under its label alone, however AP ranks it."""
    plain, all_classes = (describe(*read, all_classes=flag)["points"] for flag in (False, True))
    for name in plain:
        assert plain[name]["at_thresh"] == all_classes[name]["at_thresh"]
