"""How annotators draw faces, against the detector, and what AP is in their box convention.

One annotates brow to chin, another hair to chin with the ears: IoU punishes a detector that learnt
from either. The convention is four numbers, the median offset of each side; moved by them, boxes
tell how well faces are found, whoever drew them.
"""

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from data_prep.base.boxes import SIDES, BoxOffsets, box_sides
from evaluate.arrays import Detections, FloatArray, IntArray
from evaluate.measures.bootstrap import RankedCounts, measure
from evaluate.measures.case import Case, pair_faces
from evaluate.measures.headline import Record, compute_headline
from evaluate.measures.matching import LEAST_IOU

LEAST_FACES = 20  # In each half of the photos: medians of fewer say nothing.

ALIGNED = ("map50", "map75", "map50_95", "face_ap50", "face_ap75")
"""Headline numbers that are given in the annotators' box convention, too."""


def fit_offsets(
    annotated: FloatArray,
    predicted: FloatArray,
    photo: IntArray,
    *,
    source: str = "",
    resamples: int = 1000,
    seed: int = 0,
) -> BoxOffsets:
    """Median offset of each side, from matched boxes (N, 4), N at least 1, and their photos (N,).

    Intervals are those of `bootstrap`; of an even number of faces theirs take the lower median.
    """
    offsets = (annotated - predicted) / box_sides(predicted)
    places, photo = np.unique(photo, return_inverse=True)
    # A median is looked for in parts of the faces by rank first, and face by face in one of them.
    ranks, size = np.argsort(offsets, axis=0), math.isqrt(len(photo)) + 1
    part, plain = np.arange(len(photo)) // size, np.zeros(len(photo), dtype=np.bool_)
    parts = [RankedCounts.tally(photo[order], part, plain) for order in ranks.T]

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        medians = {}
        for number, side in enumerate(SIDES):
            order, none = ranks[:, number], np.zeros((1, len(weights)))
            weighed = (before[1:, 0].copy() for _, before in parts[number].weigh(weights))
            reached = np.concatenate([none, *weighed]).T
            half = reached[:, -1:] / 2
            own = (reached[:, 1:] < half).sum(axis=1, keepdims=True)
            before = np.take_along_axis(reached, own, axis=1)
            rows = order[np.minimum(own * size + np.arange(size), len(photo) - 1)]
            inside = np.cumsum(np.take_along_axis(weights, photo[rows], axis=1), axis=1)
            middle = (before + inside < half).sum(axis=1, keepdims=True)
            medians[side] = offsets[np.take_along_axis(rows, middle, axis=1)[:, 0], number]
        return medians

    count = len(places)
    _, interval = measure(compute, photos=count, resamples=resamples, seed=seed)
    left, top, right, bottom = np.median(offsets, axis=0).tolist()
    return BoxOffsets(left, top, right, bottom, interval, len(photo), count, source)


def pair_boxes(case: Case, thresh: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """Annotated and predicted boxes (N, 4) of the faces found from `thresh` on, and photos (N,)."""
    pairs, truth = pair_faces(case.plain, thresh=thresh, iou=LEAST_IOU), case.truth
    annotated = truth.boxes[~truth.difficult][pairs.found]
    return annotated, case.detections.boxes[pairs.rows[pairs.found]], pairs.photo[pairs.found]


def describe_offsets(case: Case) -> Record:
    """The offsets of all faces found from the threshold on, as of `BoxOffsets`."""
    pairs = pair_boxes(case, case.options.thresh)
    if not len(pairs[0]):
        return {"faces": 0, "photos": 0, **dict.fromkeys(SIDES), "intervals": None}
    resamples, seed = case.options.bootstrap, case.options.seed
    told = asdict(fit_offsets(*pairs, resamples=resamples, seed=seed))
    figures = {name: told[name] for name in ("faces", "photos", *SIDES)}
    return {**figures, "intervals": told["interval"]}


def align(case: Case) -> Detections | None:
    """The detections in the annotators' box convention; None with too few faces to tell.

    Photos are parted in two at random; the boxes of either half are moved by the offsets that are
    fitted on the other, so no photo has a say in its own.
    """
    annotated, predicted, photo = pair_boxes(case, case.options.thresh)
    half = np.random.default_rng(case.options.seed).permutation(case.photos) % 2
    boxes = case.detections.boxes.copy()
    for own in (0, 1):
        others = half[photo] != own
        if others.sum() < LEAST_FACES:
            return None
        offsets = fit_offsets(annotated[others], predicted[others], photo[others], resamples=0)
        rows = half[case.detections.photo] == own
        boxes[rows] = offsets.apply(boxes[rows])
    return replace(case.detections, boxes=boxes)


def describe_aligned(case: Case) -> Record | None:
    """Headline numbers of `ALIGNED` in the annotators' box convention, cross-fitted by photo."""
    aligned = align(case)
    if aligned is None:
        return None
    moved = replace(case, detections=aligned)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        numbers = compute_headline(moved, weights)
        return {name: numbers[name] for name in ALIGNED}

    numbers, intervals = case.measure(compute)
    definitions: dict[str, Any] = case.define("aligned", pair_iou=LEAST_IOU)
    return {**numbers, "intervals": intervals, "definitions": definitions}
