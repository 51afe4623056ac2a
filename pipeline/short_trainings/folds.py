"""Folds for out-of-fold predictions: no face is judged by a network that saw its kin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_prep.split import VALID, check_no_leak, split_by_group


def assign_folds(
    groups: Sequence[str], strata: Sequence[str], *, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Number the fold in which each face is held out.

    Args:
        groups: Near-duplicate group of each face; a group lies whole in one fold.
        strata: What is to be spread evenly, such as source and class.
        folds: Number of folds, at least 2.
        seed: Of the shuffling.

    Returns:
        (N,) fold of each face, from 0.

    Raises:
        SplitError: Fewer groups than folds, or no stratum with as many faces as folds.

    >>> assign_folds(["a", "a", "b", "b"], ["x", "y", "x", "y"], folds=2).tolist()
    [1, 1, 0, 0]
    """
    numbers = np.full(len(groups), -1)
    for fold in range(folds):
        split = split_by_group(groups, strata, folds=folds, fold=fold, seed=seed)
        check_no_leak(groups, split.tolist())
        numbers[split == VALID] = fold
    return numbers
