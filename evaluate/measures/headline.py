"""The headline numbers, the same under other definitions, and the classifier alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.base.labels import CLASS_WORDS
from evaluate.arrays import FloatArray
from evaluate.measures.average_precision import Rules, average_precisions, rank_classes
from evaluate.measures.bootstrap import (
    compare,
    describe,
    mean_of_defined,
    share,
    to_interval,
    to_number,
    weigh,
)
from evaluate.measures.case import IOUS, Case, describe_confusion, read_definitions
from evaluate.measures.matching import MATCH_IOU, Overlaps

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]  # What is written: JSON objects, lists, texts, numbers and null.

PER_CLASS = frozenset({"ap50", "ap75", "recall", "detected"})
"""Headline numbers of which there is one per class."""

HEADLINES: dict[str, str] = {
    "map50": "mAP at IoU 0.50",
    "map75": "mAP at IoU 0.75",
    "map50_95": "mAP at IoU 0.50 to 0.95",
    "ap50": "AP at IoU 0.50",
    "face_ap50": "face AP at IoU 0.50",
    "face_ap75": "face AP at IoU 0.75",
    "face_recall": "faces found",
    "detected": "found",
    "accuracy": "accuracy on found faces",
    "macro_recall": "macro recall on found faces",
    "recall": "recall on found faces",
}
"""Words for the headline numbers, in the order they are shown; the rest is in the record."""

SIGNS = {"map50": "mAP@0.5", "map75": "mAP@0.75", "map50_95": "mAP@[.5:.95]", "ap50": "AP@0.5"}
SIGNS |= {"face_ap50": "face AP@0.5", "face_ap75": "face AP@0.75"}
"""What average precisions are called for short."""


def compute_headline(case: Case, weights: FloatArray) -> dict[str, FloatArray]:
    """The headline numbers, as fractions; NaN where a number is not defined.

    By name (B,), or (B, C) for those of `PER_CLASS`, from weights (B, P): how often each photo
    counts. What each is stands under `definitions` of the record.
    """
    *by_class, faces = average_precisions(case.hits, weights)
    aps = np.stack(by_class, axis=1)  # (B, classes, thresholds)
    at_50, at_75 = aps[:, :, IOUS.index(0.5)], aps[:, :, IOUS.index(0.75)]
    confusion = weigh(weights, case.confusion)
    annotated = confusion[:, :-1].sum(axis=2)
    found = confusion[:, :-1, :-1].sum(axis=2)
    return {
        "map50": mean_of_defined(at_50),
        "map75": mean_of_defined(at_75),
        "map50_95": mean_of_defined(aps.mean(axis=2)),
        "ap50": at_50,
        "ap75": at_75,
        "face_ap50": faces[:, 0],
        "face_ap75": faces[:, 1],
        **rate_answers(confusion[:, :-1, :-1]),
        "face_recall": share(found.sum(axis=1), annotated.sum(axis=1)),
        "detected": share(found, annotated),
    }


def rate_answers(confusion: FloatArray) -> dict[str, FloatArray]:
    """`accuracy` (B,), `recall` (B, C), `macro_recall` (B,) from counts annotated × predicted."""
    right, support = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    recall = share(right, support)
    return {
        "accuracy": share(right.sum(axis=1), support.sum(axis=1)),
        "recall": recall,
        "macro_recall": mean_of_defined(recall),
    }


def describe_headline(case: Case) -> Record:
    """The headline numbers, as of `compute_headline`, and what they were measured on."""
    truth, detections = case.truth, case.detections
    numbers, intervals = case.measure(
        partial(compute_headline, case), dict.fromkeys(PER_CLASS, (truth.classes,))
    )
    faces = np.bincount(truth.labels[~truth.difficult], minlength=len(truth.classes))
    return {
        **numbers,
        "confusion": describe_confusion(truth.classes, case.confusion),
        "counts": {
            "photos": len(truth.photos),
            "photos_without_predictions": len(truth.photos) - len(np.unique(detections.photo)),
            "faces": dict(zip(truth.classes, faces.tolist(), strict=True)),
            "difficult_faces": int(truth.difficult.sum()),
            "predictions": len(detections),
            "predictions_left_out": case.left_out,
        },
        "intervals": intervals,
        "definitions": case.define(
            "headline",
            ious=list(IOUS),
            ranked_by="detection × class probability of every class"
            if case.options.all_classes
            else "score",
        ),
        "warnings": [*truth.warnings, *case.warnings],
    }


def tabulate_headline(record: Record) -> pd.DataFrame:
    """The headline numbers of a record with their intervals, as fractions: a row each."""
    import pandas as pd

    rows = []
    intervals = record["intervals"] or {}
    for name in HEADLINES:
        value, ends = record[name], intervals.get(name)
        if name not in PER_CLASS:
            value, ends = {"": value}, {"": ends}
        for label, one in value.items():
            rows.append((name, label, one, *((ends or {}).get(label) or (None, None))))
    return pd.DataFrame(rows, columns=["name", "class", "value", "low", "high"])


def summarise(record: Record) -> str:
    """The result in one sentence, from the confusion of what is shown to a user."""
    points = record["operating_points"]
    counts = np.array(points["confusion"]["counts"])
    asked, right = counts[:-1].sum(axis=1), np.diagonal(counts)[:-1]
    found, false = counts[:-1, :-1].sum(), counts[-1].sum()
    if not asked.any():
        return "There is no annotated face to measure against."
    said = f"finds {found:,} of {asked.sum():,} face{'s' * bool(asked.sum() > 1)}"
    if found:
        every = "it" if found == 1 else "all of them"
        named = every if right.sum() == found else f"{right.sum():,} of those {found:,}"
        said += f", names {named} right"
    if np.count_nonzero(asked) > 1:
        low = int(np.nanargmin(share(right.astype(float), asked.astype(float))))
        name = points["confusion"]["rows"][low]
        said += f"; weakest: {CLASS_WORDS.get(name, name)}, {right[low]:,} of {asked[low]:,}"
    if false:
        said += f"; {false:,} {'box is' if false == 1 else 'boxes are'} on no face"
    return f"From a detection score of {points['thresh']:g} on, it {said}."


def describe_difference(case: Case) -> Record | None:
    """Headline numbers less those of the other table, by `bootstrap.compare`; None without one."""
    if case.other is None:
        return None
    axes = dict.fromkeys(PER_CLASS, (case.truth.classes,))
    sides = (case, replace(case, detections=case.other))
    mine, other = (partial(compute_headline, side) for side in sides)
    return compare(mine, other, axes=axes, **case.resampling)


def list_conventions(case: Case) -> list[dict[str, Any]]:
    """List mAP at IoU 0.5 under each definition in use; `headline` marks that of the headline."""
    detections, classes, own = case.detections, case.truth.classes, case.options.rules
    other = case.overlap(Rules(inclusive=not own.inclusive))
    by_sides = {own.inclusive: case.overlaps, not own.inclusive: other}
    rows: list[dict[str, Any]] = []
    for told in read_definitions()["conventions"]:
        rules = Rules(**told.get("rules", {}))
        if "coco" in told:
            figures = {name: case.coco[name] for name in ("map50", "ap50")}
        elif rules.all_classes and detections.probabilities is None:
            continue
        else:
            shown = np.flatnonzero(detections.detection >= told.get("least", 0.0))
            (aps,) = measure_at(by_sides[rules.inclusive].take(shown), rules, (MATCH_IOU,))
            figures = {"map50": to_number(mean_of_defined(aps)), "ap50": describe(aps, (classes,))}
        rows.append(
            {
                "name": told["name"],
                **figures,
                "why": told["why"],
                "headline": not {"least", "coco"} & told.keys() and rules == own,
            }
        )
    return rows


def describe_at(case: Case) -> list[dict[str, Any]]:
    """AP at IoU thresholds of the user's choice: rows with `iou`, `map` and `ap` by class."""
    ious = sorted(set(case.options.iou))
    aps = measure_at(case.overlaps, case.options.rules, ious) if ious else ()
    return [
        {
            "iou": iou,
            "map": to_number(mean_of_defined(values)),
            "ap": describe(values, (case.truth.classes,)),
        }
        for iou, values in zip(ious, aps, strict=True)
    ]


