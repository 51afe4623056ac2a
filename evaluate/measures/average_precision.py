"""Average precision as PASCAL VOC defines it.

Everingham, Van Gool, Williams, Winn, Zisserman, "The PASCAL Visual Object Classes (VOC) Challenge",
IJCV 88 (2010), section 4.2: detections are ranked by score, and AP summarises the precision reached
at every recall. Two ways of summing are in use: at 11 recalls (VOC 2007), and at every recall that
occurs (VOC 2010 on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.bootstrap import RANKS_AT_ONCE, RankedCounts, share, tally, weigh
from evaluate.measures.matching import BoxGroups, Overlaps, flag_hits

AnyBoxes = TypeVar("AnyBoxes", GroundTruth, Detections, BoxGroups)


@dataclass(frozen=True)
class Rules:
    """How to count."""

    inclusive: bool = False  # Whether `xmax`, `ymax` are the last pixel inside, as in the VOC kit.
    eleven_point: bool = False  # AP at 11 recalls instead of at every recall.
    all_classes: bool = False
    """Every row is a detection of each class, with score detection × probability, instead of one of
    its label. Concerns the AP of classes only."""

    def widen(self, table: AnyBoxes) -> AnyBoxes:
        """With boxes to the far edges: sides `xmax - xmin + 1` where the last pixel is inside."""
        wider = table.boxes + np.array([0, 0, 1, 1])
        return replace(table, boxes=wider) if self.inclusive else table


RECALL_STEPS = 10  # The 11-point form reads the curve at recall 0, 0.1, …, 1.


@dataclass(frozen=True)
class RankedHits:
    """Detections of one class in order of rank, matched once for several IoU thresholds."""

    photo: IntArray  # (N,)
    true: BoolArray  # (T, N) true positives at each threshold.
    ignored: BoolArray  # (T, N) detections on difficult faces, which count neither way.
    truths: IntArray  # (P,) faces per photo that are not difficult.
    scores: FloatArray  # (N,) what they are ranked by, falling.
    eleven_point: bool = False  # See `Rules`.

    @cached_property
    def runs(self) -> tuple[FloatArray, list[RankedCounts]]:
        """What counts at each threshold, false and true: (P, T, 2), and by runs of true positives.

        A run has no false detection inside, so precision only peaks where it ends; its false
        detections are those since the run before. Those behind the last run change nothing. The
        last run is rank 0.
        """
        counts, found = [], []
        for true, ignored in zip(self.true, self.ignored, strict=True):
            before = np.cumsum(~(true | ignored))
            levels = np.unique(before[true])
            run = len(levels) - 1 - np.searchsorted(levels, before)
            some = np.flatnonzero(~ignored & (run >= 0))
            photo, flags, photos = self.photo[some], true[some], len(self.truths)
            counts.append(tally(photo, flags, photos=photos, shape=[2]))
            found.append(RankedCounts.tally(photo, run[some], flags))
        return np.stack(counts, axis=1), found

    @classmethod
    def at_one_iou(cls, photo: IntArray, true: BoolArray, *rest: Any) -> RankedHits:
        """Hits (N,) at a single threshold, none of them ignored."""
        return cls(photo, true[None], np.zeros((1, len(true)), dtype=np.bool_), *rest)

    @classmethod
    def match(
        cls,
        best: tuple[FloatArray, IntArray],
        photo: IntArray,
        scores: FloatArray,
        difficult: BoolArray,
        truths: IntArray,
        ious: Sequence[float],
        *,
        eleven_point: bool = False,
    ) -> RankedHits:
        """Rank detections by scores (N,), equal ones as they come, and match them at every IoU.

        `best` is the face that each overlaps most; an IoU equal to the threshold is a hit.
        """
        order = np.argsort(-scores, kind="stable")
        best_iou, best_face = best[0][order], best[1][order]
        flags = [flag_hits(best_iou, best_face, difficult, iou=iou) for iou in ious]
        true, ignored = np.array(flags, dtype=np.bool_).swapaxes(0, 1)
        return cls(photo[order], true, ignored, truths, scores[order], eleven_point)


def rank_classes(overlaps: Overlaps, rules: Rules, ious: Sequence[float]) -> tuple[RankedHits, ...]:
    """Rank and match the detections of each class.

    Raises:
        ValueError: `rules.all_classes` without class probabilities.
    """
    truth, detections = overlaps.truth, overlaps.detections
    scores, shown = detections.scores[:, None], overlaps.own
    if rules.all_classes:
        if detections.probabilities is None:
            raise ValueError("all_classes needs the class probabilities of every detection")
        scores = detections.detection[:, None] * detections.probabilities
        shown = np.ones_like(shown)
    scores = np.broadcast_to(scores, shown.shape)
    return tuple(
        RankedHits.match(
            (overlaps.iou[rows, label], overlaps.face[rows, label]),
            detections.photo[rows],
            scores[rows, label],
            truth.difficult,
            count_asked(truth, truth.labels == label),
            ious,
            eleven_point=rules.eleven_point,
        )
        for label, rows in enumerate(map(np.flatnonzero, shown.T))
    )


def count_asked(truth: GroundTruth, some: BoolArray | bool = True) -> IntArray:
    """Faces (P,) of each photo, of those flagged (G,), that are not difficult."""
    return np.bincount(truth.photo[~truth.difficult & some], minlength=len(truth.photos))


def average_precisions(many: Sequence[RankedHits], weights: FloatArray) -> list[FloatArray]:
    """AP (B, T) of each at every threshold, for weightings of the photos (B, P), whole numbers.

    A photo of weight 2 counts as if it, and all on it, were there twice. NaN where no face is left
    to find. What those share that differ in `truths` alone is worked out once.
    """
    keys = [(id(hits.true), hits.eleven_point and id(hits.truths)) for hits in many]
    own = dict(zip(reversed(keys), reversed(many), strict=True))
    counts = [hits.runs[0].reshape(len(hits.truths), 2 * len(hits.true)) for hits in own.values()]
    columns = np.column_stack([*(hits.truths for hits in many), *counts])
    ends = np.cumsum([len(many), *(part.shape[1] for part in counts)])
    truths, *whole, _ = np.split(weigh(weights, columns).T, ends)  # One pass over the weights.
    faces = dict(zip(keys, truths, strict=True))
    areas = {
        key: _find_areas(own[key], faces[key], part.reshape(-1, 2, len(weights)), weights)
        for key, part in zip(own, whole, strict=True)
    }
    return [share(areas[key], faces[:, None]) for key, faces in zip(keys, truths, strict=True)]


def _find_areas(
    hits: RankedHits, truths: FloatArray, whole: FloatArray, weights: FloatArray
) -> FloatArray:
    """Areas under the curves over faces, not recall, (B, T).

    From the weighted faces to find (B,), and all that counts, false and true, (T, 2, B).
    """
    areas = np.zeros((len(weights), len(whole)))
    shown = np.empty((RANKS_AT_ONCE, len(weights)), np.float32)
    precision = np.empty(shown.shape)
    for column, (of_runs, ends) in enumerate(zip(hits.runs[1], whole, strict=True)):
        # The precision at a recall is the largest one at that recall or any higher one: `best`.
        best, read = np.zeros(len(weights)), np.zeros((RECALL_STEPS + 1, len(weights)))
        for sums, less in of_runs.weigh(weights, -ends):
            # Down to the end of each run, as negative numbers: their ratio is the precision.
            true, rows = less[:-1, 1], slice(len(sums))
            np.minimum(np.add(less[:-1, 0], true, out=shown[rows]), -1, out=shown[rows])
            np.divide(true, shown[rows], out=precision[rows], dtype=np.float64)
            if hits.eleven_point:
                # Compared as whole numbers: 3 of 10 faces must count as recall 0.3, not under it.
                for step, highest in enumerate(read):
                    reached = true * -RECALL_STEPS >= step * truths
                    reached = np.where(reached, precision[rows], 0)
                    np.maximum(highest, reached.max(axis=0), out=highest)
                continue
            highest = best
            for row in precision[rows]:
                highest = np.maximum(row, highest, out=row)
            best[:] = highest
            areas[:, column] += np.einsum("rb,rb->b", sums[:, 1], precision[rows])
        if hits.eleven_point:
            areas[:, column] = read.mean(axis=0) * truths
    return areas
