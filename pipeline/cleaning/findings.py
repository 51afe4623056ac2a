"""How well an order finds wrong labels that are known to be wrong."""

from __future__ import annotations

import numpy as np


def order_faces(scores: np.ndarray) -> np.ndarray:
    """Rows from the most suspect to the least; equal scores in the order of the rows."""
    return np.argsort(-scores, kind="stable")


def recall_at_flipped(
    order: np.ndarray, wrong: np.ndarray, weights: np.ndarray, *, among: np.ndarray | None = None
) -> np.ndarray:
    """Share of the wrong labels among the first k faces, k as many as there are wrong ones.

    Precision at that k is the same number.

    Args:
        order: (N,) rows, the most suspect first.
        wrong: (N,) whether a face's label is wrong.
        weights: (B, N) how often each face counts in each of B resamples.
        among: (N,) which of the wrong ones are asked for; k stays the number of all.

    Returns:
        (B,) recall; NaN where nothing is asked for.

    >>> order, wrong = np.array([2, 0, 1, 3]), np.array([True, False, True, False])
    >>> recall_at_flipped(order, wrong, np.ones((1, 4))).tolist()
    [1.0]
    """
    sorted_weights = weights[:, order]
    before = sorted_weights.cumsum(axis=1) - sorted_weights
    count = (weights * wrong).sum(axis=1, keepdims=True)
    # A face that counts several times may lie in the first k by a part.
    inside = np.clip(count - before, 0, sorted_weights)
    asked = wrong if among is None else wrong & among
    total = (weights * asked).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return (inside * asked[order]).sum(axis=1) / np.where(total > 0, total, np.nan)


def average_precision(order: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under precision–recall: the sum of precision over steps of recall.

    Args:
        order: (N,) rows, the most suspect first.
        wrong: (N,) whether a face's label is wrong.
        weights: (B, N) how often each face counts in each of B resamples.

    Returns:
        (B,) area, NaN where no label is wrong; as scikit-learn's `average_precision_score`.
    """
    sorted_weights = weights[:, order]
    hits = sorted_weights * wrong[order]
    found = hits.cumsum(axis=1)
    seen = sorted_weights.cumsum(axis=1)
    total = found[:, -1]
    precision = found / np.maximum(seen, 1e-12)
    with np.errstate(invalid="ignore"):
        return (hits * precision).sum(axis=1) / np.where(total > 0, total, np.nan)


def precision_recall_curve(order: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each face of the order, (N,) each."""
    found = wrong[order].cumsum()
    return found / np.arange(1, len(order) + 1), found / max(found[-1], 1)
