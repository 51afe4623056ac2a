from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.measures.calibration import (
    LIMITS,
    PERCENTS,
    GradedFaces,
    describe_unsure,
    find_limits,
    weighted_aurc,
)
from tests.evaluate.random_faces import make_scene
from tests.evaluate.scenes import make_case

PHOTOS = 4
CONFIDENCE = st.sampled_from([0.34, 0.5, 0.62, 0.9, 0.99, 1.0])
FACE = st.tuples(st.integers(0, PHOTOS - 1), st.integers(0, 2), CONFIDENCE, st.booleans())
WEIGHTS = st.lists(st.integers(0, 3), min_size=PHOTOS, max_size=PHOTOS)


def to_answers(faces: list, photos: int = PHOTOS) -> GradedFaces:
    labels = np.array([face[1] for face in faces], dtype=np.int64)
    confidence = np.array([face[2] for face in faces], dtype=np.float64)
    right = np.array([face[3] for face in faces], dtype=np.bool_)
    probabilities = np.repeat((1 - confidence[:, None]) / 2, 3, axis=1)
    probabilities[np.arange(len(faces)), np.where(right, labels, (labels + 1) % 3)] = confidence
    photo = np.array([face[0] for face in faces], dtype=np.int64)
    return GradedFaces(photos, photo, labels, probabilities)


def describe(answers: GradedFaces, resamples: int = 0, seed: int = 0):
    scene = make_scene(0, photos=answers.photos)
    return describe_unsure(
        make_case(scene.truth, scene.detections, resamples=resamples, seed=seed), answers
    )


def slow_aurc(faces: list) -> float | None:
    risks = []
    for _, _, confidence, _ in faces:
        answered = [right for _, _, other, right in faces if other >= confidence]
        risks.append(answered.count(False) / len(answered))
    return sum(risks) / len(risks) if risks else None


@given(st.lists(FACE, max_size=12), st.lists(WEIGHTS, min_size=1, max_size=3))
def test_aurc_agrees_with_a_loop(faces: list, weights: list) -> None:
    areas = weighted_aurc(to_answers(faces), np.array(weights, dtype=float))
    for area, row in zip(areas, weights, strict=True):
        expected = slow_aurc([face for face in faces for _ in range(row[face[0]])])
        assert area == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_aurc_hand_computed() -> None:
    # Risks at 1, 2, 3, 4 faces answered: 0, 1/2, 1/3, 2/4.
    faces = [(0, 0, 0.9, True), (1, 0, 0.8, False), (2, 0, 0.7, True), (3, 0, 0.6, False)]
    area = weighted_aurc(to_answers(faces), np.ones((1, 4)))[0]
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


@given(st.lists(FACE, min_size=1, max_size=25))
def test_limits_answer_enough_and_no_larger_one_does(faces: list) -> None:
    confidence = to_answers(faces).confidence
    for percent, limit in zip(PERCENTS, find_limits(confidence), strict=True):
        assert 100 * (confidence >= limit).sum() >= percent * len(faces)
        assert 100 * (confidence > limit).sum() < percent * len(faces)


@given(st.lists(FACE, min_size=1, max_size=25))
def test_table_and_curve_agree_with_a_loop(faces: list) -> None:
    numbers, intervals = describe(to_answers(faces))
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


def test_the_curve_runs_from_034_to_099() -> None:
    assert (LIMITS[0], LIMITS[1], LIMITS[-1], len(LIMITS)) == (0.34, 0.35, 0.99, 66)


def test_intervals_are_for_the_limit_as_it_is() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.4, 1, 300)
    faces = zip(
        rng.integers(0, 60, 300).tolist(),
        rng.integers(0, 3, 300).tolist(),
        confidence.tolist(),
        (rng.random(300) < confidence).tolist(),
        strict=True,
    )
    answers = to_answers(list(faces), photos=60)
    numbers, intervals = describe(answers, resamples=300, seed=3)
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


def test_no_faces() -> None:
    numbers, intervals = describe(to_answers([]), resamples=5)
    json.dumps([numbers, intervals], allow_nan=False)
    assert numbers["aurc"] is numbers["limit"]["90"] is numbers["accuracy"]["90"] is None
    assert intervals["aurc"] is intervals["answered"]["90"] is None
