"""Out-of-fold views: every face judged by a network that saw neither it nor its duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.short_trainings.folds import assign_folds
from pipeline.short_trainings.short_training import Views
from pipeline.short_trainings.tasks import Plan, Task


@dataclass(frozen=True)
class FoldViews:
    """What each face's own network makes of it.

    Attributes:
        fold: (N,) the fold that each face was held out in; 0 for all when none was.
        probabilities: (N, 3) by the network of that fold.
        features: Of each fold's network, (N, D) of all faces: features of two networks can't be
            compared, so a face's neighbours are looked up among those of its own.
    """

    fold: np.ndarray
    probabilities: np.ndarray
    features: tuple[np.ndarray, ...]


def plan_folds(plan: Plan, folds: int) -> tuple[np.ndarray, list[Task]]:
    """One task per fold; folds spread source and label evenly and keep near-duplicates together.

    Args:
        plan: Faces, recipe and folder; the recipe's seed is that of the folds, too.
        folds: Number of folds, at least 2.

    Returns:
        (N,) fold of each face, from 0, and the tasks.

    Raises:
        SplitError: The photos can't be put into so many folds.
    """
    table = plan.table
    strata = (table["source"] + "/" + table["label"]).tolist()
    fold = assign_folds(table["group"].tolist(), strata, folds=folds, seed=plan.recipe.seed)
    tasks = [
        plan.make_task(f"fold {n + 1} of {folds}", f"fold-{n + 1}", table[fold != n], table)
        for n in range(folds)
    ]
    return fold, tasks


def plan_in_sample(plan: Plan) -> tuple[np.ndarray, list[Task]]:
    """One task whose network judges the very faces it was trained on; see `plan_folds`."""
    task = plan.make_task("in sample", "in-sample", plan.table, plan.table)
    return np.zeros(len(plan.table), int), [task]


def join_folds(fold: np.ndarray, views: Sequence[Views]) -> FoldViews:
    """Take each face's probabilities from the network of its fold.

    Args:
        fold: (N,) fold of each face.
        views: Of each fold's network, of all N faces.
    """
    probabilities = np.stack([view.probabilities for view in views])
    return FoldViews(
        fold, probabilities[fold, np.arange(len(fold))], tuple(view.features for view in views)
    )
