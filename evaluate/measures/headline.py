"""The headline numbers of a detector with a classifier behind it, and their differences."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from evaluate.arrays import FloatArray
from evaluate.measures.average_precision import average_precisions
from evaluate.measures.bootstrap import compare, mean_of_defined, share, weigh
from evaluate.measures.case import IOUS, Case, Matches, describe_confusion, match_predictions
from evaluate.measures.matching import MATCH_IOU

Record = dict[str, Any]
"""What is written: JSON objects, lists, texts, numbers and null."""

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


def compute_headline(
    matches: Matches, weights: FloatArray, *, eleven_point: bool = False
) -> dict[str, FloatArray]:
    """The headline numbers, as fractions; NaN where a number is not defined.

    `map50`, `map75`, `map50_95`: AP averaged over the classes with annotated faces, the last also
    over `IOUS`. `ap50`, `ap75`: AP of each class. `face_ap50`, `face_ap75`: AP of faces whatever
    their class. `accuracy`: share of matched faces with the right label; `recall`: the same among
    the faces of each class; `macro_recall`: its mean over the classes. `face_recall`: share of
    faces that are matched; `detected`: the same among the faces of each class. By name (B,), or
    (B, C) for those of `PER_CLASS`, from weights (B, P): how often each photo counts.
    """
    *by_class, faces = (
        average_precisions(hits, weights, eleven_point=eleven_point)
        for hits in (*matches.classes, matches.faces)
    )
    aps = np.stack(by_class, axis=1)  # (B, classes, thresholds)
    at_50, at_75 = aps[:, :, IOUS.index(0.5)], aps[:, :, IOUS.index(0.75)]
    confusion = weigh(weights, matches.confusion)
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
    truth, detections, matches = case.truth, case.detections, case.matches
    numbers, intervals = case.measure(
        partial(compute_headline, matches, eleven_point=case.plan.rules.eleven_point),
        dict.fromkeys(PER_CLASS, (truth.classes,)),
        rows=len(matches.faces.photo),
    )
    faces = np.bincount(truth.labels[~truth.difficult], minlength=len(truth.classes))
    return {
        **numbers,
        "confusion": describe_confusion(truth.classes, matches.confusion),
        "counts": {
            "photos": len(truth.photos),
            "photos_without_predictions": len(truth.photos) - len(np.unique(detections.photo)),
            "faces": dict(zip(truth.classes, faces.tolist(), strict=True)),
            "difficult_faces": int(truth.difficult.sum()),
            "predictions": len(detections),
            "predictions_left_out": case.left_out,
        },
        "intervals": intervals,
        "definitions": _define(case),
        "warnings": [*truth.warnings, *case.warnings],
    }


def describe_difference(case: Case) -> Record | None:
    """Headline numbers less those of the other table, as of `bootstrap.compare`; None without one.

    Raises:
        ValueError: The two have different photos or faces.
    """
    if case.other is None:
        return None
    mine, rules = case.matches, case.plan.rules
    other = match_predictions(case.truth, case.other, rules)
    return compare(
        *(
            partial(compute_headline, side, eleven_point=rules.eleven_point)
            for side in (mine, other)
        ),
        photos=len(case.truth.photos),
        resamples=case.plan.resamples,
        seed=case.plan.seed,
        rows=max(len(mine.faces.photo), len(other.faces.photo)),
        axes=dict.fromkeys(PER_CLASS, (case.truth.classes,)),
    )


def _define(case: Case) -> Record:
    """What the numbers mean, so that they can be compared with others years later."""
    rules = case.plan.rules
    return {
        "reference": "Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, "
        "IJCV 88, 2010",
        "interpolation": "11-point" if rules.eleven_point else "every-point",
        "inclusive": rules.inclusive,
        "iou_rule": "an IoU equal to the threshold is a hit; a detection looks only at the box it "
        "overlaps most, and a second hit on a box is a false positive",
        "ious_of_map50_95": list(IOUS),
        "all_classes": rules.all_classes,
        "ap": "per class, ranked by "
        + ("detection × class probability of every class" if rules.all_classes else "score")
        + "; face_ap whatever the class, ranked by detection; equal scores in order of photo name "
        "and row",
        "difficult": "difficult faces are not counted, nor are detections on them",
        "matching": f"faces paired with detections whatever their class, at IoU {MATCH_IOU} or "
        "more, by falling detection score, each with the best face still free",
        "accuracy": "share of matched faces with the right label",
        "recall": "per class, share of its matched faces with the right label",
        "macro_recall": "mean of recall over the classes where it is defined",
        "face_recall": "share of annotated faces that are matched",
        "detected": "face_recall per class",
        "means": "over the classes with annotated faces",
        "intervals": case.plan.define_intervals(),
    }
