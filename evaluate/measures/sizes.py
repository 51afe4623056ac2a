"""Everything by face size: small faces are missed and misjudged first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.bootstrap import LEVEL, bootstrap_intervals
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.size_counts import SIZE_EDGES, SIZE_NAMES, SizeCounts, count_sizes
from evaluate.measures.undefined import mean_of_defined, share, to_interval, to_number
from evaluate.records import Detections, FloatArray, GroundTruth


def compute_sizes(counts: SizeCounts, weights: FloatArray | None = None) -> dict[str, FloatArray]:
    """The numbers by size, (B, K) each, as fractions; NaN where a number is not defined.

    `found`: share of the annotated faces that are found; `accuracy`: share of those with the right
    label; `macro_recall`: the same among the found faces of a class, averaged over the classes;
    `found_and_right`: share of the annotated faces that are found and have the right label;
    `face_ap50`: AP of faces whatever their class at IoU 0.5; `map50`: AP averaged over the classes
    with faces in the bin.

    Args:
        counts: From `evaluate.measures.size_counts.count_sizes`.
        weights: (B, P) how often each photo counts; once each when None, so that B is 1.
    """
    if weights is None:
        weights = np.ones((1, len(counts.annotated)))
    annotated = np.tensordot(weights, counts.annotated, axes=1).sum(axis=2)
    labelled = np.tensordot(weights, counts.labelled, axes=1)
    found = labelled.sum(axis=3)
    right = np.diagonal(labelled, axis1=2, axis2=3)
    by_class = np.stack([_average_precisions(ranked, weights) for ranked in counts.classes], axis=1)
    return {
        "found": share(found.sum(axis=2), annotated),
        "accuracy": share(right.sum(axis=2), found.sum(axis=2)),
        "macro_recall": mean_of_defined(share(right, found)),
        "found_and_right": share(right.sum(axis=2), annotated),
        "face_ap50": _average_precisions(counts.faces, weights),
        "map50": mean_of_defined(by_class),
    }


def describe_sizes(
    truth: GroundTruth,
    detections: Detections,
    *,
    thresh: float = 0.5,
    inclusive: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The numbers by size for the record.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        thresh: Smallest detector's score of a detection that can find a face; AP takes all.
        inclusive: See `evaluate.measures.iou.paired_iou`; sides are then one pixel longer too.
        resamples: Bootstrap resamples of the photos; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        `sizes`, for every bin from the smallest: its `name`, `from` and `below` (pixels, None
        without an end), `faces` (annotated, by class), the numbers of `compute_sizes` and
        `intervals` (95 %, by the same names, or None); `thresh`; `definitions`.
    """
    counts = count_sizes(truth, detections, thresh=thresh, inclusive=inclusive)
    numbers = compute_sizes(counts)
    intervals = None
    if resamples:
        ranked = [*counts.faces, *(hits for hits_of_bin in counts.classes for hits in hits_of_bin)]
        intervals = bootstrap_intervals(
            partial(compute_sizes, counts),
            photos=len(truth.photos),
            resamples=resamples,
            seed=seed,
            rows=max(len(hits.photo) for hits in ranked),
        )
    faces = counts.annotated.sum(axis=0)
    edges = [None, *SIZE_EDGES, None]
    return {
        "sizes": [
            {
                "name": name,
                "from": edges[index],
                "below": edges[index + 1],
                "faces": dict(zip(truth.classes, faces[index].tolist(), strict=True)),
                **{key: to_number(values[0, index]) for key, values in numbers.items()},
                "intervals": None
                if intervals is None
                else {key: to_interval(ends[:, index]) for key, ends in intervals.items()},
            }
            for index, name in enumerate(SIZE_NAMES)
        ],
        "thresh": thresh,
        "definitions": _define(inclusive, resamples, seed),
    }


def _average_precisions(ranked: Sequence[RankedHits], weights: FloatArray) -> FloatArray:
    """AP of several rankings at their only threshold, (B, len(ranked))."""
    return np.concatenate([average_precisions(hits, weights) for hits in ranked], axis=1)


def _define(inclusive: bool, resamples: int, seed: int) -> dict[str, Any]:
    return {
        "size": "short side of the annotated box in pixels; a side on an edge belongs to the "
        "larger bin",
        "inclusive": inclusive,
        "found": f"faces paired with detections whatever their class, at IoU {MATCH_IOU} or more, "
        "by falling detection score from thresh on, each with the best face still free",
        "ap": f"VOC AP at IoU {MATCH_IOU} from all detections; faces of other sizes are treated "
        "as difficult, and false positives whose own short side is of another size are ignored, "
        "as COCO does with areas",
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap by photo",
            "resamples": resamples,
            "seed": seed,
        },
    }
