"""Average precision as COCO defines it, computed by faster-coco-eval.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the evaluation code that
came with it. It differs from VOC's (`average_precision`) in that precision is read at 101
recalls, a detection whose best face is taken may take the next best one, and only the surest
detections of a photo are looked at. Its boxes always have far edges.
"""

from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from evaluate.arrays import Detections, FloatArray, GroundTruth

MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits: so many detections of a class in a photo are looked at, the surest first."""

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's ranges of a box's area in px²; a box on an edge belongs to both ranges."""


def _quiet(*_: object) -> None:
    """Takes the library's progress messages; its errors are raised as ever."""


def measure_coco(truth: GroundTruth, detections: Detections) -> dict[str, Any]:
    """COCO's AP and AR, as fractions; None where there is no face to find.

    COCO has no notion of VOC's "difficult"; the library overwrites the key `ignore` with `iscrowd`,
    as the original does, so difficult faces are passed as crowds; detections prefer other faces.
    `without_limit` has the figures without COCO's limit of 100 detections of a class in a photo.
    """
    cells = detections.photo * len(truth.classes) + detections.labels
    most = int(np.bincount(cells).max(initial=0))
    # The matches of the first 100 do not depend on what ranks after them: one run serves both.
    limits = [*MAX_DETECTIONS, max(MAX_DETECTIONS[-1] + 1, most)]
    # Class by class, which bounds the memory that the library's dictionaries take.
    by_label = [
        _evaluate(truth.take(truth.labels == label), detections.take(own), limits, label)
        for label in range(len(truth.classes))
        for own in [detections.labels == label]
    ]
    # (IoUs, recalls, classes, areas, limits), and the same without recalls; -1 is "no face".
    precision, recall = (np.concatenate(parts, axis=-3) for parts in zip(*by_label, strict=True))

    def summarise(limit: int, recall_name: str) -> dict[str, Any]:
        every = precision[:, :, :, 0, limit]
        sizes = dict(enumerate(AREAS, 1))
        by_class = {name: every[:, :, index] for index, name in enumerate(truth.classes)}
        return {
            "map50_95": _mean(every),
            "map50": _mean(every[0]),  # The IoUs are 0.50, 0.55, … 0.95.
            "map75": _mean(every[5]),
            **{f"map_{name}": _mean(precision[..., at, limit]) for at, name in sizes.items()},
            recall_name: _mean(recall[:, :, 0, limit]),
            **{f"ar_{name}": _mean(recall[..., at, limit]) for at, name in sizes.items()},
            "ap50_95": {name: _mean(values) for name, values in by_class.items()},
            "ap50": {name: _mean(values[0]) for name, values in by_class.items()},
        }

    official, without_limit = summarise(2, "ar100"), summarise(3, "ar")
    return {
        **official,
        "ar1": _mean(recall[:, :, 0, 0]),
        "ar10": _mean(recall[:, :, 0, 1]),
        "without_limit": without_limit,
        "limit": {
            "max_detections": MAX_DETECTIONS[-1],
            "most_detections": most,
            "differs": list(official.values()) != list(without_limit.values()),
        },
    }


def _evaluate(
    truth: GroundTruth, detections: Detections, limits: list[int], label: int
) -> tuple[FloatArray, FloatArray]:
    """Precision and recall of one class, as the library gives them."""
    faces = COCO(build_coco_dataset(truth), print_function=_quiet)
    evaluation = COCOeval_faster(
        faces,
        faces.loadRes(build_coco_results(detections)),
        iouType="bbox",
        print_function=_quiet,
        ranges={name: list(ends) for name, ends in AREAS.items()},  # After "all".
    )
    evaluation.params.maxDets, evaluation.params.catIds = limits, [label + 1]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])


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


def _mean(values: FloatArray) -> float | None:
    """Mean of what is defined: COCO writes -1 where there is no face."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
