"""Class probabilities of faces, graded against what the faces are, once for any weighting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluate.measures.pairs import Pairs, normalise_probabilities
from evaluate.measures.photo_counts import tally
from evaluate.measures.undefined import share
from evaluate.measures.unsure import Answers
from evaluate.records import Detections, FloatArray, GroundTruth, IntArray

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
