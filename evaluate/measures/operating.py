"""Precision and recall where the system is run: at the detector's threshold, and at best F1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluate.measures.average_precision import RankedHits
from evaluate.measures.bootstrap import bootstrap_intervals
from evaluate.measures.curves import Curve, OperatingPoint, find_best_f1, trace_curve
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.metrics import FACE_IOUS, IOUS, Matches, Rules, match_predictions
from evaluate.measures.undefined import share, to_interval
from evaluate.record import describe_confusion
from evaluate.records import Detections, FloatArray, GroundTruth

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
