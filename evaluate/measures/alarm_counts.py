"""Counting what the pipeline does as an alarm, once, for any weighting of the photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from data_prep.base.labels import CLASSES, RARE_CLASS
from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.bootstrap import share, tally
from evaluate.measures.pairs import Pairs, normalise_probabilities, pair_crops, pair_faces

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


IncorrectPolicy = Literal["alarm", "no-alarm", "leave-out"]
"""What a mask worn wrongly is: as good as none, as good as any, or not asked about."""

ALARM_SCORE = 0.5
"""From this alarm score on an alarm is raised."""

OUTCOMES = ("right", "wrong", "not_found")
"""What may become of an annotated face."""

_INCORRECT = np.array([name == RARE_CLASS for name in CLASSES])
_UNMASKED = np.array([name == "without_mask" for name in CLASSES])


@dataclass(frozen=True)
class ScoredFaces:
    """Faces with the alarm score they got.

    Attributes:
        due: (F,) whether an alarm is due.
        scores: (F,) alarm scores, 0 to 1.
        ranked: The same faces, ranked.
        answers: (P, 2) faces per photo with the wrong answer, and with the right one.
    """

    due: BoolArray
    scores: FloatArray
    ranked: RankedFaces
    answers: FloatArray


@dataclass(frozen=True)
class AlarmCounts:
    """What the numbers are counted from.

    Attributes:
        outcomes: (P, C, 3) faces per photo, annotated class and `OUTCOMES`.
        false: (P, 2) detections on no face per photo: without an alarm, and with one.
        due: (C,) classes for which an alarm is due.
        faces: All faces; one that was not found has the alarm score 0.
        crops: The faces that the classifier alone answered for, or None.
        left_out: Number of faces that are not asked about.
    """

    outcomes: FloatArray
    false: FloatArray
    due: BoolArray
    faces: ScoredFaces
    crops: ScoredFaces | None
    left_out: int


def count_alarms(
    truth: GroundTruth,
    detections: Detections,
    *,
    crops: Detections | None,
    policy: IncorrectPolicy,
    thresh: float,
    inclusive: bool,
) -> AlarmCounts:
    """Match and count; arguments and errors as of `evaluate.measures.alarm.describe_alarm`."""
    if truth.classes != CLASSES:
        raise ValueError(f"the alarm is about {', '.join(CLASSES)}, not {', '.join(truth.classes)}")
    if policy == "leave-out":
        truth = replace(truth, difficult=truth.difficult | _INCORRECT[truth.labels])
    due = _UNMASKED | _INCORRECT if policy == "alarm" else _UNMASKED
    scores = score_alarms(truth, detections, policy)
    pairs = pair_faces(truth, detections, thresh=thresh, inclusive=inclusive)
    faces = _score_faces(pairs, scores, due)
    outcome = np.where(pairs.found, (faces.scores >= ALARM_SCORE) != faces.due, 2)
    on_crops = None
    if crops is not None:
        crop_pairs = pair_crops(truth, crops, inclusive=inclusive).found_only()
        on_crops = _score_faces(crop_pairs, score_alarms(truth, crops, policy), due)
    outcomes = tally(
        pairs.photo,
        pairs.labels * len(OUTCOMES) + outcome,
        photos=pairs.photos,
        size=len(CLASSES) * len(OUTCOMES),
    )
    return AlarmCounts(
        outcomes=outcomes.reshape(-1, len(CLASSES), len(OUTCOMES)),
        false=tally(
            detections.photo[pairs.false],
            (scores[pairs.false] >= ALARM_SCORE).astype(np.int64),
            photos=pairs.photos,
            size=2,
        ),
        due=due,
        faces=faces,
        crops=on_crops,
        left_out=int(truth.difficult.sum()),
    )


def score_alarms(truth: GroundTruth, detections: Detections, policy: IncorrectPolicy) -> FloatArray:
    """How much each detection calls for an alarm.

    With class probabilities it is the sum of those of the alarm's classes, so an alarm may be
    raised though the likeliest single class calls for none. With "leave-out" it is the probability
    of no mask as a share of those of the two classes that are asked about, 0 where both are 0.
    Without probabilities it is 1 or 0 by the label.

    Returns:
        (N,) alarm scores, 0 to 1.

    Raises:
        ProbabilityError: Class probabilities that do not add up to 1.
    """
    due = _UNMASKED | _INCORRECT if policy == "alarm" else _UNMASKED
    probabilities = normalise_probabilities(truth, detections)
    if probabilities is None:
        return due[detections.labels].astype(np.float64)
    alarm = probabilities[:, due].sum(axis=1)
    if policy != "leave-out":
        return alarm
    return np.nan_to_num(share(alarm, probabilities[:, ~_INCORRECT].sum(axis=1)))


def compute_alarm(
    counts: AlarmCounts, weights: FloatArray | None = None
) -> Mapping[str, FloatArray]:
    """The numbers of `evaluate.measures.alarm.describe_alarm`, as fractions; NaN where not defined.

    Args:
        counts: From `count_alarms`.
        weights: (B, P) how often each photo counts; once each when None, so that B is 1.

    Returns:
        By name (B,), or (B, C) for `right`, `wrong` and `not_found`.
    """
    photos, classes, outcomes = counts.outcomes.shape
    if weights is None:
        weights = np.ones((1, photos))
    faces = (weights @ counts.outcomes.reshape(photos, -1)).reshape(-1, classes, outcomes)
    per_class = share(faces, np.broadcast_to(faces.sum(axis=2, keepdims=True), faces.shape))
    # Columns as in OUTCOMES; to miss a masked face raises no alarm, which is right.
    masked, unmasked = faces[:, ~counts.due].sum(axis=1), faces[:, counts.due].sum(axis=1)
    false, total = weights @ counts.false, weights.sum(axis=1)
    crops_auc = crops_accuracy = np.full(len(weights), np.nan)
    if counts.crops is not None:
        answers = weights @ counts.crops.answers
        crops_accuracy = share(answers[:, 1], answers.sum(axis=1))
        crops_auc = weighted_auc(counts.crops.ranked, weights)
    return {
        **{name: per_class[:, :, index] for index, name in enumerate(OUTCOMES)},
        "tnr": share(unmasked[:, 0], unmasked.sum(axis=1)),
        "fnr": share(masked[:, 1], masked.sum(axis=1)),
        "tnr_found": share(unmasked[:, 0], unmasked[:, :2].sum(axis=1)),
        "fnr_found": share(masked[:, 1], masked[:, :2].sum(axis=1)),
        "false_faces_per_photo": share(false.sum(axis=1), total),
        "false_alarms_per_photo": share(false[:, 1], total),
        "auc": weighted_auc(counts.faces.ranked, weights),
        "crops_auc": crops_auc,
        "crops_accuracy": crops_accuracy,
    }


def _score_faces(pairs: Pairs, scores: FloatArray, due: BoolArray) -> ScoredFaces:
    """Alarm scores of the faces, 0 for those not found."""
    of_face = np.zeros(len(pairs.rows))
    of_face[pairs.found] = scores[pairs.rows[pairs.found]]
    due_here = due[pairs.labels]
    right = (of_face >= ALARM_SCORE) == due_here
    return ScoredFaces(
        due=due_here,
        scores=of_face,
        ranked=rank_faces(pairs.photo, due_here, of_face),
        answers=tally(pairs.photo, right.astype(np.int64), photos=pairs.photos, size=2),
    )
