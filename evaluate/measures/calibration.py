"""Whether class probabilities can be believed, and what is gained by answering "unsure".

Calibration: of faces given 0.9, are nine in ten right? Selective prediction: faces whose likeliest
class is not likely enough get no answer.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evaluate.arrays import BoolArray, FloatArray, IntArray
from evaluate.measures.bootstrap import (
    RankedCounts,
    describe,
    mean_of_defined,
    share,
    tally,
    to_number,
    weigh,
)
from evaluate.measures.case import Case, normalise_probabilities

BINS = 15  # Of equal width, as many as Guo et al. use.

LEAST_PROBABILITY = 5e-6
"""Half the last of five written decimals: a probability written as 0 is not known to be smaller,
and the logarithm of 0 would outweigh all else."""

LIMITS = tuple(percent / 100 for percent in range(34, 100))
"""Limits of the curve of selective prediction: 0.34, a little over what three classes leave for the
top one, to 0.99."""

PERCENTS = (100, 95, 90, 80, 70)  # Shares of the faces to be answered, in the table.
_KEYS = [str(percent) for percent in PERCENTS]


@dataclass(frozen=True)
class GradedFaces:
    """F annotated faces with the class probabilities they were given."""

    photo: IntArray  # (F,)
    labels: IntArray  # (F,) annotated class.
    probabilities: FloatArray  # (F, C), adding up to 1.

    @cached_property
    def confidence(self) -> FloatArray:
        """(F,) probability of the likeliest class."""
        return self.probabilities.max(axis=1)

    @cached_property
    def right(self) -> BoolArray:
        """(F,) whether the likeliest class, the first of equal ones, is the annotated one."""
        return self.probabilities.argmax(axis=1) == self.labels


def describe_calibration(case: Case) -> dict[str, Any]:
    """Measure the class probabilities of found faces (`pipeline`) and annotated boxes (`crops`)."""
    sides = {"pipeline": (case.detections, case.pairs), "crops": (case.crops, case.crop_pairs)}
    sections: dict[str, Any] = {}
    for name, (detections, pairs) in sides.items():
        sections[name] = None
        if detections is None or pairs is None:
            continue
        probabilities = normalise_probabilities(case.truth, detections)
        if probabilities is not None:
            found = pairs.found_only()
            faces = GradedFaces(found.photo, found.labels, probabilities[found.rows])
            sections[name] = describe_grades(case, faces)
    definitions = case.define("calibration", bins=BINS, least_probability=LEAST_PROBABILITY)
    return {**sections, "definitions": definitions}


def describe_grades(case: Case, faces: GradedFaces) -> dict[str, Any]:
    """Measure the class probabilities of faces; whatever is not defined is None.

    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3 and
    5; Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review
    78 (1950), 1-3.
    """
    # A bin holds its upper edge, not its lower one.
    cells = np.searchsorted(np.arange(1, BINS) / BINS, faces.confidence, side="left")
    bins = np.stack(
        [
            tally(faces.photo, cells, photos=case.photos, shape=[BINS], values=values)
            for values in (None, faces.confidence, faces.right.astype(float))
        ],
        axis=1,
    )
    of_truth = faces.probabilities[np.arange(len(faces.labels)), faces.labels]
    # Σ (p - y)² over the classes, with y 1 for the annotated class and 0 for the others.
    brier = (faces.probabilities**2).sum(axis=1) - 2 * of_truth + 1
    log_loss = -np.log(np.maximum(of_truth, LEAST_PROBABILITY))
    losses = np.stack(
        [tally(faces.photo, photos=case.photos, values=values) for values in (brier, log_loss)],
        axis=1,
    )

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        in_bins, lost = weigh(weights, bins), weigh(weights, losses)
        total, confidence, right = in_bins.sum(axis=2).T
        return {
            "accuracy": share(right, total),
            "confidence": share(confidence, total),
            "ece": share(np.abs(in_bins[:, 2] - in_bins[:, 1]).sum(axis=1), total),
            "brier": share(lost[:, 0], total),
            "log_loss": share(lost[:, 1], total),
        }

    numbers, intervals = case.measure(compute)
    unsure, unsure_intervals = describe_unsure(case, faces)
    count, confidence, right = bins.sum(axis=0)
    columns = {"confidence": share(confidence, count), "accuracy": share(right, count)}
    return {
        "faces": len(faces.labels),
        **numbers,
        "bins": [
            {
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "count": int(count[number]),
                **{name: to_number(column[number]) for name, column in columns.items()},
            }
            for number in range(BINS)
        ],
        "unsure": unsure,
        "intervals": intervals and {**intervals, "unsure": unsure_intervals},
    }


def describe_unsure(case: Case, faces: GradedFaces) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Measure selective prediction: the answer "unsure" to faces under a limit; with intervals.

    `limit` is the largest one at which at least 100, 95, … % of the faces are answered, by the
    percentage as text; the intervals are not those of a limit chosen anew.
    """
    limits, classes = find_limits(faces.confidence), faces.probabilities.shape[1]
    # The last of the limits, which rise, at which a face is answered: it is at those before, too.
    last = np.searchsorted(limits, faces.confidence, side="right") - 1
    columns, shape = (faces.photo, last, faces.labels, faces.right), (len(limits), classes, 2)
    counts = tally(*columns, photos=case.photos, shape=shape)[:, ::-1].cumsum(axis=1)[:, ::-1]
    everyone = tally(faces.photo, photos=case.photos)
    ranked = rank_answers(faces)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        at = weigh(weights, counts)  # (B, limits, classes, wrong and right)
        support = at.sum(axis=3)
        answered = support.sum(axis=2)
        return {
            "aurc": weighted_aurc(ranked, weights),
            "answered": share(answered, weigh(weights, everyone)[:, None]),
            "accuracy": share(at[..., 1].sum(axis=2), answered),
            "macro_recall": mean_of_defined(share(at[..., 1], support)),
        }

    numbers, intervals = case.measure(
        compute, dict.fromkeys(("answered", "accuracy", "macro_recall"), (_KEYS,))
    )
    return {**numbers, "limit": describe(limits, (_KEYS,)), "curve": _trace(faces)}, intervals


