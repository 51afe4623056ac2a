"""The confident joint against cleanlab's, neighbours against a slow look-up, duplicate faces."""

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.base.labels import CLASSES
from pipeline.cleaning.evidence import (
    Neighbours,
    confident_joint,
    estimate_wrong_labels,
    find_duplicate_faces,
    find_neighbours,
    vote,
)
from tests.makers import make_pixels
from tests.pipeline.tables import table_of

rng = np.random.default_rng(3)


def noisy(count=600, seed=0, sharp=6.0):
    """Labels of which some are flipped, and probabilities of a fair classifier: true, given, p."""
    rng = np.random.default_rng(seed)
    true = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    logits = rng.normal(0, 1, (count, 3)) + sharp * np.eye(3)[true]
    p = np.exp(logits)
    given = np.where(rng.random(count) < 0.15, (true + rng.integers(1, 3, count)) % 3, true)
    return true, given, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sharp", [0.5, 2.0, 6.0])
def test_joint_is_that_of_cleanlab(seed, sharp):
    count = pytest.importorskip("cleanlab.count")
    _, given, p = noisy(seed=seed, sharp=sharp)
    theirs = count.compute_confident_joint(given, p, calibrate=True)
    ours = confident_joint(given, p)
    # It rounds to whole faces while keeping sums.
    np.testing.assert_allclose(ours, theirs, atol=1.01)
    assert ours.sum(axis=1).tolist() == pytest.approx(np.bincount(given).tolist())


def test_weights_count_like_repeated_faces():
    _, given, p = noisy(200)
    times = np.random.default_rng(5).integers(0, 4, 200)
    ours = confident_joint(given, p, times.astype(float))
    np.testing.assert_allclose(ours, confident_joint(given.repeat(times), p.repeat(times, axis=0)))


def test_wrong_labels_are_counted():
    true, given, p = noisy(3000)
    groups = [str(index // 3) for index in range(3000)]
    found = estimate_wrong_labels(given, p, groups, resamples=100)
    assert list(found) == list(CLASSES)
    for index, name in enumerate(CLASSES):
        estimate, low, high = found[name]
        assert low < estimate < high
        assert low <= ((given == index) & (true != index)).sum() <= high


def test_interval_widens_with_fewer_groups():
    _, given, p = noisy(600)
    order = np.argsort(given == 2, kind="stable")
    low, high = {}, {}
    for size in (1, 60):
        groups = [str(index // size) for index in range(600)]
        found = estimate_wrong_labels(given[order], p[order], groups, resamples=200)
        _, low[size], high[size] = found[CLASSES[2]]
    assert high[60] - low[60] > high[1] - low[1]


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
    features = [rng.random((40, 6)).astype(np.float16) for _ in range(3)]
    ours = find_neighbours(features, fold, groups, count=5)
    theirs = slow_neighbours(features, fold, groups, 5)
    assert ours.index.tolist() == [[other for _, other in found] for found in theirs]
    np.testing.assert_allclose(
        ours.similarity, [[cosine for cosine, _ in found] for found in theirs], atol=1e-5
    )


def test_fewer_other_faces_than_asked_for():
    found = find_neighbours([rng.random((3, 4))], np.zeros(3, int), ["a", "a", "b"], count=9)
    assert found.index.tolist() == [[2, -1, -1], [2, -1, -1], *found.index[2:].tolist()]
    assert sorted(found.index[2].tolist()) == [-1, 0, 1]
    assert found.similarity[0, 1:].tolist() == [0, 0]


def test_votes_weigh_by_likeness():
    near = Neighbours(np.array([[1, 2, 3]]), np.array([[0.8, 0.4, -0.5]]))
    shares = vote(near, np.array([0, 1, 2, 0]))
    assert shares[0].tolist() == pytest.approx([0, 0.8 / 1.2, 0.4 / 1.2])
    alone = Neighbours(np.array([[-1, -1]]), np.zeros((1, 2)))
    assert vote(alone, np.array([2]))[0].tolist() == pytest.approx([1 / 3] * 3)


ONE, TWO = make_pixels(40, 40, seed=1), make_pixels(40, 40, seed=2)
EVEN = np.full((20, 20, 3), 90, np.uint8)
NEAR = np.clip(ONE + np.random.default_rng(0).normal(0, 20, ONE.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("crops", "groups", "images", "duplicates"),
    [
        ([ONE, TWO, TWO, ONE, ONE], "ggggh", "aabbc", [[3], [2], [1], [0], []]),
        ([ONE] * 3, "ggg", "abc", [[1, 2], [0, 2], [0, 1]]),
        ([ONE, TWO], "gg", "ab", [[], []]),
        ([NEAR, ONE, ONE], "ggg", "aab", [[], [2], [1]]),
        ([NEAR, ONE], "gg", "ab", [[1], [0]]),
        ([ONE, ONE], "gg", "aa", [[], []]),
        ([EVEN, EVEN], "gg", "ab", [[], []]),
        ([ONE, ONE], "gh", "ab", [[], []]),
        ([ONE, ONE[:, ::-1]], "gg", "ab", [[1], [0]]),
        ([ONE, cv2.resize(ONE, (25, 25), interpolation=cv2.INTER_AREA)], "gg", "ab", [[1], [0]]),
        ([ONE, np.clip(ONE * 0.7 + 20, 0, 255).astype(np.uint8)], "gg", "ab", [[1], [0]]),
        ([ONE, ONE[1:, 1:]], "gg", "ab", [[1], [0]]),
    ],
    ids=[
        *("a copy of the photo", "three photos", "another face in the same scene"),
        *("the best of a photo", "nearly alike", "faces of one photo", "even crops", "no groups"),
        *("mirrored", "smaller", "paler", "cut a little differently"),
    ],
)
def test_the_same_face_in_near_duplicate_photos(tmp_path, crops, groups, images, duplicates):
    table = table_of([0] * len(crops), list(groups), list(images))
    paths = [tmp_path / f"{index}.png" for index in range(len(crops))]
    for path, crop in zip(paths, crops, strict=True):
        Image.fromarray(np.ascontiguousarray(crop)).save(path)
    assert find_duplicate_faces(table.assign(crop=list(map(str, paths)))) == duplicates
