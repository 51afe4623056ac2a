"""The whole pipeline as an alarm: is this face not properly masked?

Positive means that an alarm is due. The outcomes of an annotated face (found and right, found and
wrong, not found) and the rule that a face not found counts as masked, since it raises no alarm, are
those of the mask detector of dataroots (https://github.com/datarootsio/face-mask-detection). There
the words are turned round: its "TNR" is the share of unmasked faces found as such, its "FNR" that
of masked faces taken for unmasked. `tnr` and `fnr` here are these.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.alarm_counts import (
    ALARM_SCORE,
    OUTCOMES,
    AlarmCounts,
    IncorrectPolicy,
    area_under_roc,
    compute_alarm,
    count_alarms,
    describe_roc,
)
from evaluate.measures.bootstrap import (
    LEVEL,
    bootstrap_intervals,
    describe_intervals,
    describe_values,
)
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.pairs import CROP_IOU

_INCORRECT = {
    "alarm": "counts as not masked",
    "no-alarm": "counts as masked",
    "leave-out": "is not asked about, nor are detections on it held against the pipeline; the "
    "alarm score is that of no mask as a share of the probabilities of the other two classes",
}


def describe_alarm(
    truth: GroundTruth,
    detections: Detections,
    *,
    crops: Detections | None = None,
    policy: IncorrectPolicy = "alarm",
    thresh: float = 0.5,
    inclusive: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the pipeline as an alarm.

    Args:
        truth: Annotated faces of the three mask classes.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        crops: What the classifier alone says of the annotated boxes, placed likewise.
        policy: What a mask worn wrongly is. With "leave-out" such faces are treated like difficult
            ones, and the probabilities of the other two classes are scaled to add up to 1.
        thresh: Detections with a lower detector's score do not exist here.
        inclusive: See `evaluate.measures.matching.paired_iou`.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        `counts` of faces by class and outcome, and `right`, `wrong`, `not_found`, their shares by
        class; `tnr`, `fnr` as dataroots counts them, and among found faces (`tnr_found`,
        `fnr_found`); `auc` of all faces; `crops_auc`,
        `crops_accuracy` of the classifier alone; `false_faces`, `false_alarms` (numbers) and
        `false_faces_per_photo`, `false_alarms_per_photo`; `roc`, `crops_roc` as of
        `roc.describe_roc`; `photos`, `faces_left_out`; `intervals` (95 %, by the same
        names); `definitions`. Whatever is not defined is None.

    Raises:
        ValueError: The classes are not the three mask classes.
        CropsError: `crops` is not of annotated boxes.
        ProbabilityError: Class probabilities that do not add up to 1.
    """
    counts = count_alarms(
        truth, detections, crops=crops, policy=policy, thresh=thresh, inclusive=inclusive
    )
    values = {name: array[0] for name, array in compute_alarm(counts).items()}
    rocs = {}
    for name, faces in (("", counts.faces), ("crops_", counts.crops)):
        if faces is not None:
            values[f"{name}auc"] = np.float64(area_under_roc(faces.due, faces.scores))
        rocs[f"{name}roc"] = None if faces is None else describe_roc(faces.due, faces.scores)
    false = counts.false.sum(axis=0).astype(np.int64).tolist()
    return {
        "photos": len(truth.photos),
        "faces_left_out": counts.left_out,
        "counts": _describe_counts(counts),
        **describe_values(values, CLASSES),
        "false_faces": sum(false),
        "false_alarms": false[1],
        **rocs,
        "intervals": _measure_intervals(counts, resamples, seed) if resamples else None,
        "definitions": _define(policy, thresh, inclusive, resamples, seed),
    }


def _describe_counts(counts: AlarmCounts) -> dict[str, dict[str, int]]:
    totals = counts.outcomes.sum(axis=0).astype(np.int64).tolist()
    return {
        name: {"annotated": sum(row), **dict(zip(OUTCOMES, row, strict=True))}
        for name, row in zip(CLASSES, totals, strict=True)
    }


def _measure_intervals(counts: AlarmCounts, resamples: int, seed: int) -> dict[str, Any]:
    crops = 0 if counts.crops is None else len(counts.crops.scores)
    ends = bootstrap_intervals(
        partial(compute_alarm, counts),
        photos=len(counts.outcomes),
        resamples=resamples,
        seed=seed,
        rows=max(len(counts.faces.scores), crops),
    )
    return describe_intervals(ends, CLASSES)


def _define(
    policy: IncorrectPolicy, thresh: float, inclusive: bool, resamples: int, seed: int
) -> dict[str, Any]:
    """What the numbers mean."""
    return {
        "positive": "an alarm is due: the face is not properly masked",
        "policy": policy,
        "incorrect": f"a mask worn wrongly {_INCORRECT[policy]}",
        "thresh": thresh,
        "inclusive": inclusive,
        "matching": f"detections with a detector's score of at least {thresh:g}, paired with faces "
        f"whatever their class at IoU {MATCH_IOU} or more, by falling detector's score, each with "
        f"the best face still free; for crops IoU {CROP_IOU}",
        "alarm_score": "sum of the probabilities of the classes that call for an alarm; without "
        f"probabilities 1 or 0 by the label; an alarm is raised from {ALARM_SCORE} on",
        "not_found": "a face not found raises no alarm: it counts as masked, with alarm score 0",
        "tnr": "share of unmasked faces with an alarm; tnr_found: among found faces. The negative "
        "is an unmasked face here, for TNR and FNR alone, so as to compare with dataroots",
        "fnr": "share of masked faces with an alarm; fnr_found: among found faces",
        "false_faces": "detections on no face; false_alarms: those of them with an alarm; neither "
        "is in the rates or the curve",
        "roc": "fpr: share of masked faces with an alarm; tpr: share of unmasked faces with one; "
        "beyond the last threshold above 0 the curve is a straight line to (1, 1), which faces "
        "that are not found keep out of reach",
        "difficult": "difficult faces are not asked about, nor are detections on them",
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap by photo",
            "resamples": resamples,
            "seed": seed,
        },
    }
