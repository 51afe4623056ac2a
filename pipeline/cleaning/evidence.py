"""How many labels of each class are wrong: the confident joint, with an interval.

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
section 3.1.

What it can't tell: it takes a network's sure mistakes for wrong labels, so it says too much where
the network is weak, as on tiny faces; and it is blind to mistakes that annotators make so regularly
that the network learns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from data_prep.base.labels import CLASSES
from evaluate.measures.bootstrap import bootstrap_intervals
from pipeline.training.short import load_crops

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


NEIGHBOURS = 30
SIMILAR = 8
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Neighbours:
    """The K most similar faces of each of N faces, all from other photos.

    Attributes:
        index: (N, K) rows of the faces, most similar first; -1 where there are fewer.
        similarity: (N, K) cosine of the features, taken from their mean; 0 where there is none.
    """

    index: np.ndarray
    similarity: np.ndarray


def find_neighbours(
    features: Sequence[np.ndarray],
    fold: np.ndarray,
    groups: Sequence[str],
    *,
    count: int = NEIGHBOURS,
) -> Neighbours:
    """Look up every face's neighbours by the network that it was held out from.

    Features after a ReLU all lie in one corner of space; taken from their mean they tell apart.

    Args:
        features: Of each fold's network, (N, D) of all faces.
        fold: (N,) the fold each face was held out in.
        groups: Near-duplicate group of each face; neighbours are of other groups.
        count: Neighbours K per face.
    """
    codes = pd.factorize(np.asarray(groups))[0]
    count = min(count, len(codes))
    index = np.full((len(codes), count), -1)
    similarity = np.zeros((len(codes), count), np.float32)
    for number, own in enumerate(features):
        units = _to_units(own)
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
    """The neighbours' labels, each counting as much as it is similar.

    Args:
        neighbours: Of N faces.
        labels: (N,) class index of each face.

    Returns:
        (N, 3) shares that sum to 1 in each row; a third each for a face without neighbours.
    """
    weights = np.maximum(neighbours.similarity, 0) * (neighbours.index >= 0)
    votes = np.stack(
        [(weights * (labels[neighbours.index] == c)).sum(axis=1) for c in range(len(CLASSES))],
        axis=1,
    )
    total = votes.sum(axis=1, keepdims=True)
    even = np.full_like(votes, 1 / len(CLASSES))
    return np.divide(votes, total, out=even, where=total > 0)


def _to_units(features: np.ndarray) -> np.ndarray:
    centred = features.astype(np.float32)
    centred -= centred.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.maximum(length, 1e-9)


COMPARED = 96
"""Longest side in pixels that crops are kept at."""

SIDE = 24
"""Pixels that crops are compared at: more than small faces have, enough to tell faces apart."""

LIKE = 0.85
"""Correlation from which two crops show the same face at the same moment."""


def find_twins(faces: pd.DataFrame) -> list[list[int]]:
    """Match the faces of near-duplicate photos by how alike their crops are, mirrored or not.

    Two faces are twins when they lie in different photos of one group, each is the other's best
    match in that photo, and their crops' grey levels correlate by `LIKE` or more.

    Args:
        faces: N rows of `faces.csv`, `crop` a path that can be opened.

    Returns:
        For each face the rows of its twins, ascending; mostly none.
    """
    twins: list[list[int]] = [[] for _ in range(len(faces))]
    crops = load_crops(faces.loc[_rows_in_groups(faces), "crop"], COMPARED)
    photo = pd.factorize(faces["source"] + "\n" + faces["image"])[0]
    paths = faces["crop"].tolist()
    for rows in faces.reset_index(drop=True).groupby("group", sort=True).indices.values():
        photos = np.unique(photo[rows])
        if len(photos) < 2:
            continue
        upright = np.stack([_describe(crops[paths[row]]) for row in rows])
        mirrored = np.stack([_describe(crops[paths[row]][:, ::-1]) for row in rows])
        alike = np.maximum(upright @ upright.T, upright @ mirrored.T)
        for position, first in enumerate(photos):
            for second in photos[position + 1 :]:
                here, there = (np.flatnonzero(photo[rows] == p) for p in (first, second))
                for one, other in _match(alike[np.ix_(here, there)]):
                    twins[rows[here[one]]].append(int(rows[there[other]]))
                    twins[rows[there[other]]].append(int(rows[here[one]]))
    return [sorted(found) for found in twins]


def _rows_in_groups(faces: pd.DataFrame) -> np.ndarray:
    """(N,) whether a face's group has several photos: the only ones that can have twins."""
    photos = (faces["source"] + "\n" + faces["image"]).groupby(faces["group"]).transform("nunique")
    return (photos > 1).to_numpy()


def _match(alike: np.ndarray) -> list[tuple[int, int]]:
    """Pairs that are each other's best match, and alike enough."""
    best = alike.argmax(axis=1)
    return [
        (one, int(other))
        for one, other in enumerate(best)
        if alike[:, other].argmax() == one and alike[one, other] >= LIKE
    ]


def _describe(crop: np.ndarray) -> np.ndarray:
    """Grey levels from their mean, as a vector of length 1; of length 0 for an even crop."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return (small / max(float(np.linalg.norm(small)), 1e-6)).ravel()
