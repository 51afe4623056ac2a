"""Wrong labels counted where they are known, neighbours against a slow look-up, duplicate faces."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize

from data_prep.base.labels import CLASSES
from pipeline.cleaning.evidence import (
    Neighbours,
    estimate_wrong_labels,
    find_duplicate_faces,
    find_neighbours,
    fit_noise,
    vote,
)
from tests.makers import make_pixels
from tests.pipeline.tables import table_of

rng = np.random.default_rng(3)


def noisy(count=600, seed=0, sharp=6.0, rate=0.15):
    """Labels of which some are flipped, and a calibrated classifier's word: true, given, p."""
    rng, shares = np.random.default_rng(seed), np.array([0.6, 0.3, 0.1])
    true = rng.choice(3, count, p=shares)
    # What is seen is normal around each class, so that this is Bayes' rule.
    seen = rng.normal(0, np.sqrt(sharp), (count, 3)) + sharp * np.eye(3)[true]
    p = np.exp(seen) * shares
    given = np.where(rng.random(count) < rate, (true + rng.integers(1, 3, count)) % 3, true)
    return true, given, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rate", [0, 0.03, 0.1, 0.3])
@pytest.mark.parametrize(("sharp", "power"), [(2, 1), (2, 0.6), (6, 1), (6, 2)])
def test_wrong_labels_are_counted_however_sure_the_network_is(sharp, power, rate):
    true, given, p = noisy(2000, sharp=sharp, rate=rate)
    said = p**power / (p**power).sum(axis=1, keepdims=True)
    found = estimate_wrong_labels(given, said, [str(i // 3) for i in range(2000)], resamples=40)
    wrong = (given != true).sum()
    assert found["all"][0] == pytest.approx(wrong, abs=20 + 0.2 * wrong)
    assert found["all"][1] <= found["all"][0] <= found["all"][2]
    assert sum(found[name][0] for name in CLASSES) == pytest.approx(found["all"][0], abs=0.2)
    if rate == 0.3:
        for index, name in enumerate(CLASSES):
            own = ((given == index) & (true != index)).sum()
            assert found[name][0] == pytest.approx(own, rel=0.25)


def test_noise_is_the_likeliest_by_another_optimiser():
    _, given, p = noisy(400)
    two = p[:, :2] / p[:, :2].sum(axis=1, keepdims=True)
    labels = np.where(given == 0, 0, 1)
    noise, wrong, likelihood = fit_noise(two, np.eye(2)[labels])

    def lose(kept):
        rows = np.array([[kept[0], 1 - kept[0]], [1 - kept[1], kept[1]]])
        return -np.log((two @ rows)[np.arange(400), labels]).sum()

    best = minimize(lose, [0.9, 0.9], bounds=[(0.01, 0.999)] * 2)
    assert np.diag(noise) == pytest.approx(best.x, abs=2e-3)
    assert likelihood == pytest.approx(-best.fun, abs=1e-3)
    chance = two * noise[:, labels].T
    own = chance[np.arange(400), labels] / chance.sum(axis=1)
    assert wrong.sum() == pytest.approx((1 - own).sum(), abs=0.05)


def test_a_class_that_nobody_has_and_faces_that_count_twice():
    _, given, p = noisy(300)
    two = given < 2
    pair = p[two] * [1, 1, 0] / (p[two] * [1, 1, 0]).sum(axis=1, keepdims=True)
    found = estimate_wrong_labels(given[two], pair, [str(i) for i in range(two.sum())])
    assert np.isfinite(list(found.values())).all()
    assert found[CLASSES[2]] == [0, 0, 0]
    times = np.random.default_rng(5).integers(0, 4, 300)
    ours = fit_noise(p, np.eye(3)[given] * times[:, None])
    theirs = fit_noise(p.repeat(times, axis=0), np.eye(3)[given.repeat(times)])
    np.testing.assert_allclose(ours[0], theirs[0])


def test_interval_widens_with_fewer_groups():
    _, given, p = noisy(600)
    order, width = np.argsort(given == 2, kind="stable"), {}
    for size in (1, 60):
        groups = [str(index // size) for index in range(600)]
        _, low, high = estimate_wrong_labels(given[order], p[order], groups)[CLASSES[2]]
        width[size] = high - low
    assert width[60] > width[1]


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


def test_an_index_finds_what_comparing_all_finds(monkeypatch):
    """Faces that lie around a hundred spots, in groups of up to six."""
    rng = np.random.default_rng(1)
    spots = rng.normal(0, 1, (100, 32))
    own = (spots[rng.integers(0, 100, 2000)] + rng.normal(0, 0.5, (2000, 32))).astype(np.float16)
    groups = [str(group) for group in rng.integers(0, 700, 2000)]
    call = ([own, own[:, ::-1]], rng.integers(0, 2, 2000), groups)
    exact = find_neighbours(*call)
    monkeypatch.setattr("pipeline.cleaning.evidence.MANY", 2000)
    ours = find_neighbours(*call)
    pairs = zip(ours.index.tolist(), exact.index.tolist(), strict=True)
    assert np.mean([len({*one} & {*other}) / 30 for one, other in pairs]) > 0.99
    np.testing.assert_allclose(ours.similarity, exact.similarity, atol=0.03)
    assert np.array_equal(find_neighbours(*call).index, ours.index), "the same each time"


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
