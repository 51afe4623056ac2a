"""Whether class probabilities can be believed: of faces given 0.9, are nine in ten right?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from evaluate.arrays import Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.bootstrap import (
    LEVEL,
    bootstrap_intervals,
    describe_intervals,
    describe_values,
    share,
    tally,
)
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.pairs import CROP_IOU, Pairs, normalise_probabilities, pair_crops, pair_faces
from evaluate.measures.unsure import Answers, describe_unsure

BINS = 15
"""Bins of equal width, as many as Guo et al. use."""

LEAST_PROBABILITY = 5e-6
"""Half the last of five written decimals: a probability written as 0 is not known to be smaller,
and the logarithm of 0 would outweigh all else."""


@dataclass(frozen=True)
class GradedFaces:
    """F annotated faces with the class probabilities they were given.

    Attributes:
        photos: Number of photos P, with and without faces.
        photo: (F,) photo of each face.
        labels: (F,) annotated class.
        probabilities: (F, C) class probabilities, adding up to 1.
    """

    photos: int
    photo: IntArray
    labels: IntArray
    probabilities: FloatArray

    @property
    def answers(self) -> Answers:
        """The likeliest class, the first of equal ones, taken as the answer."""
        return Answers(
            photos=self.photos,
            classes=self.probabilities.shape[1],
            photo=self.photo,
            labels=self.labels,
            confidence=self.probabilities.max(axis=1),
            right=self.probabilities.argmax(axis=1) == self.labels,
        )


@dataclass(frozen=True)
class CalibrationCounts:
    """What the numbers are counted from.

    Attributes:
        bins: (P, 3, `BINS`) per photo and bin of confidence: faces, their summed confidence, and
            right answers.
        losses: (P, 2) per photo: summed Brier score and log loss.
    """

    bins: FloatArray
    losses: FloatArray


def grade_faces(truth: GroundTruth, detections: Detections, pairs: Pairs) -> GradedFaces | None:
    """Class probabilities of the faces that have a detection.

    Args:
        truth: Annotated faces.
        detections: Predicted faces.
        pairs: Of the two, from `evaluate.measures.pairs`.

    Returns:
        The faces, or None when the detections have no probabilities.

    Raises:
        ProbabilityError: Class probabilities that do not add up to 1.
    """
    probabilities = normalise_probabilities(truth, detections)
    if probabilities is None:
        return None
    found = pairs.found_only()
    return GradedFaces(found.photos, found.photo, found.labels, probabilities[found.rows])


def count_grades(faces: GradedFaces) -> CalibrationCounts:
    """Add up per photo what the numbers need."""
    answers = faces.answers
    # A bin holds its upper edge, not its lower one.
    edges = np.arange(1, BINS) / BINS
    cells = np.searchsorted(edges, answers.confidence, side="left")
    bins = [
        tally(faces.photo, cells, photos=faces.photos, size=BINS, values=values)
        for values in (None, answers.confidence, answers.right.astype(np.float64))
    ]
    rows = np.arange(len(faces.labels))
    of_truth = faces.probabilities[rows, faces.labels]
    # Σ (p - y)² over the classes, with y 1 for the annotated class and 0 for the others.
    brier = (faces.probabilities**2).sum(axis=1) - 2 * of_truth + 1
    log_loss = -np.log(np.maximum(of_truth, LEAST_PROBABILITY))
    nowhere = np.zeros_like(faces.photo)
    losses = [
        tally(faces.photo, nowhere, photos=faces.photos, size=1, values=values)
        for values in (brier, log_loss)
    ]
    return CalibrationCounts(bins=np.stack(bins, axis=1), losses=np.concatenate(losses, axis=1))


def compute_calibration(
    counts: CalibrationCounts, weights: FloatArray | None = None
) -> Mapping[str, FloatArray]:
    """Accuracy, mean confidence, ECE, Brier score and log loss; NaN without faces.

    The expected calibration error is the mean over the faces of |accuracy - mean confidence| of
    their bin (Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
    eq. 3 and 5). The Brier score is the mean over the faces of Σ (p - y)² over the classes, 0 to 2
    (Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review 78
    (1950), 1-3). The log loss is the mean of -ln p of the annotated class.

    Args:
        counts: From `count_grades`.
        weights: (B, P) how often each photo counts; once each when None, so that B is 1.

    Returns:
        By name (B,).
    """
    photos = len(counts.bins)
    if weights is None:
        weights = np.ones((1, photos))
    bins = (weights @ counts.bins.reshape(photos, -1)).reshape(-1, 3, BINS)
    losses = weights @ counts.losses
    total, confidence, right = bins.sum(axis=2).T
    return {
        "accuracy": share(right, total),
        "confidence": share(confidence, total),
        "ece": share(np.abs(bins[:, 2] - bins[:, 1]).sum(axis=1), total),
        "brier": share(losses[:, 0], total),
        "log_loss": share(losses[:, 1], total),
    }


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
        inclusive: See `evaluate.measures.matching.paired_iou`.
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
