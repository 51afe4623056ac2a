from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score

from evaluate.measures.alarm import (
    MOST_POINTS,
    ScoredFaces,
    area_under_roc,
    describe_roc,
    weighted_auc,
)

PHOTOS = 4
FACE = st.tuples(st.integers(0, PHOTOS - 1), st.booleans(), st.sampled_from([0, 0.2, 0.5, 1.0]))
WEIGHTS = st.lists(st.integers(0, 3), min_size=PHOTOS, max_size=PHOTOS)


@given(st.lists(FACE, max_size=12), st.lists(WEIGHTS, min_size=1, max_size=3))
def test_weighted_area_is_that_of_sklearn(faces: list, weights: list) -> None:
    photo = np.array([face[0] for face in faces], dtype=np.int64)
    positive = np.array([face[1] for face in faces], dtype=np.bool_)
    scores = np.array([face[2] for face in faces], dtype=np.float64)
    areas = weighted_auc(
        ScoredFaces(PHOTOS, photo, positive, scores), np.array(weights, dtype=float)
    )
    for area, row in zip(areas, weights, strict=True):
        counts = np.array(row)[photo]
        if counts[positive].sum() and counts[~positive].sum():
            expected = roc_auc_score(positive, scores, sample_weight=counts)
            assert area == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(area)


def alone(positive: np.ndarray, scores: np.ndarray) -> ScoredFaces:
    """Faces in photos of their own."""
    return ScoredFaces(len(positive), np.arange(len(positive)), positive, scores)


def test_one_kind_of_face_has_no_curve() -> None:
    for positive in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool), np.empty(0, dtype=bool)):
        scores = np.linspace(0, 1, len(positive))
        assert describe_roc(alone(positive, scores)) is None
        assert area_under_roc(alone(positive, scores)) is None


def test_hand_computed_curve() -> None:
    curve = describe_roc(alone(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.8, 0])))
    assert curve == {"fpr": [0, 0, 0.5, 1], "tpr": [0, 0.5, 1, 1], "threshold": [None, 0.9, 0.8, 0]}


def test_long_curves_are_thinned() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(5000) < 0.4
    scores = rng.normal(size=5000) + positive
    curve = describe_roc(alone(positive, scores))
    assert len(curve["fpr"]) == len(curve["tpr"]) == len(curve["threshold"]) == MOST_POINTS
    assert (curve["fpr"][0], curve["tpr"][0]) == (0, 0)
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1, 1)
    assert auc(curve["fpr"], curve["tpr"]) == pytest.approx(
        area_under_roc(alone(positive, scores)), abs=2e-3
    )
    for fpr, tpr, threshold in list(zip(*curve.values(), strict=True))[1::20]:
        assert fpr == pytest.approx((scores[~positive] >= threshold).mean())
        assert tpr == pytest.approx((scores[positive] >= threshold).mean())
