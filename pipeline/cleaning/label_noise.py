"""How many labels of each class are wrong: the confident joint, with an interval.

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
section 3.1.

What it can't tell: it takes a network's sure mistakes for wrong labels, so it says too much where
the network is weak, as on tiny faces; and it is blind to mistakes that annotators make so regularly
that the network learns them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_prep.labels import CLASSES
from evaluate.measures.bootstrap import bootstrap_intervals

RESAMPLES = 400


def confident_joint(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Estimated counts of given against true class.

    A face counts as of the most probable class among those whose probability is at least what faces
    with that label have on average; a face that reaches none is left out. Rows are then scaled to
    the number of faces with that label.

    Args:
        labels: (N,) given class index of each face.
        probabilities: (N, C) out-of-fold.
        weights: (N,) how often each face counts; once when None.

    Returns:
        (C, C), given class in rows, true class in columns; a row sums to its label's count.

    >>> sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.95, 0.05], [0.1, 0.9]])
    >>> confident_joint(np.array([0, 0, 0, 1, 1]), sure).tolist()
    [[2.0, 1.0], [1.0, 1.0]]
    """
    classes = probabilities.shape[1]
    weight = np.ones(len(labels)) if weights is None else weights
    given = np.bincount(labels, weight, classes)
    own = probabilities[np.arange(len(labels)), labels]
    with np.errstate(invalid="ignore"):
        thresholds = np.bincount(labels, weight * own, classes) / given
    # A class that nobody was labelled as can't be confidently reached.
    thresholds = np.where(given > 0, thresholds, np.inf)
    above = probabilities >= thresholds - 1e-6
    likely = np.where(above, probabilities, -1).argmax(axis=1)
    sure = above.any(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[sure], likely[sure]), weight[sure])
    rows = joint.sum(axis=1)
    # A label that no face bears with confidence tells nothing: its faces count as right.
    joint[rows == 0] = np.eye(classes)[rows == 0]
    return joint * (given / np.maximum(joint.sum(axis=1), 1e-12))[:, None]


def estimate_wrong_labels(
    labels: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Expected number of wrong labels among those given as each class.

    Args:
        labels: (N,) given class index of each face.
        probabilities: (N, 3) out-of-fold.
        groups: Near-duplicate group of each face; groups are resampled, not faces.
        resamples: Bootstrap resamples.
        seed: Of the resamples.

    Returns:
        By class, estimate, low and high end of the 95 % interval. The interval tells what other
        photos of the same kind would have given, not how wrong the network is.
    """
    codes, names = pd.factorize(np.asarray(groups))

    def count(weights: np.ndarray) -> dict[str, np.ndarray]:
        wrong = [_count_wrong(labels, probabilities, row[codes]) for row in weights]
        return {"wrong": np.stack(wrong)}

    estimate = _count_wrong(labels, probabilities, np.ones(len(labels)))
    ends = bootstrap_intervals(
        count, photos=len(names), resamples=resamples, seed=seed, rows=len(labels)
    )["wrong"]
    return {
        name: [round(float(value), 1) for value in (estimate[i], *ends[:, i])]
        for i, name in enumerate(CLASSES)
    }


def _count_wrong(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    joint = confident_joint(labels, probabilities, weights)
    return joint.sum(axis=1) - np.diag(joint)
