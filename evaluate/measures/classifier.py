"""The classifier alone, on annotated boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluate.arrays import FloatArray
from evaluate.measures.bootstrap import (
    describe,
    mean_of_defined,
    share,
    tally,
    to_interval,
    weigh,
)
from evaluate.measures.case import CROP_IOU, Case
from evaluate.measures.headline import rate_answers

_Z = 1.959963984540054
"""Quantile 0.975 of the standard normal distribution."""


def describe_classifier(case: Case) -> dict[str, Any] | None:
    """Measure a classifier that was given the annotated boxes; None without crops.

    Its label is the answer.

    Raises:
        CropsError: More than half of the faces have no row.
    """
    truth, crops, pairs = case.truth, case.crops, case.crop_pairs
    if crops is None or pairs is None:
        return None
    found, classes = pairs.found_only(), len(truth.classes)
    confusion = tally(
        *(found.photo, found.labels, crops.labels[found.rows]),
        photos=case.photos,
        shape=(classes, classes),
    )

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        counts = weigh(weights, confusion)
        right = np.diagonal(counts, axis1=1, axis2=2)
        support, predicted = counts.sum(axis=2), counts.sum(axis=1)
        rates = rate_answers(counts)
        # Without a face of the class there is nothing to be right about, whatever was predicted.
        f1 = np.where(support > 0, share(2 * right, support + predicted), np.nan)
        return {
            "accuracy": rates["accuracy"],
            "macro_recall": rates["macro_recall"],
            "macro_f1": mean_of_defined(f1),
            "recall": rates["recall"],
            "precision": share(right, predicted),
            "f1": f1,
        }

    total = confusion.sum(axis=0)
    right, support = np.diagonal(total), total.sum(axis=1)
    numbers, intervals = case.measure(
        compute, dict.fromkeys(("recall", "precision", "f1"), (truth.classes,)), rows=total.size
    )
    return {
        "faces": len(pairs.rows),
        "answered": len(found.rows),
        "unanswered": len(pairs.rows) - len(found.rows),
        "rows_on_no_face": len(pairs.false),
        "support": dict(zip(truth.classes, support.astype(int).tolist(), strict=True)),
        **numbers,
        "confusion": {
            "rows": list(truth.classes),
            "columns": list(truth.classes),
            "counts": total.astype(int).tolist(),
        },
        "wilson": describe(wilson_interval(right, support).T, (truth.classes,), to_interval),
        "intervals": intervals,
        "definitions": {
            "matching": "each annotated face that is not difficult with the row of its own box "
            f"(IoU {CROP_IOU} or more); unanswered faces have none and are in no number",
            "inclusive": case.inclusive,
            "recall": "per class, share of its faces with the right label",
            "precision": "per class, share of the faces with its label that are of it",
            "f1": "harmonic mean of recall and precision: twice the right ones over support plus "
            "predicted",
            "macro": "mean over the classes with answered faces",
            "wilson": "Wilson's score interval of recall on faces, which takes the faces of a "
            "photo for independent; a check on the intervals by photo",
            "intervals": case.plan.define_intervals(),
        },
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