def measure_at(overlaps: Overlaps, rules: Rules, ious: Sequence[float]) -> FloatArray:
    """AP of each class at each threshold, (T, C); NaN for a class without ground truth."""
    once = np.ones((1, len(overlaps.truth.photos)))
    ranked = rank_classes(overlaps, rules, ious)
    return np.concatenate(average_precisions(ranked, once)).T


_Z = 1.959963984540054  # Quantile 0.975 of the standard normal distribution.


def describe_classifier(case: Case) -> dict[str, Any] | None:
    """Measure the labels of a classifier that was given the annotated boxes; None without crops."""
    truth, crops, pairs = case.truth, case.crops, case.crop_pairs
    if crops is None or pairs is None:
        return None
    confusion = case.count_confusion(pairs, crops)[:, :-1, :-1]

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
        compute, dict.fromkeys(("recall", "precision", "f1"), (truth.classes,))
    )
    return {
        "faces": len(pairs.rows),
        "answered": int(pairs.found.sum()),
        "unanswered": int((~pairs.found).sum()),
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
        "definitions": case.define("classifier_alone"),
    }


def wilson_interval(part: FloatArray, whole: FloatArray) -> FloatArray:
    """95 % interval (2, C) of counts (C,) in a whole (C,), as if all were drawn on their own.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22 (1927), 209-212. NaN where there is no whole.
    """
    rate = share(part, whole)
    spread = share(np.full(whole.shape, _Z**2), whole)
    middle = rate + spread / 2
    reach = np.sqrt(spread * (rate * (1 - rate) + spread / 4))
    return np.stack([middle - reach, middle + reach]) / (1 + spread)
