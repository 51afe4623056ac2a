"""Everything by face size: small faces are missed and misjudged first."""

from itertools import pairwise
from typing import Any

import numpy as np

from data_prep.base.boxes import SIZE_EDGES
from evaluate.arrays import BoolArray, FloatArray, IntArray
from evaluate.measures.average_precision import RankedHits, average_precisions, count_asked
from evaluate.measures.bootstrap import mean_of_defined, share, tally, weigh
from evaluate.measures.case import Case
from evaluate.measures.matching import MATCH_IOU, Overlaps, flag_hits

SIZE_NAMES = (
    f"<{SIZE_EDGES[0]}",
    *(f"{low}–{high}" for low, high in pairwise(SIZE_EDGES)),
    f"≥{SIZE_EDGES[-1]}",
)
"""Names of the bins, the smallest first."""

NUMBERS = ("found", "accuracy", "macro_recall", "found_and_right", "face_ap50", "map50")
"""Of every bin."""


def sort_by_size(boxes: FloatArray) -> IntArray:
    """Bin (N,) of every box (N, 4) by its short side, as an index into `SIZE_NAMES`."""
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    return np.searchsorted(SIZE_EDGES, sides, side="right")


def describe_sizes(case: Case) -> dict[str, Any]:
    """The numbers of `NUMBERS` by size, as fractions; None where there is no face of the size."""
    truth, detections, pairs = case.truth, case.detections, case.pairs
    sizes = sort_by_size(case.overlaps.truth.boxes)
    size, found = sizes[~truth.difficult], pairs.found
    bins, classes = len(SIZE_NAMES), len(truth.classes)
    annotated = tally(pairs.photo, size, pairs.labels, photos=case.photos, shape=(bins, classes))
    labelled = tally(
        *(column[found] for column in (pairs.photo, size, pairs.labels)),
        detections.labels[pairs.rows[found]],
        photos=case.photos,
        shape=(bins, classes, classes),
    )
    overlaps, each = case.overlaps, np.eye(classes, dtype=np.bool_)
    ranked = [
        _rank(overlaps.take(rows), sizes, among, detections.scores[rows])
        for among, rows in zip(each, map(np.flatnonzero, overlaps.own.T), strict=True)
    ]
    ranked.append(_rank(overlaps, sizes, np.full(classes, True), detections.detection))

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        there = weigh(weights, annotated).sum(axis=2)
        answers = weigh(weights, labelled)
        seen = answers.sum(axis=3)
        right = np.diagonal(answers, axis1=2, axis2=3)
        *aps, face_aps = (
            np.concatenate(average_precisions(of_bins, weights), axis=1) for of_bins in ranked
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
    overlaps: Overlaps, sizes: IntArray, among: BoolArray, scores: FloatArray
) -> list[RankedHits]:
    """Detections ranked and matched with the faces of some classes (C,), one result per bin."""
    truth, own_sizes = overlaps.truth, sort_by_size(overlaps.detections.boxes)
    best_iou, best_face = overlaps.best(among)
    order = np.argsort(-scores, kind="stable")
    ranked = []
    for size in range(len(SIZE_NAMES)):
        left_out = truth.difficult | (sizes != size)
        true, ignored = flag_hits(best_iou[order], best_face[order], left_out, iou=MATCH_IOU)
        # What counts neither way is dropped, so that the bins together are no more work than
        # one ranking of everything.
        kept = np.flatnonzero(~ignored & (true | (own_sizes[order] == size)))
        rows, truths = order[kept], count_asked(truth, among[truth.labels] & (sizes == size))
        photo = overlaps.detections.photo[rows]
        ranked.append(RankedHits.at_one_iou(photo, true[kept], truths, scores[rows]))
    return ranked
