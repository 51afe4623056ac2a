"""The confident joint against cleanlab's, and its estimates against labels known to be wrong."""

import numpy as np
import pytest

from data_prep.base.labels import CLASSES
from pipeline.cleaning.evidence import confident_joint, estimate_wrong_labels


def noisy(count=600, seed=0, sharp=6.0):
    """Labels of which some are flipped, and probabilities of a fair classifier: true, given, p."""
    rng = np.random.default_rng(seed)
    true = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    logits = rng.normal(0, 1, (count, 3)) + sharp * np.eye(3)[true]
    p = np.exp(logits)
    given = np.where(rng.random(count) < 0.15, (true + rng.integers(1, 3, count)) % 3, true)
    return true, given, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sharp", [0.5, 2.0, 6.0])
def test_joint_is_that_of_cleanlab(seed, sharp):
    count = pytest.importorskip("cleanlab.count")
    _, given, p = noisy(seed=seed, sharp=sharp)
    theirs = count.compute_confident_joint(given, p, calibrate=True)
    # It rounds to whole faces while keeping sums.
    np.testing.assert_allclose(confident_joint(given, p), theirs, atol=1.01)


def test_rows_sum_to_the_labels():
    _, given, p = noisy()
    assert confident_joint(given, p).sum(axis=1).tolist() == pytest.approx(
        np.bincount(given).tolist()
    )


def test_weights_count_like_repeated_faces():
    _, given, p = noisy(200)
    times = np.random.default_rng(5).integers(0, 4, 200)
    ours = confident_joint(given, p, times.astype(float))
    np.testing.assert_allclose(ours, confident_joint(given.repeat(times), p.repeat(times, axis=0)))


def test_class_without_a_label():
    joint = confident_joint(np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]])
    assert np.isfinite(joint).all()
    assert joint[2].tolist() == [0, 0, 0]


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
    order = np.argsort(given == given.max(), kind="stable")
    given, p = given[order], p[order]
    fine = estimate_wrong_labels(given, p, [str(i) for i in range(600)], resamples=200)
    coarse = estimate_wrong_labels(given, p, [str(i // 60) for i in range(600)], resamples=200)
    wide, narrow = (found[CLASSES[2]][2] - found[CLASSES[2]][1] for found in (coarse, fine))
    assert wide > narrow