def find_limits(confidence: FloatArray) -> FloatArray:
    """The largest limits (K,) at which at least each of `PERCENTS` of F faces are answered.

    NaN without faces.
    """
    falling = np.sort(confidence)[::-1]
    if not len(falling):
        return np.full(len(PERCENTS), np.nan)
    # In whole numbers, rounded up: 0.7 × 10 faces must be 7, not a little over.
    wanted = np.array([-(-percent * len(falling) // 100) for percent in PERCENTS])
    return falling[wanted - 1]


def rank_answers(faces: GradedFaces) -> RankedCounts:
    """Right answers and others by distinct confidence, the surest first."""
    ranks = np.unique(-faces.confidence, return_inverse=True)[1]
    return RankedCounts.tally(faces.photo, ranks, faces.right)


def weighted_aurc(ranked: RankedCounts, weights: FloatArray) -> FloatArray:
    """Area under the risk-coverage curve (B,), for weightings of the photos (B, P); 0 is best.

    Of answers as of `rank_answers`. The mean, over the faces, of the share of wrong answers among
    the faces answered at least as surely; equally sure ones come together. Without equals it is the
    AURC of Geifman, Uziel, El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers", ICLR 2019. NaN without faces.
    """
    area, total = np.zeros((2, len(weights)))
    for _, before in ranked.weigh(weights):
        seen = before[:, 0] + before[:, 1]
        risk = np.divide(before[1:, 0], np.maximum(seen[1:], 1), dtype=np.float64)
        area += np.einsum("rb,rb->b", np.diff(seen, axis=0), risk)
        total = seen[-1].astype(np.float64)
    return share(area, total)


def _trace(faces: GradedFaces) -> dict[str, list[float | None]]:
    """The curve over all `LIMITS`."""
    sure = (faces.confidence[:, None] >= LIMITS).astype(np.float64)  # (F, limits)
    answered, right = sure.sum(axis=0), sure[faces.right].sum(axis=0)
    return {
        "limit": list(LIMITS),
        "answered": [to_number(value) for value in share(answered, np.array(float(len(sure))))],
        "accuracy": [to_number(value) for value in share(right, answered)],
    }
