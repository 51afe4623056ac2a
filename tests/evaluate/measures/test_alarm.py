from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.alarm import (
    MOST_POINTS,
    OUTCOMES,
    ScoredFaces,
    describe_alarm,
    describe_roc,
    make_rule,
    weighted_auc,
)
from evaluate.options import IncorrectPolicy
from tests.evaluate.scenes import (
    Scene,
    Seen,
    as_detections,
    as_truth,
    make_case,
    make_scene,
    without_probabilities,
)

POLICIES = get_args(IncorrectPolicy)


def slow_score(detections: Detections, row: int, policy: str) -> float:
    due = (1, 2) if policy == "alarm" else (1,)
    if detections.probabilities is None:
        return float(detections.labels[row] in due)
    of_class = detections.probabilities[row].tolist()
    asked = (0, 1) if policy == "leave-out" else (0, 1, 2)
    whole = sum(of_class[label] for label in asked)
    return sum(of_class[label] for label in due) / whole if whole else 0.0


def slow_alarm(scene: Scene, policy: str, thresh: float) -> tuple[Counter, Counter, list, list]:
    """Outcomes by class, false faces by alarm, and for every face whether due and its score."""
    truth, detections = scene.truth, scene.detections
    outcomes: Counter = Counter()
    due_here, scores = [], []
    for face, row in enumerate(scene.row_of.tolist()):
        label = int(truth.labels[face])
        if truth.difficult[face] or (policy == "leave-out" and label == 2):
            continue
        due = label == 1 or (label == 2 and policy == "alarm")
        found = row >= 0 and detections.detection[row] >= thresh
        score = slow_score(detections, row, policy) if found else 0.0
        due_here.append(due)
        scores.append(score)
        if not found:
            outcomes[CLASSES[label], "not_found"] += 1
        else:
            outcomes[CLASSES[label], "right" if (score >= 0.5) == due else "wrong"] += 1
    on_faces = set(scene.row_of.tolist())
    false = Counter(
        slow_score(detections, row, policy) >= 0.5
        for row in range(len(detections))
        if row not in on_faces and detections.detection[row] >= thresh
    )
    return outcomes, false, due_here, scores


