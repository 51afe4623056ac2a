"""Everything by face size: small faces are missed and misjudged first."""

from itertools import pairwise
from typing import Any

import numpy as np

from data_prep.base.boxes import SIZE_EDGES
from evaluate.arrays import BoolArray, FloatArray, IntArray
from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.bootstrap import mean_of_defined, share, tally, weigh
from evaluate.measures.case import Case
from evaluate.measures.matching import MATCH_IOU, BoxGroups, best_overlaps, flag_hits

SIZE_NAMES = (
    f"<{SIZE_EDGES[0]}",
    *(f"{low}–{high}" for low, high in pairwise(SIZE_EDGES)),
    f"≥{SIZE_EDGES[-1]}",
)
"""Names of the bins, the smallest first."""

NUMBERS = ("found", "accuracy", "macro_recall", "found_and_right", "face_ap50", "map50")
"""Of every bin."""


def sort_by_size(boxes: FloatArray, *, inclusive: bool = False) -> IntArray:
    """Bin (N,) of every box (N, 4) by its short side, as an index into `SIZE_NAMES`."""
    sides = (boxes[:, 2:] - boxes[:, :2] + float(inclusive)).min(axis=1)
    return np.searchsorted(SIZE_EDGES, sides, side="right")


def describe_sizes(case: Case) -> dict[str, Any]:
    """The numbers of `NUMBERS` by size, as fractions; None where there is no face of the size."""
    truth, detections, pairs = case.truth, case.detections, case.pairs
    sizes = sort_by_size(truth.boxes, inclusive=case.inclusive)
    size, found = sizes[~truth.difficult], pairs.found
    bins, classes = len(SIZE_NAMES), len(truth.classes)
    annotated = tally(pairs.photo, size, pairs.labels, photos=case.photos, shape=(bins, classes))
    labelled = tally(
        *(column[found] for column in (pairs.photo, size, pairs.labels)),
        detections.labels[pairs.rows[found]],
        photos=case.photos,
        shape=(bins, classes, classes),
    )
    by_class = [
        _rank(case, sizes, truth.labels == label, detections.labels == label, detections.scores)
        for label in range(classes)
    ]
    every_face, every_row = np.full(len(sizes), True), np.full(len(detections), True)
    ranked = [*by_class, _rank(case, sizes, every_face, every_row, detections.detection)]

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        there = weigh(weights, annotated).sum(axis=2)
        answers = weigh(weights, labelled)
        seen = answers.sum(axis=3)
        right = np.diagonal(answers, axis1=2, axis2=3)
        *aps, face_aps = (
            np.concatenate([average_precisions(hits, weights) for hits in of_bins], axis=1)
            for of_bins in ranked
        )
        return {
            "found": share(seen.sum(axis=2), there),
            "accuracy": share(right.sum(axis=2), seen.sum(axis=2)),
            "macro_recall": mean_of_defined(share(right, seen)),
            "found_and_right": share(right.sum(axis=2), there),
            "face_ap50": face_aps,
            "map50": mean_of_defined(np.stack(aps, axis=2)),
        }

    numbers, intervals = case.measure(compute, dict.fromkeys(NUMBERS, (SIZE_NAMES,)))
    faces = annotated.sum(axis=0).astype(int)
    edges = [None, *SIZE_EDGES, None]
    return {
        "sizes": [
            {
                "name": name,
                "from": edges[index],
                "below": edges[index + 1],
                "faces": dict(zip(truth.classes, faces[index].tolist(), strict=True)),
                **{key: values[name] for key, values in numbers.items()},
                "intervals": intervals and {key: ends[name] for key, ends in intervals.items()},
            }
            for index, name in enumerate(SIZE_NAMES)
        ],
        "thresh": case.options.thresh,
        "definitions": case.define("by_size"),
    }


def _rank(
    case: Case, sizes: IntArray, faces: BoolArray, shown: BoolArray, scores: FloatArray
) -> tuple[RankedHits, ...]:
    """Some of the detections ranked and matched with some of the faces, one result per bin."""
    truth, detections, inclusive = case.truth, case.detections, case.inclusive
    rows = np.flatnonzero(shown)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    photo, boxes = detections.photo[rows], detections.boxes[rows]
    own_sizes = sort_by_size(boxes, inclusive=inclusive)
    best_iou, best_face = best_overlaps(
        BoxGroups(boxes, photo),
        truth.take(faces),
        inclusive=inclusive,
    )
    ranked = []
    for size in range(len(SIZE_NAMES)):
        left_out = (truth.difficult | (sizes != size))[faces]
        true, ignored = flag_hits(best_iou, best_face, left_out, iou=MATCH_IOU)
        # What counts neither way is dropped, so that the bins together are no more work than
        # one ranking of everything.
        kept = np.flatnonzero(~ignored & (true | (own_sizes == size)))
        truths = np.bincount(truth.photo[faces][~left_out], minlength=len(truth.photos))
        ranked.append(RankedHits.at_one_iou(photo[kept], true[kept], scores[rows[kept]], truths))
    return tuple(ranked)
