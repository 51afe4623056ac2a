"""Precision against recall, and the points on that curve a user would work at."""

from typing import Any

import numpy as np
import pandas as pd

from evaluate.arrays import FloatArray
from evaluate.measures.average_precision import RankedHits, Rules
from evaluate.measures.bootstrap import share, weigh
from evaluate.measures.case import Case, describe_confusion, match_predictions
from evaluate.measures.matching import MATCH_IOU

FACES = "face"  # Name of the row in which all classes count as one.


def trace_curve(hits: RankedHits) -> pd.DataFrame:
    """Precision and recall at every cut, at the first of the IoU thresholds of `hits`.

    Columns: `score` (distinct, falling: a cut keeps it and all above), `precision`, `recall` (NaN
    without a face), `f1` = 2 TP / (detections + faces), `true` positives and detections `shown`,
    without those on difficult faces, and `faces` to find. Detections of equal score stand or fall
    together: no cut can tell them apart, so the curve has one point for all of them.
    """
    counted = ~hits.ignored[0]
    scores = hits.scores[counted]
    last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True][: len(scores)])
    true, shown, faces = np.cumsum(hits.true[0][counted])[last], last + 1, int(hits.truths.sum())
    return pd.DataFrame(
        {
            "score": scores[last],
            "precision": true / shown,
            "recall": true / (faces or np.nan),
            "f1": 2 * true / (shown + faces),
            "true": true,
            "shown": shown,
            "faces": faces,
        }
    )


def trace_curves(case: Case) -> dict[str, pd.DataFrame]:
    """The curve of each class at IoU 0.5, and that of faces whatever their class as `face`.

    Classes are ranked by `score`, faces by `detection`.
    """
    return dict(zip((*case.truth.classes, FACES), map(trace_curve, case.hits), strict=True))


def describe_operating_points(case: Case) -> dict[str, Any]:
    """What a user gets who leaves out detections under a threshold, and what the best cut gives.

    The best cut is chosen on the very data it is measured on, so it flatters.
    """
    # Once every row is a detection of each class, a precision of labels is no longer defined.
    cut = np.flatnonzero(case.detections.detection >= case.options.thresh)
    hits = match_predictions(case.overlaps.take(cut), Rules(), (MATCH_IOU,))
    counts = np.stack(list(map(_count_by_photo, hits)), axis=2)
    names = [*case.truth.classes, FACES]

    def rate(weights: FloatArray) -> dict[str, FloatArray]:
        true, seen, faces = np.moveaxis(weigh(weights, counts), 1, 0)
        return {
            "precision": share(true, seen),
            "recall": share(true, faces),
            "f1": share(2 * true, seen + faces),
        }

    numbers, intervals = case.measure(rate, dict.fromkeys(("precision", "recall", "f1"), (names,)))
    curves = trace_curves(case)
    points: dict[str, Any] = {}
    for index, name in enumerate(names):
        parts = ("true", "shown", "faces")
        points[name] = {
            "at_thresh": {
                "score": case.options.thresh,
                **{part: values[name] for part, values in numbers.items()},
                **dict(zip(parts, counts.sum(axis=0)[:, index].astype(int).tolist(), strict=True)),
                "intervals": intervals and {part: ends[name] for part, ends in intervals.items()},
            },
            "best_f1": find_best_f1(curves[name]),
        }
    return {
        "thresh": case.options.thresh,
        "iou": MATCH_IOU,
        "points": points,
        "confusion": describe_confusion(case.truth.classes, case.count_confusion(case.pairs)),
    }


def find_best_f1(curve: pd.DataFrame) -> dict[str, Any] | None:
    """The cut with the highest F1, the higher score of equal ones; None where none hits a face."""
    if not curve["true"].any():
        return None
    (best,) = curve.iloc[[int(curve["f1"].argmax())]].to_dict("records")
    return {str(name): value for name, value in best.items()}


def _count_by_photo(hits: RankedHits) -> FloatArray:
    """(P, 3) right detections, all detections, and faces of each photo."""
    photos = len(hits.truths)
    true = np.bincount(hits.photo[hits.true[0]], minlength=photos)
    shown = np.bincount(hits.photo[~hits.ignored[0]], minlength=photos)
    return np.stack([true, shown, hits.truths], axis=1).astype(float)
