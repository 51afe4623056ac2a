"""Precision against recall, and the points on that curve a user would work at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluate.measures.average_precision import RankedHits
from evaluate.records import BoolArray, FloatArray


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class when everything under a score is left out.

    Attributes:
        scores: (K,) the distinct scores, falling: each is a cut that keeps it and all above.
        true: (K,) true positives kept at each cut.
        shown: (K,) detections kept at each cut; those on difficult faces are not among them.
        faces: Faces to find.
    """

    scores: FloatArray
    true: FloatArray
    shown: FloatArray
    faces: int

    @property
    def precision(self) -> FloatArray:
        """(K,) share of the kept detections that are right."""
        return self.true / np.maximum(self.shown, 1)

    @property
    def recall(self) -> FloatArray:
        """(K,) share of the faces that are found; NaN without a face."""
        return self.true / self.faces if self.faces else np.full(len(self.true), np.nan)

    @property
    def f1(self) -> FloatArray:
        """(K,) harmonic mean of precision and recall, 2 TP / (detections + faces)."""
        return 2 * self.true / np.maximum(self.shown + self.faces, 1)


@dataclass(frozen=True)
class OperatingPoint:
    """What one cut gives.

    Attributes:
        score: Lowest score that is kept.
        true, shown, faces: Right detections, all detections, faces to find.
    """

    score: float
    true: int
    shown: int
    faces: int

    @property
    def precision(self) -> float | None:
        """Share of the detections that are right; None without one."""
        return self.true / self.shown if self.shown else None

    @property
    def recall(self) -> float | None:
        """Share of the faces that are found; None without one."""
        return self.true / self.faces if self.faces else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without detections and faces."""
        whole = self.shown + self.faces
        return 2 * self.true / whole if whole else None


def trace_curve(hits: RankedHits, threshold: int = 0) -> Curve:
    """Precision and recall at every cut.

    Detections of equal score stand or fall together: no cut can tell them apart, so the curve has
    one point for all of them.

    Args:
        hits: Ranked and matched detections of one class.
        threshold: Which of the IoU thresholds of `hits`.
    """
    counted = ~hits.ignored[threshold]
    scores = hits.scores[counted]
    true = np.cumsum(hits.true[threshold][counted])
    last = _last_of_equal(scores)
    return Curve(
        scores=scores[last],
        true=true[last].astype(np.float64),
        shown=np.flatnonzero(last).astype(np.float64) + 1,
        faces=int(hits.truths.sum()),
    )


def find_best_f1(curve: Curve) -> OperatingPoint | None:
    """The cut with the highest F1, the higher score of equal ones; None where none hits a face.

    It is chosen on the very data it is measured on, so it flatters: use it to choose a cut for
    other photos.
    """
    if not len(curve.scores) or not curve.true.any():
        return None
    best = int(curve.f1.argmax())
    return OperatingPoint(
        float(curve.scores[best]), int(curve.true[best]), int(curve.shown[best]), curve.faces
    )


def _last_of_equal(scores: FloatArray) -> BoolArray:
    """Flags the last of each run of equal values."""
    return np.r_[scores[1:] != scores[:-1], np.ones(min(len(scores), 1), dtype=np.bool_)]
