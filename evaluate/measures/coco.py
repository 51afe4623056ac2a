"""Average precision as COCO defines it.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the evaluation code that
came with it, whose figures these are (the tests compare them with faster-coco-eval's). It differs
from VOC's (`average_precision`) in that precision is read at 101 recalls, a detection whose best
face is taken may take the next best one, and only the surest detections of a photo are looked at.
Its boxes always have far edges. A crowded photo takes no table of all pairs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.arrays import FloatArray
from evaluate.measures.matching import Overlaps, measure_areas, paired_iou, serve

MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits: so many detections of a class in a photo are looked at, the surest first."""

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's ranges of a box's area in px²; a box on an edge belongs to both ranges."""

_RANGES = ((0.0, 1e10), *AREAS.values())
_IOUS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)


def measure_coco(overlaps: Overlaps) -> dict[str, Any]:
    """COCO's AP and AR, as fractions; None where there is no face to find.

    COCO has no notion of VOC's "difficult": difficult faces are its crowds, on which any number of
    detections may fall, by the share of their own area; detections prefer other faces.
    `without_limit` has the figures without COCO's limit of 100 detections of a class in a photo.
    """
    truth, detections = overlaps.truth, overlaps.detections
    cells = detections.photo * len(truth.classes) + detections.labels
    most = int(np.bincount(cells).max(initial=0))
    by_label = [_evaluate(overlaps, label) for label in range(len(truth.classes))]
    # (IoUs, recalls, classes, areas, limits), and the same without recalls; -1 is "no face".
    precision, recall = (np.stack(parts, axis=-3) for parts in zip(*by_label, strict=True))

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


def _evaluate(overlaps: Overlaps, label: int) -> tuple[FloatArray, FloatArray]:
    """Of one class: precision (IoUs, recalls, areas, limits), recall (IoUs, areas, limits)."""
    faces = np.flatnonzero(overlaps.truth.labels == label)
    ranked = np.flatnonzero(overlaps.detections.labels == label)
    ranked = ranked[np.argsort(-overlaps.detections.scores[ranked], kind="stable")]
    truth, found = overlaps.truth.take(faces), overlaps.detections.take(ranked)
    areas, face_areas = (measure_areas(side.boxes) for side in (found, truth))
    by_photo = np.argsort(found.photo, kind="stable")
    starts = np.searchsorted(found.photo[by_photo], found.photo[by_photo])
    place = np.empty(len(found), dtype=np.int64)  # Among those of its photo, the surest first.
    place[by_photo] = np.arange(len(found)) - starts
    kept = [place < limit for limit in (*MAX_DETECTIONS, len(found) + 1)]
    row, column = np.full(len(overlaps.detections), -1), np.full(len(overlaps.truth.photo), -1)
    row[ranked], column[faces] = np.arange(len(ranked)), np.arange(len(faces))
    own = (row[overlaps.near[0]] >= 0) & (column[overlaps.near[1]] >= 0)
    rows, columns, ious = (part[own] for part in overlaps.near)
    rows, columns = row[rows], column[columns]
    crowd = truth.difficult[columns]
    ious[crowd] = paired_iou(found.boxes[rows[crowd]], truth.boxes[columns[crowd]], True)
    precision = np.full((len(_IOUS), len(_RECALLS), len(_RANGES), len(kept)), -1.0)
    recall = np.full((len(_IOUS), len(_RANGES), len(kept)), -1.0)
    for number, (low, high) in enumerate(_RANGES):
        ignored = truth.difficult | (face_areas < low) | (face_areas > high)
        asked = int((~ignored).sum())
        if not asked:
            continue
        outside = (areas < low) | (areas > high)
        order = np.lexsort((-columns, -ious, ignored[columns], rows))
        for at, iou in enumerate(_IOUS):
            some = order[ious[order] >= iou]
            some = some[serve(rows[some], columns[some], truth.difficult)]
            true, counted = np.zeros(len(found), dtype=np.bool_), ~outside
            counted[rows[some]] = true[rows[some]] = ~ignored[columns[some]]
            for limit, own in enumerate(kept):
                ranks = np.cumsum(counted & own)[np.flatnonzero(true & own)]
                recall[at, number, limit] = len(ranks) / asked
                precision[at, :, number, limit] = _read_curve(ranks, asked)
    return precision, recall


def _read_curve(ranks: NDArray[Any], asked: int) -> FloatArray:
    """The precision at each of the recalls, or any higher one, from the ranks (K,) of the hits."""
    hits = np.arange(1, len(ranks) + 1)
    best = np.maximum.accumulate((hits / ranks)[::-1])[::-1]
    return np.append(best, 0.0)[np.minimum(np.searchsorted(hits / asked, _RECALLS), len(ranks))]


def _mean(values: FloatArray) -> float | None:
    """Mean of what is defined: COCO writes -1 where there is no face."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
