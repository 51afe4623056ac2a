"""What makes predictions doubtful, though they can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluate.records import Detections, GroundTruth

OUTSIDE = 2.0
"""Pixels a box may reach over the border of its photo without a word: detectors round."""


def find_doubts(path: Path, detections: Detections, truth: GroundTruth) -> list[str]:
    """Warnings for a person; all rows are kept.

    Args:
        path: Where the predictions are from.
        detections: Placed on the photos of `truth`.
        truth: Annotated faces.
    """
    if not len(detections):
        return [f"{path}: no prediction on any of the {len(truth.photos)} photos measured."]
    return [*_find_doubles(path, detections), *_find_outside(path, detections, truth)]


def compare_coverage(mine: Detections, other: Detections) -> list[str]:
    """A warning when one of two tables to compare has photos without a row that the other has."""
    first, second = set(mine.photo.tolist()), set(other.photo.tolist())
    if first == second:
        return []
    return [
        f"{len(first - second)} photos have predictions here and none in the other table, "
        f"{len(second - first)} the other way round: was the same set of photos predicted?"
    ]


def _find_doubles(path: Path, rows: Detections) -> list[str]:
    keys = np.column_stack([rows.photo, rows.labels, rows.boxes])
    doubles = len(keys) - len(np.unique(keys, axis=0))
    if not doubles:
        return []
    return [
        f"{doubles} rows of {path} repeat the photo, box and label of another row; they are kept, "
        "and at most one of them can be a hit."
    ]


def _find_outside(path: Path, rows: Detections, truth: GroundTruth) -> list[str]:
    if truth.sizes is None:
        return []
    sizes = truth.sizes[rows.photo]
    # Comparisons with NaN, an unknown size, are false.
    over = (rows.boxes[:, 2:] > sizes + OUTSIDE).any(axis=1)
    outside = np.flatnonzero(over | (rows.boxes[:, :2] < -OUTSIDE).any(axis=1))
    if not len(outside):
        return []
    row = outside[0]
    shown = ", ".join(f"{value:g}" for value in rows.boxes[row])
    width, height = sizes[row]
    return [
        f"{len(outside)} boxes of {path} reach over the border of their photo, the first: ({shown})"
        f" in {truth.photos[rows.photo[row]]}, {width:g} × {height:g} px. They are kept. If there"
        " are many: are the numbers corners (see --pred-boxes) and pixels of this size?"
    ]
