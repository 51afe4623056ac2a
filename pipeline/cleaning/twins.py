"""Faces that stand in two near-duplicate photos, under one label here and another there."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd

from pipeline.short_trainings.crop_cache import load_crops

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
