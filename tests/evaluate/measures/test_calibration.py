from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from evaluate.measures.calibration import (
    BINS,
    LEAST_PROBABILITY,
    LIMITS,
    PERCENTS,
    GradedFaces,
    describe_calibration,
    describe_grades,
    describe_unsure,
    find_limits,
    rank_answers,
    weighted_aurc,
)
from evaluate.measures.case import Case
from tests.evaluate.scenes import make_case, make_scene, without_probabilities


def grade(percents: list[tuple[int, int, int]], labels: list[int]) -> GradedFaces:
    """Faces, each in a photo of its own, with probabilities in percent."""
    return GradedFaces(
        photo=np.arange(len(labels)),
        labels=np.array(labels, dtype=np.int64),
        probabilities=np.array(percents, dtype=np.float64).reshape(-1, 3) / 100,
    )


def make(photos: int, **options: int) -> Case:
    scene = make_scene(0, photos=photos)
    return make_case(scene.truth, scene.detections, **options)


def measure(faces: GradedFaces) -> dict:
    return describe_grades(make(len(faces.labels)), faces)


def slow_bins(percents: list[tuple[int, int, int]], labels: list[int]) -> list[list]:
    """Of each bin (confidence, right) of its faces, in whole numbers and fractions."""
    bins: list[list] = [[] for _ in range(BINS)]
    for row, label in zip(percents, labels, strict=True):
        top = Fraction(max(row), 100)
        number = next(m for m in range(BINS) if Fraction(m, BINS) < top <= Fraction(m + 1, BINS))
        bins[number].append((top, row.index(max(row)) == label))
    return bins


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_a_loop_and_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    percents = [tuple(row) for row in rng.multinomial(97, rng.dirichlet([1, 1, 1], 200)) + 1]
    # On the edges 6/15, 9/15 and 12/15.
    percents += [(40, 30, 30), (60, 20, 20), (10, 80, 10), (0, 100, 0)]
    labels = [*rng.integers(0, 3, 200).tolist(), 0, 1, 1, 1]
    faces = grade(percents, labels)
    record = measure(faces)
    bins = slow_bins(percents, labels)
    assert [row["count"] for row in record["bins"]] == [len(rows) for rows in bins]
    gap = Fraction(0)
    for row, pairs in zip(record["bins"], bins, strict=True):
        if not pairs:
            assert row["confidence"] is row["accuracy"] is None
            continue
        confidence = sum(top for top, _ in pairs) / len(pairs)
        accuracy = Fraction(sum(right for _, right in pairs), len(pairs))
        assert row["confidence"] == pytest.approx(float(confidence))
        assert row["accuracy"] == pytest.approx(float(accuracy))
        gap += abs(confidence - accuracy) * Fraction(len(pairs), len(labels))
    assert record["ece"] == pytest.approx(float(gap))
    assert record["brier"] == pytest.approx(
        brier_score_loss(labels, faces.probabilities, labels=[0, 1, 2])
    )
    # No annotated class was given 0 here.
    assert record["log_loss"] == pytest.approx(
        log_loss(labels, faces.probabilities, labels=[0, 1, 2])
    )
    everyone = [pair for pairs in bins for pair in pairs]
    assert record["accuracy"] == pytest.approx(sum(right for _, right in everyone) / len(labels))
    assert record["confidence"] == pytest.approx(
        float(sum(top for top, _ in everyone) / len(labels))
    )


def test_a_written_0_is_not_taken_for_impossible() -> None:
    record = measure(grade([(100, 0, 0)], [1]))
    assert record["log_loss"] == pytest.approx(-np.log(LEAST_PROBABILITY))
    assert record["brier"] == pytest.approx(2)


def test_sections_are_of_their_own_faces() -> None:
    scene = make_scene(1)
    truth, detections = scene.truth, scene.detections
    case = make_case(truth, detections, crops=scene.crops, resamples=20, seed=1)
    record = describe_calibration(case)
    json.dumps(record, allow_nan=False)
    asked = np.flatnonzero(~truth.difficult)
    row_of = scene.row_of[asked]
    seen = row_of >= 0
    seen[seen] = detections.detection[row_of[seen]] >= 0.5
    for name, faces, answers in (
        ("pipeline", asked[seen], detections.probabilities[row_of[seen]]),
        ("crops", asked, scene.crops.probabilities[asked]),
    ):
        section, wanted = record[name], np.eye(3)[truth.labels[faces]]
        assert section["faces"] == len(faces)
        assert section["brier"] == pytest.approx(((answers - wanted) ** 2).sum(axis=1).mean())
        assert section["unsure"]["accuracy"]["100"] == pytest.approx(section["accuracy"])


def test_no_section_without_probabilities() -> None:
    scene = make_scene(1)
    plain = without_probabilities(scene.detections)
    record = describe_calibration(make_case(scene.truth, plain, crops=scene.crops))
    assert record["pipeline"] is None
    assert record["crops"]["intervals"] is None
    record = describe_calibration(make_case(scene.truth, scene.detections))
    assert record["crops"] is None
    assert record["pipeline"] is not None


