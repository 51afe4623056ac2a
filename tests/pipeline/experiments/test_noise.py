"""Flipped labels: how many, where they go, and always the same."""

import numpy as np
import pytest

from data_prep.base.labels import CLASSES
from pipeline.experiments.noise_benchmark import (
    KINDS,
    LIKELY,
    NoiseError,
    flip_labels,
    flip_shares,
    parse_kinds,
)

LABELS = np.random.default_rng(0).choice(3, 4000, p=[0.7, 0.25, 0.05])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0, 0.0101, 0.1, 0.5])
def test_rate_is_exact(kind, rate):
    flipped = flip_labels(LABELS, kind, rate=rate, seed=1)
    assert (flipped != LABELS).sum() == round(rate * 4000)
    assert set(flipped) <= {0, 1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_flips_go_where_they_should(kind):
    many = np.repeat(np.arange(3), 30_000)
    flipped = flip_labels(many, kind, rate=0.5, seed=2)
    for true in range(3):
        moved = flipped[(many == true) & (flipped != true)]
        shares = np.bincount(moved, minlength=3) / len(moved)
        np.testing.assert_allclose(shares, flip_shares(kind)[true], atol=0.015)


def test_likely_flips_lead_from_each_class_to_both_others():
    assert set(LIKELY) == set(CLASSES)
    for true, shares in LIKELY.items():
        assert set(shares) == set(CLASSES) - {true}
        assert sum(shares.values()) == pytest.approx(1)


def test_seed_decides_and_labels_stay():
    before = LABELS.copy()
    one, same, other = (flip_labels(LABELS, "uniform", rate=0.1, seed=s) for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert (before == LABELS).all()


def test_kinds_from_text():
    assert parse_kinds("uniform,likely,uniform") == ("uniform", "likely")
    with pytest.raises(NoiseError, match="unknown kind of noise 'odd': use uniform, likely"):
        parse_kinds("uniform,odd")
