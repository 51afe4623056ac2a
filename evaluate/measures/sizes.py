"""Everything by face size: small faces are missed and misjudged first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.bootstrap import (
    LEVEL,
    bootstrap_intervals,
    mean_of_defined,
    share,
    to_interval,
    to_number,
)
from evaluate.measures.matching import MATCH_IOU, BoxGroups, best_overlaps, flag_hits
from evaluate.measures.pairs import pair_faces

SIZE_EDGES = (16, 32, 64)
"""Short sides in pixels at which the bins part; a side on an edge belongs to the larger bin."""

SIZE_NAMES = (
    f"<{SIZE_EDGES[0]}",
    *(f"{low}–{high}" for low, high in pairwise(SIZE_EDGES)),
    f"≥{SIZE_EDGES[-1]}",
)
"""Names of the bins, the smallest first."""


@dataclass(frozen=True)
class SizeCounts:
    """What the numbers by size are counted from; K bins, C classes, P photos.

    Attributes:
        annotated: (P, K, C) faces that are not difficult.
        labelled: (P, K, C, C) those found, by annotated and predicted class.
        classes: For every bin, ranked detections of each class at IoU 0.5.
        faces: For every bin, detections whatever their class, ranked by the detector's score.
    """

    annotated: IntArray
    labelled: IntArray
    classes: tuple[tuple[RankedHits, ...], ...]
    faces: tuple[RankedHits, ...]


def sort_by_size(boxes: FloatArray, *, inclusive: bool = False) -> IntArray:
    """Bin (N,) of every box (N, 4) by its short side, as an index into `SIZE_NAMES`."""
    sides = (boxes[:, 2:] - boxes[:, :2] + float(inclusive)).min(axis=1)
    return np.searchsorted(SIZE_EDGES, sides, side="right")


def count_sizes(
    truth: GroundTruth, detections: Detections, *, thresh: float = 0.5, inclusive: bool = False
) -> SizeCounts:
    """Match once for all sizes.

    Faces are found as in `metrics.count_confusion`, but by detections with a detector's
    score of at least `thresh`. For AP all detections count, and a bin is cut out as COCO does with
    its areas: faces of other sizes are treated as difficult, and false positives whose own short
    side is of another size are ignored.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        thresh: Smallest detector's score of a detection that can find a face.
        inclusive: See `evaluate.measures.matching.paired_iou`; sides are then one pixel longer too.
    """
    ranking = _Ranking(
        truth=truth,
        sizes=sort_by_size(truth.boxes, inclusive=inclusive),
        detections=detections,
        own_sizes=sort_by_size(detections.boxes, inclusive=inclusive),
        inclusive=inclusive,
    )
    by_class = [
        ranking.rank(truth.labels == label, detections.labels == label, detections.scores)
        for label in range(len(truth.classes))
    ]
    every_face = np.ones(len(truth.labels), dtype=np.bool_)
    every_row = np.ones(len(detections), dtype=np.bool_)
    asked = np.flatnonzero(~truth.difficult)
    labels = _label_found(truth, detections, thresh=thresh, inclusive=inclusive)
    found = np.flatnonzero(labels >= 0)
    where = truth.photo, ranking.sizes, truth.labels
    shape = len(truth.photos), len(SIZE_NAMES), len(truth.classes)
    return SizeCounts(
        annotated=_count([column[asked] for column in where], shape),
        labelled=_count(
            [column[found] for column in (*where, labels)], (*shape, len(truth.classes))
        ),
        classes=tuple(zip(*by_class, strict=True)),
        faces=ranking.rank(every_face, every_row, detections.detection),
    )


@dataclass(frozen=True)
class _Ranking:
    """Ranks and matches some of the detections with some of the faces, one result for every bin."""

    truth: GroundTruth
    sizes: IntArray
    detections: Detections
    own_sizes: IntArray
    inclusive: bool

    def rank(
        self, faces: BoolArray, shown: BoolArray, scores: FloatArray
    ) -> tuple[RankedHits, ...]:
        rows = np.flatnonzero(shown)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        photo, own_sizes = self.detections.photo[rows], self.own_sizes[rows]
        best_iou, best_face = best_overlaps(
            BoxGroups(self.detections.boxes[rows], photo),
            BoxGroups(self.truth.boxes[faces], self.truth.photo[faces]),
            inclusive=self.inclusive,
        )
        ranked = []
        for size in range(len(SIZE_NAMES)):
            left_out = (self.truth.difficult | (self.sizes != size))[faces]
            true, ignored = flag_hits(best_iou, best_face, left_out, iou=MATCH_IOU)
            # What counts neither way is dropped, so that the bins together are no more work than
            # one ranking of everything.
            kept = np.flatnonzero(~ignored & (true | (own_sizes == size)))
            to_find = self.truth.photo[faces][~left_out]
            ranked.append(
                RankedHits(
                    photo=photo[kept],
                    true=true[None, kept],
                    ignored=np.zeros((1, len(kept)), dtype=np.bool_),
                    truths=np.bincount(to_find, minlength=len(self.truth.photos)),
                    rows=rows[kept],
                    scores=scores[rows[kept]],
                )
            )
        return tuple(ranked)


def _label_found(
    truth: GroundTruth, detections: Detections, *, thresh: float, inclusive: bool
) -> IntArray:
    """(G,) predicted class of every face, -1 where it was not found, and for difficult faces."""
    pairs = pair_faces(truth, detections, thresh=thresh, inclusive=inclusive)
    of_asked = np.where(pairs.found, detections.labels[pairs.rows], -1) if len(detections) else -1
    labels = np.full(len(truth.labels), -1, dtype=np.int64)
    labels[~truth.difficult] = of_asked
    return labels


def _count(columns: list[IntArray], shape: tuple[int, ...]) -> IntArray:
    """How often each combination of indices occurs."""
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, tuple(columns), 1)
    return counts


def compute_sizes(counts: SizeCounts, weights: FloatArray | None = None) -> dict[str, FloatArray]:
    """The numbers by size, (B, K) each, as fractions; NaN where a number is not defined.

    `found`: share of the annotated faces that are found; `accuracy`: share of those with the right
    label; `macro_recall`: the same among the found faces of a class, averaged over the classes;
    `found_and_right`: share of the annotated faces that are found and have the right label;
    `face_ap50`: AP of faces whatever their class at IoU 0.5; `map50`: AP averaged over the classes
    with faces in the bin.

    Args:
        counts: From `evaluate.measures.sizes.count_sizes`.
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
        inclusive: See `evaluate.measures.matching.paired_iou`; sides are then one pixel longer too.
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
