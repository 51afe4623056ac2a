"""Nearest neighbours of each face in the features of a network that never saw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data_prep.labels import CLASSES

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
