"""The classifier alone, on annotated boxes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from evaluate.arrays import Detections, FloatArray, GroundTruth
from evaluate.measures.bootstrap import (
    LEVEL,
    bootstrap_intervals,
    describe_intervals,
    describe_values,
    mean_of_defined,
    share,
    tally,
)
from evaluate.measures.pairs import CROP_IOU, Pairs, pair_crops

_Z = 1.959963984540054
"""Quantile 0.975 of the standard normal distribution."""


def describe_classifier(
    truth: GroundTruth,
    crops: Detections,
    *,
    inclusive: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a classifier that was given the annotated boxes.

    Args:
        truth: Annotated faces.
        crops: One row per annotated face, with its own box, placed on the photos of `truth`. Its
            label is the answer.
        inclusive: See `evaluate.measures.matching.paired_iou`.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        `faces`, `answered`, `unanswered` and `rows_on_no_face` (numbers); `support`, answered faces
        by class; `accuracy`, `macro_recall`, `macro_f1`; `recall`, `precision`, `f1` by class;
        `confusion` (rows annotated, columns predicted); `wilson`, intervals of `recall` by class as
        if every face were drawn on its own; `intervals` (95 %, by the same names); `definitions`.
        Whatever is not defined is None.

    Raises:
        CropsError: More than half of the faces have no row.
    """
    pairs = pair_crops(truth, crops, inclusive=inclusive)
    confusion = count_answers(truth, crops, pairs)
    total = confusion.sum(axis=0)
    right, support = np.diagonal(total), total.sum(axis=1)
    values = {name: array[0] for name, array in compute_classifier(confusion).items()}
    intervals = None
    if resamples:
        ends = bootstrap_intervals(
            partial(compute_classifier, confusion),
            photos=pairs.photos,
            resamples=resamples,
            seed=seed,
            rows=total.size,
        )
        intervals = describe_intervals(ends, truth.classes)
    answered = int(pairs.found.sum())
    return {
        "faces": len(pairs.rows),
        "answered": answered,
        "unanswered": len(pairs.rows) - answered,
        "rows_on_no_face": len(pairs.false),
        "support": dict(zip(truth.classes, support.astype(np.int64).tolist(), strict=True)),
        **describe_values(values, truth.classes),
        "confusion": {
            "rows": list(truth.classes),
            "columns": list(truth.classes),
            "counts": total.astype(np.int64).tolist(),
        },
        "wilson": describe_intervals({"recall": wilson_interval(right, support)}, truth.classes)[
            "recall"
        ],
        "intervals": intervals,
        "definitions": _define(inclusive, resamples, seed),
    }


def count_answers(truth: GroundTruth, detections: Detections, pairs: Pairs) -> FloatArray:
    """Count annotated against predicted classes of the faces that have a detection.

    Returns:
        (P, C, C) counts per photo, rows annotated, columns predicted.
    """
    found = pairs.found_only()
    size = len(truth.classes)
    cells = found.labels * size + detections.labels[found.rows]
    counts = tally(found.photo, cells, photos=found.photos, size=size * size)
    return counts.reshape(-1, size, size)


def compute_classifier(
    confusion: FloatArray, weights: FloatArray | None = None
) -> Mapping[str, FloatArray]:
    """The numbers of `describe_classifier`, as fractions; NaN where not defined.

    Args:
        confusion: (P, C, C) from `count_answers`.
        weights: (B, P) how often each photo counts; once each when None, so that B is 1.

    Returns:
        By name (B,), or (B, C) for `recall`, `precision` and `f1`.
    """
    photos, size, _ = confusion.shape
    if weights is None:
        weights = np.ones((1, photos))
    counts = (weights @ confusion.reshape(photos, -1)).reshape(-1, size, size)
    right = np.diagonal(counts, axis1=1, axis2=2)
    support, predicted = counts.sum(axis=2), counts.sum(axis=1)
    recall = share(right, support)
    # Without a face of the class there is nothing to be right about, whatever was predicted.
    f1 = np.where(support > 0, share(2 * right, support + predicted), np.nan)
    return {
        "accuracy": share(right.sum(axis=1), support.sum(axis=1)),
        "macro_recall": mean_of_defined(recall),
        "macro_f1": mean_of_defined(f1),
        "recall": recall,
        "precision": share(right, predicted),
        "f1": f1,
    }


def wilson_interval(part: FloatArray, whole: FloatArray) -> FloatArray:
    """95 % interval of a share, as if each of the whole were drawn on its own.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22 (1927), 209-212.

    Args:
        part: (C,) counts.
        whole: (C,) counts they are part of.

    Returns:
        (2, C): lower and upper ends; NaN where there is no whole.
    """
    rate = share(part, whole)
    spread = share(np.full(whole.shape, _Z**2), whole)
    middle = rate + spread / 2
    reach = np.sqrt(spread * (rate * (1 - rate) + spread / 4))
    return np.stack([middle - reach, middle + reach]) / (1 + spread)


def _define(inclusive: bool, resamples: int, seed: int) -> dict[str, Any]:
    """What the numbers mean."""
    return {
        "matching": f"each annotated face that is not difficult with the row of its own box (IoU "
        f"{CROP_IOU} or more); unanswered faces have none and are in no number",
        "inclusive": inclusive,
        "recall": "per class, share of its faces with the right label",
        "precision": "per class, share of the faces with its label that are of it",
        "f1": "harmonic mean of recall and precision: twice the right ones over support plus "
        "predicted",
        "macro": "mean over the classes with answered faces",
        "wilson": "Wilson's score interval of recall on faces, which takes the faces of a photo "
        "for independent; a check on the intervals by photo",
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap by photo",
            "resamples": resamples,
            "seed": seed,
        },
    }
