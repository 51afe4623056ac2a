"""What speaks against labels: networks' sure disagreement, look-alikes, and duplicate faces.

The confident joint is that of Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating
Uncertainty in Dataset Labels", section 3.1. What it can't tell: it takes a network's sure mistakes
for wrong labels, so it counts too many where the network is weak, as on tiny faces; and it is blind
to mistakes that annotators make so regularly that the network learns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
import pandas as pd

from data_prep.base.labels import CLASSES
from evaluate.measures.bootstrap import measure
from pipeline.training.short import load_crops

RESAMPLES = 400


def confident_joint(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Estimated counts of given against true class, (C, C); a row sums to its label's count.

    A face counts as of the most probable class among those whose out-of-fold probability, (N, C),
    is at least what faces with that label have on average; a face that reaches none is left out.
    Rows are then scaled to the number of faces with that label. `weights` is how often each of the
    N faces counts.

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
) -> dict[str, list[float]]:
    """Expected number of wrong labels among those given as each class.

    From the given class index of N faces, out-of-fold probabilities (N, 3), and near-duplicate
    groups; groups are resampled, not faces.

    Returns:
        By class, estimate, low and high end of the 95 % interval: what other photos of the same
        kind would have given, not how wrong the network is.
    """
    codes, names = pd.factorize(np.asarray(groups))

    def count_wrong(weights: np.ndarray) -> dict[str, np.ndarray]:
        joints = np.stack([confident_joint(labels, probabilities, row[codes]) for row in weights])
        return {"wrong": joints.sum(axis=2) - np.diagonal(joints, axis1=1, axis2=2)}

    axes = {"wrong": (CLASSES,)}
    counts, ends = measure(count_wrong, photos=len(names), resamples=resamples, axes=axes)
    assert ends is not None
    return {
        name: [round(value, 1) for value in (count, *ends["wrong"][name])]
        for name, count in counts["wrong"].items()
    }


NEIGHBOURS = 30
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Neighbours:
    """The K most similar faces of each of N faces, all from other photos."""

    index: np.ndarray  # (N, K) rows, most similar first; -1 where there are fewer
    similarity: np.ndarray  # (N, K) cosine of features taken from their mean; 0 where none is


def find_neighbours(
    features: Sequence[np.ndarray],
    fold: np.ndarray,
    groups: Sequence[str],
    *,
    count: int = NEIGHBOURS,
) -> Neighbours:
    """Look up every face's neighbours by the network that it was held out from.

    Features after a ReLU all lie in one corner of space; taken from their mean they tell apart.
    `features` are of each fold's network, (N, D) of all faces; neighbours are of other groups.
    """
    codes = pd.factorize(np.asarray(groups))[0]
    count = min(count, len(codes))
    index = np.full((len(codes), count), -1)
    similarity = np.zeros((len(codes), count), np.float32)
    for number, own in enumerate(features):
        units = own.astype(np.float32)
        units -= units.mean(axis=0)
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-9)
        held = np.flatnonzero(fold == number)
        for start in range(0, len(held), _ROWS_AT_ONCE):
            rows = held[start : start + _ROWS_AT_ONCE]
            cosine = units[rows] @ units.T
            cosine[codes[rows, None] == codes[None]] = -np.inf
            nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
            found = np.take_along_axis(cosine, nearest, axis=1)
            index[rows] = np.where(np.isfinite(found), nearest, -1)
            similarity[rows] = np.where(np.isfinite(found), found, 0)
    return Neighbours(index, similarity)


def vote(neighbours: Neighbours, labels: np.ndarray) -> np.ndarray:
    """The neighbours' labels, (N, 3) shares, each counting as much as it is similar.

    A third each for a face without neighbours.
    """
    weights = np.maximum(neighbours.similarity, 0) * (neighbours.index >= 0)
    votes = np.stack(
        [(weights * (labels[neighbours.index] == c)).sum(axis=1) for c in range(len(CLASSES))],
        axis=1,
    )
    total = votes.sum(axis=1, keepdims=True)
    return np.divide(votes, total, out=np.full_like(votes, 1 / len(CLASSES)), where=total > 0)


COMPARED = 96
"""Longest side in pixels that crops are kept at."""

SIDE = 24
"""Pixels that crops are compared at: more than small faces have, enough to tell faces apart."""

ALIKE = 0.85
"""Correlation from which two crops show the same face at the same moment."""


def find_duplicate_faces(faces: pd.DataFrame) -> list[list[int]]:
    """Match the faces of near-duplicate photos by how alike their crops are, mirrored or not.

    Two faces are duplicates when they lie in different photos of one group, each is the other's
    best match in that photo, and their crops' grey levels correlate by `ALIKE` or more. `crop` is
    a path that can be opened. Gives for each face the rows of its duplicates, ascending.
    """
    duplicates: list[list[int]] = [[] for _ in range(len(faces))]
    photo = pd.factorize(faces["source"] + "\n" + faces["image"])[0]
    paths = faces["crop"].to_numpy()
    groups = [
        rows
        for rows in faces.reset_index(drop=True).groupby("group", sort=True).indices.values()
        if len(np.unique(photo[rows])) > 1
    ]
    crops = load_crops({str(path) for rows in groups for path in paths[rows]}, COMPARED)
    for rows in groups:
        upright = np.stack([_describe(crops[path]) for path in paths[rows]])
        mirrored = np.stack([_describe(crops[path][:, ::-1]) for path in paths[rows]])
        alike = np.maximum(upright @ upright.T, upright @ mirrored.T)
        for first, second in combinations(np.unique(photo[rows]), 2):
            here, there = (np.flatnonzero(photo[rows] == one) for one in (first, second))
            pairs = alike[np.ix_(here, there)]
            for one, other in enumerate(pairs.argmax(axis=1)):
                if pairs[:, other].argmax() == one and pairs[one, other] >= ALIKE:
                    duplicates[rows[here[one]]].append(int(rows[there[other]]))
                    duplicates[rows[there[other]]].append(int(rows[here[one]]))
    return [sorted(found) for found in duplicates]


def _describe(crop: np.ndarray) -> np.ndarray:
    """Grey levels from their mean, as a vector of length 1; of length 0 for an even crop."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return (small / max(float(np.linalg.norm(small)), 1e-6)).ravel()
