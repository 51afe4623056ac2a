"""Neighbours against a slow look-up, one face and one pair at a time."""

import numpy as np
import pytest

from pipeline.cleaning.evidence import Neighbours, find_neighbours, vote

rng = np.random.default_rng(3)


def slow_neighbours(features, fold, groups, count):
    found = []
    for row, own in enumerate(fold):
        space = np.asarray(features[own], float)
        space = space - space.mean(axis=0)
        pairs = []
        for other in range(len(fold)):
            if groups[other] == groups[row]:
                continue
            a, b = space[row], space[other]
            pairs.append((float(a @ b / np.sqrt((a @ a) * (b @ b))), other))
        found.append(sorted(pairs, reverse=True)[:count])
    return found


def test_each_face_looks_around_in_the_space_of_its_own_fold():
    fold = rng.integers(0, 3, 40)
    groups = [f"g{index}" for index in rng.integers(0, 15, 40)]
    features = [rng.random((40, 6)).astype(np.float32) for _ in range(3)]
    ours = find_neighbours(features, fold, groups, count=5)
    theirs = slow_neighbours(features, fold, groups, 5)
    assert ours.index.tolist() == [[other for _, other in found] for found in theirs]
    np.testing.assert_allclose(
        ours.similarity, [[cosine for cosine, _ in found] for found in theirs], atol=1e-5
    )


def test_half_precision_features_do():
    features = rng.random((30, 8)).astype(np.float16)
    found = find_neighbours([features], np.zeros(30, int), [str(i) for i in range(30)])
    assert np.isfinite(found.similarity).all()
    assert found.similarity.dtype == np.float32


def test_fewer_other_faces_than_asked_for():
    found = find_neighbours([rng.random((3, 4))], np.zeros(3, int), ["a", "a", "b"], count=9)
    assert found.index.tolist() == [[2, -1, -1], [2, -1, -1], *found.index[2:].tolist()]
    assert sorted(found.index[2].tolist()) == [-1, 0, 1]
    assert found.similarity[0, 1:].tolist() == [0, 0]


def test_votes_weigh_by_likeness():
    near = Neighbours(np.array([[1, 2, 3]]), np.array([[0.8, 0.4, -0.5]]))
    shares = vote(near, np.array([0, 1, 2, 0]))
    assert shares[0].tolist() == pytest.approx([0, 0.8 / 1.2, 0.4 / 1.2])


def test_face_without_neighbours_has_no_opinion():
    alone = Neighbours(np.array([[-1, -1]]), np.zeros((1, 2)))
    assert vote(alone, np.array([2]))[0].tolist() == pytest.approx([1 / 3] * 3)
