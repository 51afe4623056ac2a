"""Precision against recall, and the points on that curve a user would work at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth
from evaluate.measures.average_precision import RankedHits
from evaluate.measures.bootstrap import bootstrap_intervals, share, to_interval
from evaluate.measures.headline import describe_confusion
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.metrics import FACE_IOUS, IOUS, Matches, Rules, match_predictions


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


THRESH = 0.5
"""Detector score from which `run.py` shows a face."""

FACES = "face"
"""Name of the row in which all classes count as one."""

_NAMES = ("precision", "recall", "f1")


def trace_curves(classes: tuple[str, ...], matches: Matches) -> dict[str, Curve]:
    """The curve of each class at IoU 0.5, and that of faces whatever their class as `face`.

    Classes are ranked by `score`, faces by `detection`.
    """
    at, face_at = IOUS.index(MATCH_IOU), FACE_IOUS.index(MATCH_IOU)
    curves = {
        label: trace_curve(hits, at) for label, hits in zip(classes, matches.classes, strict=True)
    }
    return {**curves, FACES: trace_curve(matches.faces, face_at)}


def describe_operating_points(
    truth: GroundTruth,
    detections: Detections,
    matches: Matches,
    rules: Rules,
    *,
    thresh: float = THRESH,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """What a user gets who leaves out detections under a threshold, and what the best cut gives.

    Args:
        truth: Annotated faces.
        detections: All predicted faces.
        matches: All of them matched under `rules`.
        rules: How to count.
        thresh: Lowest detector score that is kept.
        resamples: Bootstrap resamples by photo; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        `thresh`; `confusion` of the detections that are kept; and `points`, by class and for
        `face`: `at_thresh` and `best_f1`, each with `score`, `precision`, `recall`, `f1` and the
        counts `true`, `shown`, `faces`; `at_thresh` also `intervals`. A class without a hit has
        None for `best_f1`.
    """
    kept = np.flatnonzero(detections.detection >= thresh)
    # Once every row is a detection of each class, a precision of labels is no longer defined.
    by_label = Rules(inclusive=rules.inclusive, eleven_point=rules.eleven_point)
    shown = match_predictions(truth, detections.take(kept, detections.photo[kept]), by_label)
    hits = dict(zip(truth.classes, shown.classes, strict=True))
    hits[FACES] = shown.faces
    counts = {name: _count_by_photo(ranked) for name, ranked in hits.items()}
    ends: Mapping[str, FloatArray] = {}
    if resamples:
        ends = bootstrap_intervals(
            lambda weights: _share_all(counts, weights),
            photos=len(truth.photos),
            resamples=resamples,
            seed=seed,
        )
    curves = trace_curves(truth.classes, matches)
    points: dict[str, Any] = {}
    for name, count in counts.items():
        true, seen, faces = (int(part.sum()) for part in count)
        at_thresh = _describe_point(OperatingPoint(thresh, true, seen, faces))
        intervals = {part: to_interval(ends[f"{name}/{part}"]) for part in _NAMES} if ends else None
        best = find_best_f1(curves[name])
        points[name] = {
            "at_thresh": {**at_thresh, "intervals": intervals},
            "best_f1": _describe_point(best) if best else None,
        }
    return {
        "thresh": thresh,
        "iou": MATCH_IOU,
        "points": points,
        "confusion": describe_confusion(truth.classes, shown),
    }


def _count_by_photo(hits: RankedHits) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Right detections, all detections, and faces of each photo, (P,) each."""
    photos = len(hits.truths)
    true = np.bincount(hits.photo[hits.true[0]], minlength=photos)
    shown = np.bincount(hits.photo[~hits.ignored[0]], minlength=photos)
    return true.astype(float), shown.astype(float), hits.truths.astype(float)


def _share_all(
    counts: Mapping[str, tuple[FloatArray, FloatArray, FloatArray]], weights: FloatArray
) -> dict[str, FloatArray]:
    shares: dict[str, FloatArray] = {}
    for name, parts in counts.items():
        true, shown, faces = (weights @ part for part in parts)
        shares[f"{name}/precision"] = share(true, shown)
        shares[f"{name}/recall"] = share(true, faces)
        shares[f"{name}/f1"] = share(2 * true, shown + faces)
    return shares


def _describe_point(point: OperatingPoint) -> dict[str, Any]:
    return {
        "score": point.score,
        "precision": point.precision,
        "recall": point.recall,
        "f1": point.f1,
        "true": point.true,
        "shown": point.shown,
        "faces": point.faces,
    }
