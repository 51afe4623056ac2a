"""The ROC curve of faces ranked by a score, and the area under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from evaluate.measures.undefined import share
from evaluate.records import BoolArray, FloatArray, IntArray

MOST_POINTS = 200
"""Points of a curve in a record."""


@dataclass(frozen=True)
class RankedFaces:
    """Faces in order of rising score.

    Attributes:
        photo: (F,) photo of each face.
        positive: (F,) whether it should score high.
        starts: (U,) where each run of equal scores starts.
    """

    photo: IntArray
    positive: BoolArray
    starts: IntArray


def rank_faces(photo: IntArray, positive: BoolArray, scores: FloatArray) -> RankedFaces:
    """Rank F faces by their scores."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]][: len(ranked)])
    return RankedFaces(photo[order], positive[order], starts)


def weighted_auc(faces: RankedFaces, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve for several weightings of the photos.

    It is the share of pairs of a positive and a negative face in which the positive one scores
    higher, pairs with equal scores counted half (Hanley, McNeil, "The Meaning and Use of the Area
    under a Receiver Operating Characteristic (ROC) Curve", Radiology 143 (1982), 29-36).

    Args:
        faces: Ranked faces.
        weights: (B, P) how often each photo counts.

    Returns:
        (B,) values from 0 to 1; NaN without faces of both kinds.
    """
    if not len(faces.photo):
        return np.full(len(weights), np.nan)
    counts = weights[:, faces.photo]
    positive = np.add.reduceat(np.where(faces.positive, counts, 0.0), faces.starts, axis=1)
    negative = np.add.reduceat(np.where(faces.positive, 0.0, counts), faces.starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    ordered = (positive * (below + negative / 2)).sum(axis=1)
    return share(ordered, positive.sum(axis=1) * negative.sum(axis=1))


def area_under_roc(positive: BoolArray, scores: FloatArray) -> float:
    """Area under the ROC curve of F faces; NaN without faces of both kinds."""
    if positive.all() or not positive.any():
        return float("nan")
    return float(roc_auc_score(positive, scores))


def describe_roc(positive: BoolArray, scores: FloatArray) -> dict[str, Any] | None:
    """The corners of the ROC curve, at most `MOST_POINTS` of them, its two ends among these.

    Args:
        positive: (F,) whether a face should score high.
        scores: (F,) the faces scored at least a threshold are called positive.

    Returns:
        Lists `fpr`, `tpr` (shares of the negative and positive faces called positive) and
        `threshold`, None at the point where no face is; or None without faces of both kinds.
    """
    if positive.all() or not positive.any():
        return None
    fpr, tpr, thresholds = roc_curve(positive, scores)
    steps = np.linspace(0, len(fpr) - 1, min(len(fpr), MOST_POINTS))
    kept = np.unique(np.round(steps).astype(np.int64))
    return {
        "fpr": fpr[kept].tolist(),
        "tpr": tpr[kept].tolist(),
        "threshold": [None if np.isinf(value) else float(value) for value in thresholds[kept]],
    }
