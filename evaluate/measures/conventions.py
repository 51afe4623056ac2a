"""The same boxes under every definition of mAP in use, side by side.

Published figures differ by more than the systems do, for want of saying which one was meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evaluate.measures.average_precision import average_precisions
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.metrics import Rules, rank_classes
from evaluate.measures.undefined import to_number
from evaluate.records import Detections, FloatArray, GroundTruth

CUT = 0.5
"""Detector score under which some publish no detection, which cuts the curve short."""

_WHY = {
    "VOC 2010, every point": "area under the curve of the best precision at each recall or more",
    "VOC 2007, 11 points": "mean of that precision at recall 0, 0.1, …, 1: coarser, and kinder or "
    "harsher by where the curve falls",
    "VOC 2010, inclusive pixels": "box sides counted as xmax - xmin + 1, as the VOC kit and "
    "Object-Detection-Metrics do: small boxes overlap more or less by it",
    "VOC 2007, inclusive pixels": "both of these, as many reports of 2007 to 2012",
    "every class of each row": "each face counts as a detection of all classes, ranked by "
    "detection × probability: a wrong label no longer loses the face for its class",
    "only detections from 0.5": "what a report gives that leaves out doubtful detections first: "
    "the curve ends early, so AP falls",
    "COCO, 101 points": "precision at recall 0, 0.01, …, 1; a detection whose best face is taken "
    "may take the next one; at most 100 detections of a class in a photo",
}


def list_conventions(
    truth: GroundTruth,
    detections: Detections,
    rules: Rules,
    *,
    coco_map50: float | None = None,
    coco_ap50: Mapping[str, float | None] | None = None,
) -> list[dict[str, Any]]:
    """List mAP at IoU 0.5 under each definition.

    Args:
        truth: Annotated faces.
        detections: Predicted faces.
        rules: Those of the headline numbers; the row that follows them is marked.
        coco_map50: COCO's figure, from `evaluate.measures.coco`; left out when None.
        coco_ap50: The same by class.

    Returns:
        Rows with `name`, `map50`, `ap50` by class, `why` in one line, and `headline`.
    """
    plain = Rules()
    variants = {
        "VOC 2010, every point": plain,
        "VOC 2007, 11 points": replace(plain, eleven_point=True),
        "VOC 2010, inclusive pixels": replace(plain, inclusive=True),
        "VOC 2007, inclusive pixels": Rules(inclusive=True, eleven_point=True),
    }
    if detections.probabilities is not None:
        variants["every class of each row"] = replace(plain, all_classes=True)
    rows = []
    for name, variant in variants.items():
        values = measure_at(truth, detections, variant, (MATCH_IOU,))[0]
        rows.append(_describe(name, truth.classes, values, headline=variant == rules))
    kept = np.flatnonzero(detections.detection >= CUT)
    cut = detections.take(kept, detections.photo[kept])
    values = measure_at(truth, cut, plain, (MATCH_IOU,))[0]
    rows.append(_describe("only detections from 0.5", truth.classes, values))
    if coco_map50 is not None:
        name = "COCO, 101 points"
        rows.append(
            {
                "name": name,
                "map50": coco_map50,
                "ap50": dict(coco_ap50 or {}),
                "why": _WHY[name],
                "headline": False,
            }
        )
    return rows


def describe_at(
    truth: GroundTruth, detections: Detections, rules: Rules, ious: Sequence[float]
) -> list[dict[str, Any]]:
    """AP at IoU thresholds of the user's choice: rows with `iou`, `map` and `ap` by class."""
    if not ious:
        return []
    return [
        {
            "iou": iou,
            "map": _mean(values),
            "ap": {
                label: to_number(value) for label, value in zip(truth.classes, values, strict=True)
            },
        }
        for iou, values in zip(ious, measure_at(truth, detections, rules, ious), strict=True)
    ]


def measure_at(
    truth: GroundTruth, detections: Detections, rules: Rules, ious: Sequence[float]
) -> FloatArray:
    """AP of each class at each threshold, (T, C); NaN for a class without ground truth."""
    once = np.ones((1, len(truth.photos)))
    columns = [
        average_precisions(hits, once, eleven_point=rules.eleven_point)[0]
        for hits in rank_classes(truth, detections, rules, ious)
    ]
    return np.stack(columns, axis=1)


def _describe(
    name: str, classes: Sequence[str], values: FloatArray, *, headline: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "map50": _mean(values),
        "ap50": {label: to_number(value) for label, value in zip(classes, values, strict=True)},
        "why": _WHY[name],
        "headline": headline,
    }


def _mean(values: FloatArray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