PHOTOS = 4
CONFIDENCE = st.sampled_from([0.34, 0.5, 0.62, 0.9, 0.99, 1.0])
FACE = st.tuples(st.integers(0, PHOTOS - 1), st.integers(0, 2), CONFIDENCE, st.booleans())
WEIGHTS = st.lists(st.integers(0, 3), min_size=PHOTOS, max_size=PHOTOS)


def to_answers(faces: list) -> GradedFaces:
    photo, labels = np.array([face[:2] for face in faces], dtype=np.int64).reshape(-1, 2).T
    confidence, right = np.array([face[2:] for face in faces], dtype=float).reshape(-1, 2).T
    probabilities = np.repeat((1 - confidence[:, None]) / 2, 3, axis=1)
    best = np.where(right > 0, labels, (labels + 1) % 3)
    probabilities[np.arange(len(faces)), best] = confidence
    return GradedFaces(photo, labels, probabilities)


def slow_aurc(faces: list) -> float | None:
    risks = []
    for _, _, confidence, _ in faces:
        answered = [right for _, _, other, right in faces if other >= confidence]
        risks.append(answered.count(False) / len(answered))
    return sum(risks) / len(risks) if risks else None


@settings(deadline=None)
@given(st.lists(FACE, max_size=12), st.lists(WEIGHTS, min_size=1, max_size=3))
def test_aurc_agrees_with_a_loop(faces: list, weights: list) -> None:
    graded = to_answers(faces)
    ranked = rank_answers(graded)
    areas = weighted_aurc(ranked, np.array(weights, dtype=float))
    for area, row in zip(areas, weights, strict=True):
        expected = slow_aurc([face for face in faces for _ in range(row[face[0]])])
        assert area == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_aurc_hand_computed() -> None:
    # Risks at 1, 2, 3, 4 faces answered: 0, 1/2, 1/3, 2/4.
    faces = [(0, 0, 0.9, True), (1, 0, 0.8, False), (2, 0, 0.7, True), (3, 0, 0.6, False)]
    graded = to_answers(faces)
    ranked = rank_answers(graded)
    area = weighted_aurc(ranked, np.ones((1, 4)))[0]
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


@settings(deadline=None)
@given(st.lists(FACE, min_size=1, max_size=25))
def test_limits_answer_enough_and_no_larger_one_does(faces: list) -> None:
    confidence = to_answers(faces).confidence
    for percent, limit in zip(PERCENTS, find_limits(confidence), strict=True):
        assert 100 * (confidence >= limit).sum() >= percent * len(faces)
        assert 100 * (confidence > limit).sum() < percent * len(faces)


@settings(deadline=None)
@given(st.lists(FACE, min_size=1, max_size=25))
def test_table_and_curve_agree_with_a_loop(faces: list) -> None:
    numbers, intervals = describe_unsure(make(PHOTOS), to_answers(faces))
    assert intervals is None
    for percent in map(str, PERCENTS):
        sure = [face for face in faces if face[2] >= numbers["limit"][percent]]
        assert numbers["answered"][percent] == pytest.approx(len(sure) / len(faces))
        rights = [right for *_, right in sure]
        assert numbers["accuracy"][percent] == pytest.approx(sum(rights) / len(rights))
        recalls = []
        for label in range(3):
            of_class = [right for _, other, _, right in sure if other == label]
            if of_class:
                recalls.append(sum(of_class) / len(of_class))
        assert numbers["macro_recall"][percent] == pytest.approx(sum(recalls) / len(recalls))
    curve = numbers["curve"]
    assert curve["limit"] == list(LIMITS)
    for limit, answered, accuracy in zip(*curve.values(), strict=True):
        rights = [right for _, _, confidence, right in faces if confidence >= limit]
        assert answered == pytest.approx(len(rights) / len(faces))
        assert accuracy == (pytest.approx(sum(rights) / len(rights)) if rights else None)


def test_intervals_are_for_the_limit_as_it_is() -> None:
    rng = np.random.default_rng(0)
    rows = zip(*rng.integers(0, (60, 3), (300, 2)).T, rng.uniform(0.4, 1, 300), strict=True)
    answers = to_answers([(photo, label, p, rng.random() < p) for photo, label, p in rows])
    numbers, intervals = describe_unsure(make(60, resamples=300, seed=3), answers)
    json.dumps([numbers, intervals], allow_nan=False)
    assert set(intervals) == {"aurc", "answered", "accuracy", "macro_recall"}
    assert intervals["answered"]["100"] == [1, 1]
    for percent in map(str, PERCENTS[1:]):
        for name in ("answered", "accuracy", "macro_recall"):
            low, high = intervals[name][percent]
            assert low < numbers[name][percent] < high
    # Half the standard normal interval of a mean over 300 faces, photos hardly correlated.
    low, high = intervals["accuracy"]["100"]
    rate = numbers["accuracy"]["100"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(rate * (1 - rate) / 300), rel=0.25)