def slow_area(due: list, scores: list) -> float:
    """Share of the pairs of a face that an alarm is due for and another that are in order."""
    mine, others = ([s for s, d in zip(scores, due, strict=True) if d == kind] for kind in (1, 0))
    pairs = [(a > b) + (a == b) / 2 for a in mine for b in others]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("with_probabilities", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_agrees_with_a_loop(seed: int, with_probabilities: bool, policy: IncorrectPolicy) -> None:
    scene = make_scene(seed)
    if not with_probabilities:
        scene = replace(scene, detections=without_probabilities(scene.detections))
    case = make_case(scene.truth, scene.detections, incorrect=policy, thresh=0.45)
    record = describe_alarm(case)
    outcomes, false, due, scores = slow_alarm(scene, policy, 0.45)
    unmasked = ["without_mask", *(["mask_weared_incorrect"] if policy == "alarm" else [])]
    sums: Counter = Counter()
    for name in CLASSES:
        row = {outcome: outcomes[name, outcome] for outcome in OUTCOMES}
        assert record["counts"][name] == {"annotated": sum(row.values()), **row}
        for outcome, count in row.items():
            sums[name in unmasked, outcome] += count
            whole = sum(row.values())
            assert record[outcome][name] == (pytest.approx(count / whole) if whole else None)
    masked, bare = ([sums[due, outcome] for outcome in OUTCOMES] for due in (False, True))
    assert record["tnr"] == pytest.approx(bare[0] / sum(bare))
    assert record["fnr"] == pytest.approx(masked[1] / sum(masked))
    assert record["tnr_found"] == pytest.approx(bare[0] / (bare[0] + bare[1]))
    assert record["fnr_found"] == pytest.approx(masked[1] / (masked[0] + masked[1]))
    assert (record["false_faces"], record["false_alarms"]) == (sum(false.values()), false[True])
    assert record["false_faces_per_photo"] == pytest.approx(sum(false.values()) / 15)
    assert record["false_alarms_per_photo"] == pytest.approx(false[True] / 15)
    assert record["auc"] == slow_area(due, scores)  # To the last bit: it is a count of pairs.
    assert record["auc"] == pytest.approx(roc_auc_score(due, scores))
    assert record["faces_left_out"] == len(scene.truth.photo) - len(due)
    assert record["intervals"] is record["crops_roc"] is record["crops_auc"] is None


def test_published_table() -> None:
    """The table in the README of datarootsio/face-mask-detection, its rates and false faces."""
    rows = {
        (0, 0): 95,
        (0, 1): 14,
        (0, None): 10,
        (1, 1): 115,
        (1, 0): 7,
        (1, None): 8,
        (None, 1): 7,
        (None, 0): 8,
    }
    pairs = list(enumerate(Counter(rows).elements()))
    box = (10.0, 10.0, 50.0, 50.0)
    truth, found = (
        [Seen(photo, pair[side], box, 0.9) for photo, pair in pairs if pair[side] is not None]
        for side in (0, 1)
    )
    record = describe_alarm(make_case(as_truth(truth, photos=len(pairs)), as_detections(found)))
    assert list(record["counts"]["with_mask"].values()) == [119, 95, 14, 10]
    assert list(record["counts"]["without_mask"].values()) == [130, 115, 7, 8]
    assert record["tnr"] == pytest.approx(0.885, abs=5e-4)
    assert record["fnr"] == pytest.approx(0.118, abs=5e-4)
    assert (record["false_faces"], record["false_alarms"]) == (15, 7)


def one_face(label: str, probabilities: list[float]) -> tuple[GroundTruth, Detections]:
    box = (0.0, 0.0, 10.0, 10.0)
    found = as_detections([Seen(0, int(np.argmax(probabilities)), box)])
    return (
        as_truth([Seen(0, CLASSES.index(label), box)]),
        replace(found, probabilities=np.array([probabilities])),
    )


@pytest.mark.parametrize(
    ("probabilities", "policy", "alarm"),
    [
        ([0.4, 0.3, 0.3], "alarm", True),
        ([0.4, 0.3, 0.3], "no-alarm", False),
        ([0.4, 0.3, 0.3], "leave-out", False),
        ([0.2, 0.3, 0.5], "no-alarm", False),
        ([0.2, 0.3, 0.5], "leave-out", True),
        ([0.5, 0.25, 0.25], "alarm", True),
        ([0, 0, 1], "leave-out", False),
    ],
)
def test_alarm_by_policy(probabilities: list[float], policy: IncorrectPolicy, alarm: bool) -> None:
    for label, due in (("with_mask", False), ("without_mask", True)):
        record = describe_alarm(make_case(*one_face(label, probabilities), incorrect=policy))
        outcome = "right" if alarm == due else "wrong"
        assert record["counts"][label][outcome] == 1
        assert record["roc"] is record["auc"] is None


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("wanted", [0.0, 0.1, 0.34, 0.99])
def test_chosen_threshold_is_the_lowest_that_does(wanted: float, policy: IncorrectPolicy) -> None:
    scene = make_scene(8, photos=30)
    how = {"incorrect": policy, "thresh": 0.4, "false_alarms": str(wanted)}
    chosen = describe_alarm(make_case(scene.truth, scene.detections, **how))["chosen"]
    _, _, due, scores = slow_alarm(scene, policy, 0.4)

    def rates(threshold: float) -> list[float]:
        rung = np.array(scores) >= threshold
        return [float(rung[np.array(due) == kind].mean()) for kind in (False, True)]

    threshold = chosen["threshold"]
    assert [chosen["false_alarms"], chosen["alarms_caught"]] == pytest.approx(rates(threshold))
    assert chosen["false_alarms"] <= wanted
    lower = [score for score in scores if 0 < score < threshold - 1e-9]
    assert not lower or rates(max(lower) - 1e-9)[0] > wanted
    rows = np.setdiff1d(np.arange(len(scene.detections)), scene.row_of)
    rung = [slow_score(scene.detections, row, policy) >= threshold for row in rows]
    sure = scene.detections.detection[rows] >= 0.4
    assert chosen["false_faces_per_photo"] == pytest.approx((rung & sure).sum() / 30)
    assert f"At most {wanted:.1%} false alarms" in chosen["sentence"]
    rule = make_rule(policy, threshold)
    probabilities = scene.detections.probabilities
    by_hand = [slow_score(scene.detections, row, policy) for row in range(len(probabilities))]
    assert rule.score(probabilities) == pytest.approx(by_hand)


def test_no_threshold_does_when_the_surest_alarm_is_false() -> None:
    pair = one_face("with_mask", [0, 1, 0])
    chosen = describe_alarm(make_case(*pair, false_alarms="0"))["chosen"]
    assert chosen["threshold"] is None
    assert chosen["sentence"].startswith("No threshold")


def test_left_out_faces_take_their_detections_along() -> None:
    pair = one_face("mask_weared_incorrect", [0, 0, 1])
    record = describe_alarm(make_case(*pair, incorrect="leave-out"))
    assert record["faces_left_out"] == 1
    assert record["false_faces"] == 0
    assert record["tnr"] is record["fnr"] is record["right"]["mask_weared_incorrect"] is None
    for policy in ("alarm", "no-alarm"):
        counts = describe_alarm(make_case(*pair, incorrect=policy))["counts"]
        assert counts["mask_weared_incorrect"]["right"] == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_the_classifier_alone(policy: IncorrectPolicy) -> None:
    scene = make_scene(7)
    # One face without an answer: it is in neither number.
    rows = np.flatnonzero(~scene.truth.difficult)[1:]
    rows = np.sort(np.r_[rows, np.flatnonzero(scene.truth.difficult)])
    crops = scene.crops.take(rows, scene.truth.photo[rows])
    case = make_case(scene.truth, scene.detections, crops=crops, incorrect=policy)
    record = describe_alarm(case)
    due, scores = [], []
    for row, face in enumerate(rows):
        label = scene.truth.labels[face]
        if not scene.truth.difficult[face] and not (policy == "leave-out" and label == 2):
            due.append(label == 1 or (label == 2 and policy == "alarm"))
            scores.append(slow_score(crops, row, policy))
    assert record["crops_auc"] == pytest.approx(roc_auc_score(due, scores))
    right = [(score >= 0.5) == wanted for score, wanted in zip(scores, due, strict=True)]
    assert record["crops_accuracy"] == pytest.approx(sum(right) / len(right))
    assert record["crops_roc"]["tpr"][-1] == 1


PHOTOS = 4
FACE = st.tuples(st.integers(0, PHOTOS - 1), st.booleans(), st.sampled_from([0, 0.2, 0.5, 1.0]))
WEIGHTS = st.lists(st.integers(0, 3), min_size=PHOTOS, max_size=PHOTOS)


@settings(deadline=None)
@given(st.lists(FACE, max_size=12), st.lists(WEIGHTS, min_size=1, max_size=3))
def test_weighted_area_is_that_of_sklearn(faces: list, weights: list) -> None:
    photo = np.array([face[0] for face in faces], dtype=np.int64)
    positive = np.array([face[1] for face in faces], dtype=np.bool_)
    scores = np.array([face[2] for face in faces], dtype=np.float64)
    ranked = ScoredFaces(photo, positive, scores).rank()
    areas = weighted_auc(ranked, np.array(weights, dtype=float))
    for area, row in zip(areas, weights, strict=True):
        counts = np.array(row)[photo]
        if counts[positive].sum() and counts[~positive].sum():
            expected = roc_auc_score(positive, scores, sample_weight=counts)
            assert area == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(area)


def alone(positive: np.ndarray, scores: np.ndarray) -> ScoredFaces:
    """Faces in photos of their own."""
    return ScoredFaces(np.arange(len(positive)), positive, scores)


def test_hand_computed_curve() -> None:
    curve = describe_roc(alone(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.8, 0])))
    assert curve == {"fpr": [0, 0, 0.5, 1], "tpr": [0, 0.5, 1, 1], "threshold": [None, 0.9, 0.8, 0]}
    for positive in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool), np.empty(0, dtype=bool)):
        one_kind = alone(positive, np.linspace(0, 1, len(positive)))
        assert describe_roc(one_kind) is None


def test_long_curves_are_thinned() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(5000) < 0.4
    scores = rng.normal(size=5000) + positive
    curve = describe_roc(alone(positive, scores))
    assert len(curve["fpr"]) == len(curve["tpr"]) == len(curve["threshold"]) == MOST_POINTS
    assert (curve["fpr"][0], curve["tpr"][0]) == (0, 0)
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1, 1)
    assert auc(curve["fpr"], curve["tpr"]) == pytest.approx(
        roc_auc_score(positive, scores), abs=2e-3
    )
    for fpr, tpr, threshold in list(zip(*curve.values(), strict=True))[1::20]:
        assert fpr == pytest.approx((scores[~positive] >= threshold).mean())
        assert tpr == pytest.approx((scores[positive] >= threshold).mean())
