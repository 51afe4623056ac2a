"""Other orders that the merged one is measured against."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np

from data_prep.errors import UserError


class MissingRivalError(UserError, ImportError):
    """The library to compare with is not installed."""


def import_cleanlab() -> tuple[ModuleType, ModuleType]:
    """Its modules `filter` and `rank`.

    Raises:
        MissingRivalError: It isn't installed.
    """
    try:
        from cleanlab import filter as issues
        from cleanlab import rank
    except ImportError as error:
        raise MissingRivalError(
            "cleanlab isn't installed, and the benchmark compares with it: pip install cleanlab."
        ) from error
    return issues, rank


def score_by_issues(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cleanlab's `find_label_issues` as it comes, then the other faces by its default quality.

    Args:
        labels: (N,) given class index of each face.
        probabilities: (N, C) out-of-fold.

    Returns:
        (N,) higher is more suspect.
    """
    issues, rank = import_cleanlab()
    quality = rank.get_label_quality_scores(labels, probabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = issues.find_label_issues(
            labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    scores = 1 - quality
    scores[found] += 1
    return scores


def score_by_margin(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cleanlab's normalised margin, likewise."""
    _, rank = import_cleanlab()
    return 1 - rank.get_label_quality_scores(labels, probabilities, method="normalized_margin")
