"""Average precision as COCO defines it, computed by faster-coco-eval.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the evaluation code that
came with it. It differs from VOC's (`average_precision`) in that precision is read at 101
recalls, a detection whose best face is taken may take the next best one, and only the surest
detections of a photo are looked at. Its boxes always have far edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from evaluate.arrays import Detections, FloatArray, GroundTruth
from evaluate.measures.average_precision import average_precisions
from evaluate.measures.bootstrap import to_number
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.metrics import Rules, rank_classes

MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits: so many detections of a class in a photo are looked at, the surest first."""

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's ranges of a box's area in px²; a box on an edge belongs to both ranges."""

_SIZES = ("all", *AREAS)


def describe_coco(truth: GroundTruth, detections: Detections) -> dict[str, Any]:
    """COCO's AP and AR, as fractions; None where there is no face to find.

    COCO has no notion of VOC's "difficult"; the library overwrites the key `ignore` with `iscrowd`,
    as the original does, so difficult faces are passed as crowds. A crowd is not asked for and
    takes any number of detections of its class, which then count neither way; the overlap with a
    crowd is the share of the detection's own area inside it, not the IoU. Detections prefer faces
    that are not crowds.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth`; one detection of its label
            per row, ranked by `scores`, equal ones in the order of the rows.

    Returns:
        With COCO's limit of 100 detections of a class per photo: `map50_95`, `map50`, `map75`,
        `map_small`, `map_medium`, `map_large` (IoU 0.50 to 0.95), `ar1`, `ar10`, `ar100` (recall
        averaged over the same IoUs, with that many detections), `ar_small`, `ar_medium`,
        `ar_large`, and by class `ap50_95` and `ap50`. `without_limit` has the same without `ar1`
        and `ar10` and with `ar` for `ar100`. `limit` says whether the two can differ:
        `max_detections`, the `most_detections` of a class in a photo, and `differs`.
        `definitions` says what was done.
    """
    most = _count_most(truth, detections)
    # The matches of the first 100 do not depend on what ranks after them: one run serves both.
    limits = [*MAX_DETECTIONS, max(MAX_DETECTIONS[-1] + 1, most)]
    precision, recall = _evaluate(truth, detections, limits)
    official = _summarise(truth, precision[..., 2], recall[..., 2], "ar100")
    without_limit = _summarise(truth, precision[..., 3], recall[..., 3], "ar")
    every_size = _SIZES.index("all")
    return {
        **official,
        "ar1": _mean(recall[:, :, every_size, 0]),
        "ar10": _mean(recall[:, :, every_size, 1]),
        "without_limit": without_limit,
        "limit": {
            "max_detections": MAX_DETECTIONS[-1],
            "most_detections": most,
            "differs": list(official.values()) != list(without_limit.values()),
        },
        "definitions": {
            "reference": "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
            "library": "faster-coco-eval",
            "interpolation": "101-point",
            "boxes": "far edges",
            "areas_px2": {name: list(ends) for name, ends in AREAS.items()},
            "difficult": "passed as iscrowd: not asked for; any number of detections of its class "
            "may fall on it and count neither way; overlap is the share of the detection's area",
            "ap": "per class, ranked by score; means over the classes with annotated faces",
        },
    }


def build_coco_dataset(truth: GroundTruth) -> dict[str, Any]:
    """Annotated faces as COCO's dictionary.

    Photos, faces and classes are numbered from 1 in the order of `truth`: the library takes a face
    numbered 0 for none.
    """
    corners, sides = truth.boxes[:, :2], truth.boxes[:, 2:] - truth.boxes[:, :2]
    rows = zip(
        truth.photo.tolist(),
        truth.labels.tolist(),
        np.hstack([corners, sides]).tolist(),
        sides.prod(axis=1).tolist(),
        truth.difficult.tolist(),
        strict=True,
    )
    return {
        "images": [
            {"id": number, "file_name": name} for number, name in enumerate(truth.photos, start=1)
        ],
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(truth.classes, start=1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": photo + 1,
                "category_id": label + 1,
                "bbox": box,
                "area": area,
                "iscrowd": int(difficult),
            }
            for number, (photo, label, box, area, difficult) in enumerate(rows, start=1)
        ],
    }


def build_coco_results(detections: Detections) -> list[dict[str, Any]]:
    """Predicted faces as COCO's list of results, numbered as in `build_coco_dataset`."""
    corners, sides = detections.boxes[:, :2], detections.boxes[:, 2:] - detections.boxes[:, :2]
    rows = zip(
        detections.photo.tolist(),
        detections.labels.tolist(),
        np.hstack([corners, sides]).tolist(),
        detections.scores.tolist(),
        strict=True,
    )
    return [
        {"image_id": photo + 1, "category_id": label + 1, "bbox": box, "score": score}
        for photo, label, box, score in rows
    ]


def _evaluate(
    truth: GroundTruth, detections: Detections, limits: list[int]
) -> tuple[FloatArray, FloatArray]:
    """Precision (IoUs, recalls, classes, areas, limits) and recall (the same without recalls).

    -1 is where there is no face.
    """
    faces = COCO(build_coco_dataset(truth), print_function=_stay_silent)
    found = faces.loadRes(build_coco_results(detections))
    evaluation = COCOeval_faster(
        faces,
        found,
        iouType="bbox",
        print_function=_stay_silent,
        ranges={name: list(ends) for name, ends in AREAS.items()},
    )
    evaluation.params.maxDets = limits
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])


def _summarise(
    truth: GroundTruth, precision: FloatArray, recall: FloatArray, recall_name: str
) -> dict[str, Any]:
    """The figures at one limit, from precision and recall as of `_evaluate` without the limits."""
    every = precision[:, :, :, _SIZES.index("all")]
    # The IoUs are 0.50, 0.55, … 0.95.
    at_50, at_75 = every[0], every[5]
    by_class = {name: every[:, :, index] for index, name in enumerate(truth.classes)}
    return {
        "map50_95": _mean(every),
        "map50": _mean(at_50),
        "map75": _mean(at_75),
        **{
            f"map_{name}": _mean(precision[:, :, :, index])
            for index, name in enumerate(_SIZES[1:], start=1)
        },
        recall_name: _mean(recall[:, :, 0]),
        **{
            f"ar_{name}": _mean(recall[:, :, index])
            for index, name in enumerate(_SIZES[1:], start=1)
        },
        "ap50_95": {name: _mean(values) for name, values in by_class.items()},
        "ap50": {name: _mean(values[0]) for name, values in by_class.items()},
    }


def _mean(values: FloatArray) -> float | None:
    """Mean of what is defined: COCO writes -1 where there is no face."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _count_most(truth: GroundTruth, detections: Detections) -> int:
    """Largest number of detections of one class in one photo."""
    cells = detections.photo * len(truth.classes) + detections.labels
    return int(np.bincount(cells).max(initial=0))


def _stay_silent(*_: object) -> None:
    """Takes the library's progress messages; its errors are raised as ever."""


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
            "map": _mean_conventions(values),
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
        "map50": _mean_conventions(values),
        "ap50": {label: to_number(value) for label, value in zip(classes, values, strict=True)},
        "why": _WHY[name],
        "headline": headline,
    }


def _mean_conventions(values: FloatArray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
