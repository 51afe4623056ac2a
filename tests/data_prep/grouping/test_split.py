"""Splits that do not leak."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.grouping.split import (
    TRAIN,
    VALID,
    SplitError,
    check_no_leak,
    leaked_share,
    naive_split,
    split_by_group,
)


@st.composite
def grouped(draw):
    size = draw(st.integers(20, 120))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    groups = [f"g{n}" for n in rng.integers(0, draw(st.integers(8, 60)), size)]
    strata = [f"s{n}" for n in rng.choice(3, size, p=[0.75, 0.2, 0.05])]
    return groups, strata


def leak_slowly(groups, split):
    valid = leaked = 0
    for group, part in zip(groups, split, strict=True):
        if part == VALID:
            valid += 1
            kin = [p for g, p in zip(groups, split, strict=True) if g == group]
            leaked += TRAIN in kin
    return leaked / valid if valid else 0.0


@settings(deadline=None)
@given(grouped(), st.integers(0, 4))
def test_no_group_straddles(case, fold):
    groups, strata = case
    split = split_by_group(groups, strata, fold=fold)
    for group in set(groups):
        assert len({part for g, part in zip(groups, split, strict=True) if g == group}) == 1
    assert leak_slowly(groups, split) == leaked_share(groups, split) == 0
    assert {TRAIN, VALID} == set(split)
    check_no_leak(groups, split)


@settings(deadline=None, max_examples=25)
@given(grouped(), st.integers(0, 2**32 - 1))
def test_same_seed_same_split(case, seed):
    first, again = (split_by_group(*case, seed=seed) for _ in range(2))
    assert np.array_equal(first, again)


@settings(deadline=None, max_examples=25)
@given(grouped())
def test_each_face_is_in_the_validation_part_of_one_fold(case):
    parts = [split_by_group(*case, fold=fold) == VALID for fold in range(5)]
    assert np.array_equal(np.sum(parts, axis=0), np.ones(len(case[0])))


def test_strata_are_spread_evenly():
    rng = np.random.default_rng(0)
    groups = [f"g{n}" for n in rng.integers(0, 300, 1000)]
    strata = rng.choice(["common", "second", "rare"], 1000, p=[0.75, 0.2, 0.05])
    split = split_by_group(groups, strata.tolist())
    for stratum in set(strata):
        assert np.mean(split[strata == stratum] == VALID) == pytest.approx(0.2, abs=0.03)


def test_names_do_not_matter():
    groups, strata = list("aabbccddeeff"), list("xyxyxyxyxyxy")
    renamed = [{"x": "left", "y": "right"}[stratum] for stratum in strata]
    assert np.array_equal(
        split_by_group(groups, strata, folds=3), split_by_group(groups, renamed, folds=3)
    )


def test_rare_stratum_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_by_group([f"g{n}" for n in range(20)], ["x"] * 19 + ["y"])


@pytest.mark.parametrize(
    ("groups", "strata", "options", "reason"),
    [
        (list("aaab"), list("xxxx"), {}, "2 groups of photos can't be split into 5 folds"),
        (list("abcde"), list("xyzxy"), {}, "no class of any dataset has 5 faces"),
        (list("abcdef"), list("xxxxxx"), {"fold": 5}, "fold 5 does not exist"),
        (list("abcdef"), list("xxxxxx"), {"fold": -1}, "fold -1 does not exist"),
    ],
)
def test_impossible_split_is_refused(groups, strata, options, reason):
    with pytest.raises(SplitError, match=reason):
        split_by_group(groups, strata, **options)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([TRAIN, VALID])), max_size=40)
)
def test_leaked_share_against_a_slow_loop(rows):
    groups, split = [row[0] for row in rows], [row[1] for row in rows]
    assert leaked_share(groups, split) == pytest.approx(leak_slowly(groups, split))


def test_leaky_split_is_refused():
    with pytest.raises(SplitError, match=r"leaks: 50\.0%"):
        check_no_leak(["a", "a", "b"], [TRAIN, VALID, VALID])


def test_naive_split_takes_its_share_of_faces():
    split = naive_split(103, folds=5, seed=3)
    assert (split == VALID).sum() == 21
    assert np.array_equal(split, naive_split(103, folds=5, seed=3))


def test_first_fold_follows_the_whole_most_closely():
    """One crowd of small faces can't be spread; the plain split is not validated on it."""
    groups = ["crowd"] * 60 + [f"g{n}" for n in range(240)]
    strata = ["small"] * 60 + ["small"] * 20 + ["large"] * 220
    shares = []
    for fold in range(5):
        split = split_by_group(groups, strata, fold=fold)
        valid = [s for s, part in zip(strata, split, strict=True) if part == VALID]
        shares.append(valid.count("small") / len(valid))
    away = [abs(share - 80 / 300) for share in shares]
    assert away == sorted(away)
    assert "crowd" not in {
        g for g, p in zip(groups, split_by_group(groups, strata), strict=True) if p == VALID
    }
