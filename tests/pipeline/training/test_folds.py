"""Folds: every face is held out once, and never from a network that saw its kin."""

from collections import Counter

import numpy as np
import pytest

from data_prep.grouping.split import SplitError
from pipeline.training.tasks import assign_folds

rng = np.random.default_rng(0)
GROUPS = [f"g{index}" for index in rng.integers(0, 60, 300)]
STRATA = rng.choice(["a", "b", "c"], 300, p=[0.7, 0.2, 0.1]).tolist()


def test_each_face_is_held_out_in_one_fold():
    assert sorted(set(assign_folds(GROUPS, STRATA, folds=4))) == [0, 1, 2, 3]


def test_groups_stay_whole():
    folds = {}
    for group, fold in zip(GROUPS, assign_folds(GROUPS, STRATA, folds=5), strict=True):
        assert folds.setdefault(group, fold) == fold


def test_strata_are_spread_evenly():
    folds = assign_folds(GROUPS, STRATA, folds=5)
    rare = Counter(fold for fold, stratum in zip(folds, STRATA, strict=True) if stratum == "c")
    assert max(rare.values()) - min(rare.values()) <= 4


def test_seed_decides():
    one, same, other = (assign_folds(GROUPS, STRATA, seed=seed) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_too_few_groups():
    with pytest.raises(SplitError, match="can't be split into 5 folds"):
        assign_folds(["a", "b"] * 5, ["x"] * 10)
