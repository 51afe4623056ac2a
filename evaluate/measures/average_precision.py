"""Average precision as PASCAL VOC defines it.

Everingham, Van Gool, Williams, Winn, Zisserman, "The PASCAL Visual Object Classes (VOC) Challenge",
IJCV 88 (2010), section 4.2: detections are ranked by score, and AP summarises the precision reached
at every recall. Two ways of summing are in use: at 11 recalls (VOC 2007), and at every recall that
occurs (VOC 2010 on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.matching import Boxed, best_overlaps, flag_hits


@dataclass(frozen=True)
class Rules:
    """How to count."""

    inclusive: bool = False  # `xmax`, `ymax` are the last pixel inside; see `paired_iou`.
    eleven_point: bool = False  # AP at 11 recalls instead of at every recall.
    all_classes: bool = False
    """Every row is a detection of each class, with score detection × probability, instead of one of
    its label. Concerns the AP of classes only."""


RECALL_STEPS = 10  # The 11-point form reads the curve at recall 0, 0.1, …, 1.


@dataclass(frozen=True)
class RankedHits:
    """Detections of one class in order of rank, matched once for several IoU thresholds."""

    photo: IntArray  # (N,)
    true: BoolArray  # (T, N) true positives at each threshold.
    ignored: BoolArray  # (T, N) detections on difficult faces, which count neither way.
    truths: IntArray  # (P,) faces per photo that are not difficult.
    scores: FloatArray  # (N,) what they are ranked by, falling.

    @classmethod
    def at_one_iou(
        cls, photo: IntArray, true: BoolArray, scores: FloatArray, truths: IntArray
    ) -> RankedHits:
        """Hits (N,) at a single threshold, none of them ignored."""
        return cls(photo, true[None], np.zeros((1, len(true)), dtype=np.bool_), truths, scores)


def rank_hits(
    truths: Boxed,
    difficult: BoolArray,
    detections: Boxed,
    scores: FloatArray,
    *,
    photos: int,
    ious: Sequence[float],
    inclusive: bool = False,
) -> RankedHits:
    """Rank detections of a class by scores (N,) and match them at every IoU threshold.

    Boxes are grouped by photo, 0 to `photos` - 1; an IoU equal to the threshold is a hit. Equal
    scores keep the order of the rows.
    """
    order = _rank(scores)
    best_iou, best_truth = best_overlaps(detections, truths, inclusive=inclusive)
    best_iou, best_truth = best_iou[order], best_truth[order]
    flags = [flag_hits(best_iou, best_truth, difficult, iou=iou) for iou in ious]
    return RankedHits(
        photo=detections.photo[order],
        true=np.array([true for true, _ in flags], dtype=np.bool_),
        ignored=np.array([ignored for _, ignored in flags], dtype=np.bool_),
        truths=np.bincount(truths.photo[~difficult], minlength=photos),
        scores=scores[order],
    )


def rank_classes(
    truth: GroundTruth, detections: Detections, rules: Rules, ious: Sequence[float]
) -> tuple[RankedHits, ...]:
    """Rank and match the detections of each class; they are sorted by photo.

    Raises:
        ValueError: `rules.all_classes` without class probabilities.
    """
    if rules.all_classes and detections.probabilities is None:
        raise ValueError("all_classes needs the class probabilities of every detection")
    classes = []
    for label in range(len(truth.classes)):
        faces = truth.take(truth.labels == label)
        if rules.all_classes and detections.probabilities is not None:
            rows = np.arange(len(detections))
            scores = detections.detection * detections.probabilities[:, label]
        else:
            rows = np.flatnonzero(detections.labels == label)
            scores = detections.scores[rows]
        classes.append(
            rank_hits(
                *(faces, faces.difficult, detections.take(rows), scores),
                photos=len(truth.photos),
                ious=ious,
                inclusive=rules.inclusive,
            )
        )
    return tuple(classes)


def average_precisions(
    hits: RankedHits, weights: FloatArray, *, eleven_point: bool = False
) -> FloatArray:
    """AP (B, T) at every threshold, for weightings of the photos (B, P), whole numbers.

    A photo of weight 2 counts as if it, and all on it, were there twice. NaN where no face is left
    to find.
    """
    truths = weights @ hits.truths
    weights = weights[:, hits.photo]
    columns = []
    for true, ignored in zip(hits.true, hits.ignored, strict=True):
        counted = np.where(ignored, 0.0, weights) if ignored.any() else weights
        columns.append(_summarise(true, counted, truths, eleven_point=eleven_point))
    return np.stack(columns, axis=1)


def _rank(scores: FloatArray) -> IntArray:
    """Rows by falling score, equal ones as they come."""
    order = np.argsort(-scores)
    ranked = scores[order]
    # The stable sort takes five times as long and is only needed for equal scores.
    return np.argsort(-scores, kind="stable") if (ranked[1:] == ranked[:-1]).any() else order


def _summarise(
    true: BoolArray, weights: FloatArray, truths: FloatArray, *, eleven_point: bool
) -> FloatArray:
    """AP (B,) from flags `true` (N,) and `weights` (B, N) of ranked rows, and `truths` (B,)."""
    # Recall only rises, and precision only peaks, at true positives: the rest is needed as a count.
    found_here = weights[:, true]
    found = np.cumsum(found_here, axis=1)
    shown = np.cumsum(weights, axis=1)[:, true]
    precision = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
    # The precision at a recall is the largest one at that recall or any higher one.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    if eleven_point:
        total = _at_eleven_recalls(precision, found, truths)
        parts = np.full_like(truths, RECALL_STEPS + 1)
    else:
        total = (precision * found_here).sum(axis=1)
        parts = truths
    return np.divide(total, parts, out=np.full_like(truths, np.nan), where=truths > 0)


def _at_eleven_recalls(precision: FloatArray, found: FloatArray, truths: FloatArray) -> FloatArray:
    """Sum of the precision at recall 0, 0.1, …, 1; 0 beyond the highest recall reached."""
    padded = np.pad(precision, ((0, 0), (0, 1)))
    rows = np.arange(len(padded))
    total = np.zeros(len(padded))
    for step in range(RECALL_STEPS + 1):
        # Compared as whole numbers: 3 of 10 faces must count as recall 0.3, not as just under it.
        first = (found * RECALL_STEPS < step * truths[:, None]).sum(axis=1)
        total += padded[rows, first]
    return total
