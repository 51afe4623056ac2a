"""Whether class probabilities can be believed: of faces given 0.9, are nine in ten right?"""

from __future__ import annotations

from functools import partial
from typing import Any

from evaluate.measures.bootstrap import LEVEL, bootstrap_intervals
from evaluate.measures.grades import (
    BINS,
    LEAST_PROBABILITY,
    GradedFaces,
    compute_calibration,
    count_grades,
    grade_faces,
)
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.named_numbers import describe_intervals, describe_values
from evaluate.measures.pairs import CROP_IOU, pair_crops, pair_faces
from evaluate.measures.undefined import share
from evaluate.measures.unsure import describe_unsure
from evaluate.records import Detections, FloatArray, GroundTruth


def describe_calibration(
    truth: GroundTruth,
    detections: Detections,
    *,
    crops: Detections | None = None,
    thresh: float = 0.5,
    inclusive: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the class probabilities of found faces, and of annotated boxes.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        crops: What the classifier alone says of the annotated boxes, placed likewise.
        thresh: Detections with a lower detector's score are passed over.
        inclusive: See `evaluate.measures.iou.paired_iou`.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        `pipeline` and `crops`, each as of `describe_grades`, or None without probabilities; and
        `definitions`.

    Raises:
        CropsError: `crops` is not of annotated boxes.
        ProbabilityError: Class probabilities that do not add up to 1.
    """
    pairs = pair_faces(truth, detections, thresh=thresh, inclusive=inclusive)
    graded = {"pipeline": grade_faces(truth, detections, pairs), "crops": None}
    if crops is not None:
        graded["crops"] = grade_faces(truth, crops, pair_crops(truth, crops, inclusive=inclusive))
    return {
        **{
            name: None if faces is None else describe_grades(faces, resamples=resamples, seed=seed)
            for name, faces in graded.items()
        },
        "definitions": _define(thresh, inclusive, resamples, seed),
    }


def describe_grades(faces: GradedFaces, *, resamples: int, seed: int) -> dict[str, Any]:
    """Measure the class probabilities of faces.

    Args:
        faces: Faces with probabilities.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        `faces` (number); `accuracy`, `confidence` (mean), `ece`, `brier`, `log_loss`; `bins`, for
        each `low`, `high`, `count`, `confidence`, `accuracy`; `unsure` as of
        `unsure.describe_unsure`; `intervals` (95 %, by the same names). Whatever is not
        defined is None.
    """
    counts = count_grades(faces)
    statistic = partial(compute_calibration, counts)
    values = {name: array[0] for name, array in compute_calibration(counts).items()}
    unsure, unsure_intervals = describe_unsure(faces.answers, resamples=resamples, seed=seed)
    intervals = None
    if resamples:
        ends = bootstrap_intervals(
            statistic, photos=faces.photos, resamples=resamples, seed=seed, rows=3 * BINS
        )
        intervals = {**describe_intervals(ends), "unsure": unsure_intervals}
    return {
        "faces": len(faces.labels),
        **describe_values(values),
        "bins": _describe_bins(counts.bins.sum(axis=0)),
        "unsure": unsure,
        "intervals": intervals,
    }


def _describe_bins(bins: FloatArray) -> list[dict[str, Any]]:
    """From (3, `BINS`) sums."""
    columns = {"confidence": share(bins[1], bins[0]), "accuracy": share(bins[2], bins[0])}
    return [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "count": int(bins[0, number]),
            **describe_values({name: column[number] for name, column in columns.items()}),
        }
        for number in range(BINS)
    ]


def _define(thresh: float, inclusive: bool, resamples: int, seed: int) -> dict[str, Any]:
    """What the numbers mean."""
    return {
        "pipeline": f"faces with a detection of a detector's score of at least {thresh:g} at IoU "
        f"{MATCH_IOU} or more, whatever its class",
        "crops": f"faces with a row of their own box (IoU {CROP_IOU} or more)",
        "thresh": thresh,
        "inclusive": inclusive,
        "probabilities": "scaled to add up to 1; the answer is the likeliest class, the confidence "
        "its probability",
        "ece": f"expected calibration error with {BINS} bins of equal width, a bin holding its "
        "upper edge (Guo et al., On Calibration of Modern Neural Networks, 2017); that of a "
        "resample tends to be larger than that of the sample, so its interval lies high",
        "brier": "mean over the faces of the sum over the classes of (p - y)², 0 to 2",
        "log_loss": "mean of -ln p of the annotated class, p taken for at least "
        f"{LEAST_PROBABILITY:g}",
        "unsure": "faces whose confidence is under the limit are answered 'unsure'; accuracy and "
        "macro recall are those of the answered faces, the latter over the classes that have some; "
        "intervals are for the limit as given",
        "aurc": "area under the risk-coverage curve: mean over the faces of the share of wrong "
        "answers among those at least as sure (Geifman et al., Bias-Reduced Uncertainty "
        "Estimation for Deep Neural Classifiers, 2019)",
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap by photo",
            "resamples": resamples,
            "seed": seed,
        },
    }
