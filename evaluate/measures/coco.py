"""Average precision as COCO defines it, computed by faster-coco-eval, beside other definitions.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the evaluation code that
came with it. It differs from VOC's (`average_precision`) in that precision is read at 101
recalls, a detection whose best face is taken may take the next best one, and only the surest
detections of a photo are looked at. Its boxes always have far edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from evaluate.arrays import Detections, FloatArray, GroundTruth
from evaluate.measures.average_precision import Rules, average_precisions, rank_classes
from evaluate.measures.bootstrap import describe, mean_of_defined, to_number
from evaluate.measures.matching import MATCH_IOU

if TYPE_CHECKING:
    from evaluate.measures.case import Case

MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits: so many detections of a class in a photo are looked at, the surest first."""

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's ranges of a box's area in px²; a box on an edge belongs to both ranges."""

_SIZES = ("all", *AREAS)


def measure_coco(truth: GroundTruth, detections: Detections) -> dict[str, Any]:
    """COCO's AP and AR, as fractions; None where there is no face to find.

    COCO has no notion of VOC's "difficult"; the library overwrites the key `ignore` with `iscrowd`,
    as the original does, so difficult faces are passed as crowds. A crowd is not asked for and
    takes any number of detections of its class, which then count neither way; the overlap with a
    crowd is the share of the detection's own area inside it, not the IoU. Detections prefer faces
    that are not crowds.

    Detections are ranked by `scores`, equal ones in the order of the rows. `without_limit` has the
    figures without COCO's limit of 100 detections of a class in a photo, `limit` whether the two
    differ.
    """
    cells = detections.photo * len(truth.classes) + detections.labels
    most = int(np.bincount(cells).max(initial=0))
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
    boxes = _as_xywh(truth.boxes)
    return {
        "images": [{"id": index + 1, "file_name": name} for index, name in enumerate(truth.photos)],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(truth.classes)],
        "annotations": _as_dicts(
            id=np.arange(1, len(boxes) + 1),
            image_id=truth.photo + 1,
            category_id=truth.labels + 1,
            bbox=boxes,
            area=boxes[:, 2:].prod(axis=1),
            iscrowd=truth.difficult.astype(int),
        ),
    }


def build_coco_results(detections: Detections) -> list[dict[str, Any]]:
    """Predicted faces as COCO's list of results, numbered as in `build_coco_dataset`."""
    return _as_dicts(
        image_id=detections.photo + 1,
        category_id=detections.labels + 1,
        bbox=_as_xywh(detections.boxes),
        score=detections.scores,
    )


def _as_xywh(boxes: FloatArray) -> FloatArray:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def _as_dicts(**columns: NDArray[Any]) -> list[dict[str, Any]]:
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _evaluate(
    truth: GroundTruth, detections: Detections, limits: list[int]
) -> tuple[FloatArray, FloatArray]:
    """Precision (IoUs, recalls, classes, areas, limits) and recall (the same without recalls).

    -1 is where there is no face.
    """
    faces = COCO(build_coco_dataset(truth), print_function=_ignore)
    found = faces.loadRes(build_coco_results(detections))
    evaluation = COCOeval_faster(
        faces,
        found,
        iouType="bbox",
        print_function=_ignore,
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
        **{f"map_{name}": _mean(precision[:, :, :, _SIZES.index(name)]) for name in AREAS},
        recall_name: _mean(recall[:, :, 0]),
        **{f"ar_{name}": _mean(recall[:, :, _SIZES.index(name)]) for name in AREAS},
        "ap50_95": {name: _mean(values) for name, values in by_class.items()},
        "ap50": {name: _mean(values[0]) for name, values in by_class.items()},
    }


def _mean(values: FloatArray) -> float | None:
    """Mean of what is defined: COCO writes -1 where there is no face."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _ignore(*_: object) -> None:
    """Takes the library's progress messages; its errors are raised as ever."""


CUT = 0.5
"""Detector score under which some publish no detection, which cuts the curve short."""

_CONVENTIONS = {
    "VOC 2010, every point": (
        Rules(),
        "area under the curve of the best precision at each recall or more",
    ),
    "VOC 2007, 11 points": (
        Rules(eleven_point=True),
        "mean of that precision at recall 0, 0.1, …, 1: coarser, and kinder or harsher by where "
        "the curve falls",
    ),
    "VOC 2010, inclusive pixels": (
        Rules(inclusive=True),
        "box sides counted as xmax - xmin + 1, as the VOC kit and Object-Detection-Metrics do: "
        "small boxes overlap more or less by it",
    ),
    "VOC 2007, inclusive pixels": (
        Rules(inclusive=True, eleven_point=True),
        "both of these, as many reports of 2007 to 2012",
    ),
    "every class of each row": (
        Rules(all_classes=True),
        "each face counts as a detection of all classes, ranked by detection × probability: a "
        "wrong label no longer loses the face for its class",
    ),
}
"""Definitions of AP: how it counts, and why it differs."""


def list_conventions(case: Case) -> list[dict[str, Any]]:
    """List mAP at IoU 0.5 under each definition in use; `headline` marks that of the headline."""
    truth, detections = case.truth, case.detections

    def row(
        name: str, rules: Rules, why: str, some: Detections, *, headline: bool
    ) -> dict[str, Any]:
        (aps,) = measure_at(truth, some, rules, (MATCH_IOU,))
        return {
            "name": name,
            "map50": to_number(mean_of_defined(aps)),
            "ap50": describe(aps, (truth.classes,)),
            "why": why,
            "headline": headline,
        }

    rows = [
        row(name, rules, why, detections, headline=rules == case.plan.rules)
        for name, (rules, why) in _CONVENTIONS.items()
        if detections.probabilities is not None or not rules.all_classes
    ]
    kept = np.flatnonzero(detections.detection >= CUT)
    why = (
        "what a report gives that leaves out doubtful detections first: the curve ends early, so "
        "AP falls"
    )
    cut = detections.take(kept, detections.photo[kept])
    rows.append(row(f"only detections from {CUT}", Rules(), why, cut, headline=False))
    rows.append(
        {
            "name": "COCO, 101 points",
            "map50": case.coco["map50"],
            "ap50": case.coco["ap50"],
            "why": "precision at recall 0, 0.01, …, 1; a detection whose best face is taken may "
            "take the next one; at most 100 detections of a class in a photo",
            "headline": False,
        }
    )
    return rows


def describe_at(case: Case) -> list[dict[str, Any]]:
    """AP at IoU thresholds of the user's choice: rows with `iou`, `map` and `ap` by class."""
    if not case.plan.ious:
        return []
    aps = measure_at(case.truth, case.detections, case.plan.rules, case.plan.ious)
    return [
        {
            "iou": iou,
            "map": to_number(mean_of_defined(values)),
            "ap": describe(values, (case.truth.classes,)),
        }
        for iou, values in zip(case.plan.ious, aps, strict=True)
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
