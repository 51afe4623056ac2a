"""Training and validation splits that share no photo and no near-duplicate."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from data_prep.base.errors import UserError

TRAIN, VALID = "train", "valid"
TEST = "test"  # Only where a split is kept that has it: neither trained nor validated on.


class SplitError(UserError, ValueError):
    """A split that can't be made, or that would leak."""


def split_by_group(
    groups: Sequence[str], strata: Sequence[str], *, folds: int = 5, fold: int = 0, seed: int = 0
) -> np.ndarray:
    """Split faces so that no group is on both sides and each stratum is spread evenly.

    Folds are numbered by how closely they follow the strata of the whole, the closest first. A
    large group, such as six photos of one crowd, lies whole in one fold, and a split that happened
    to be validated on that one would mostly measure that crowd.

    `groups` are those of the faces: a photo and every near-duplicate of it. `strata` are what is to
    be spread evenly, such as source, class and size. Gives `train` or `valid` for each face; `fold`
    is the part for validation (of 5 folds: 80/20).

    Raises:
        SplitError: Fewer groups than folds, no stratum with as many faces as folds, or no such
            fold.
    """
    if not 0 <= fold < folds:
        raise SplitError(f"fold {fold} does not exist: use 0 to {folds - 1}.")
    if len(set(groups)) < folds:
        raise SplitError(
            f"{len(set(groups))} groups of photos can't be split into {folds} folds: "
            "add photos or lower --folds."
        )
    # Sorted codes make the split independent of how groups and strata are called upstream.
    codes = pd.factorize(np.asarray(strata), sort=True)[0]
    if np.bincount(codes).max() < folds:
        raise SplitError(
            f"no class of any dataset has {folds} faces, one for each fold: "
            "add photos or lower --folds."
        )
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # It warns of strata with fewer faces than folds, which the audit shows anyway.
        warnings.simplefilter("ignore", UserWarning)
        parts = [part for _, part in splitter.split(codes, codes, np.asarray(groups))]
    parts.sort(key=lambda part: _deviation(codes, part))
    split = np.full(len(codes), TRAIN, dtype=object)
    split[parts[fold]] = VALID
    return split


def _deviation(codes: np.ndarray, part: np.ndarray) -> float:
    """Share of the part's faces that would have to change stratum to match the whole's mix."""
    whole = np.bincount(codes) / len(codes)
    mine = np.bincount(codes[part], minlength=len(whole)) / max(len(part), 1)
    return float(np.abs(mine - whole).sum() / 2)


def leaked_share(groups: Sequence[str], split: Sequence[str]) -> float:
    """Share of validation faces whose group also has faces in training.

    >>> leaked_share(["a", "a", "b"], ["train", "valid", "valid"])
    0.5
    """
    group, part = np.asarray(groups), np.asarray(split)
    valid = group[part == VALID]
    return float(np.isin(valid, group[part == TRAIN]).mean()) if len(valid) else 0.0


def naive_split(count: int, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """The split by crop that published notebooks use, to show how much it leaks."""
    split = np.full(count, TRAIN, dtype=object)
    split[np.random.default_rng(seed).permutation(count)[: round(count / folds)]] = VALID
    return split
