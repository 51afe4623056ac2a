"""What is gained by the answer "unsure" for faces whose top class probability is low."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from evaluate.arrays import BoolArray, FloatArray, IntArray
from evaluate.measures.bootstrap import (
    bootstrap_intervals,
    describe_intervals,
    describe_values,
    mean_of_defined,
    share,
    tally,
    to_number,
)

LIMITS = tuple(percent / 100 for percent in range(34, 100))
"""Limits of the curve: 0.34, a little over what three classes leave for the top one, to 0.99."""

PERCENTS = (100, 95, 90, 80, 70)
"""Shares of the faces to be answered, in the table."""


@dataclass(frozen=True)
class Answers:
    """Answers to F faces and how sure they were.

    Attributes:
        photos: Number of photos P.
        classes: Number of classes C.
        photo: (F,) photo of each face.
        labels: (F,) annotated class.
        confidence: (F,) probability of the likeliest class.
        right: (F,) whether that is the annotated one.
    """

    photos: int
    classes: int
    photo: IntArray
    labels: IntArray
    confidence: FloatArray
    right: BoolArray


def describe_unsure(
    answers: Answers, *, resamples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Measure the answer "unsure".

    Args:
        answers: Answers to faces.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        Numbers and their intervals. `aurc` (see `weighted_aurc`); `limit`, the largest one at which
        at least 100, 95, … % of the faces are answered, and `answered` (share), `accuracy`,
        `macro_recall` at it, by the percentage as text; and, only among the numbers, `curve` with
        lists `limit`, `answered`, `accuracy`. The intervals are those of the limit as it is, not
        of a limit chosen anew.
    """
    keys = [str(percent) for percent in PERCENTS]
    limits = find_limits(answers.confidence)
    statistic = partial(_compute, answers, _count_at(answers, limits))
    ones = np.ones((1, answers.photos))
    values = {name: array[0] for name, array in statistic(ones).items()}
    numbers = {
        **describe_values({**values, "limit": limits}, keys),
        "curve": _describe_curve(answers),
    }
    if not resamples:
        return numbers, None
    ends = bootstrap_intervals(
        statistic,
        photos=answers.photos,
        resamples=resamples,
        seed=seed,
        rows=max(len(answers.photo), 2 * len(PERCENTS) * answers.classes),
    )
    return numbers, describe_intervals(ends, keys)


def find_limits(confidence: FloatArray) -> FloatArray:
    """The largest limit at which at least each of `PERCENTS` of F faces are answered.

    Returns:
        (K,) limits; NaN without faces.
    """
    falling = np.sort(confidence)[::-1]
    if not len(falling):
        return np.full(len(PERCENTS), np.nan)
    # In whole numbers, rounded up: 0.7 × 10 faces must be 7, not a little over.
    wanted = np.array([-(-percent * len(falling) // 100) for percent in PERCENTS])
    return falling[wanted - 1]


def weighted_aurc(answers: Answers, weights: FloatArray) -> FloatArray:
    """Area under the risk-coverage curve, for several weightings of the photos.

    The mean, over the faces, of the share of wrong answers among the faces answered at least as
    surely; equally sure ones come together. Without equals it is the AURC of Geifman, Uziel,
    El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.

    Args:
        answers: Answers to faces.
        weights: (B, P) how often each photo counts.

    Returns:
        (B,) values from 0, the best, to 1; NaN without faces.
    """
    if not len(answers.photo):
        return np.full(len(weights), np.nan)
    order = np.argsort(-answers.confidence, kind="stable")
    ranked = answers.confidence[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    counts = weights[:, answers.photo[order]]
    faces = np.add.reduceat(counts, starts, axis=1)
    errors = np.add.reduceat(np.where(answers.right[order], 0.0, counts), starts, axis=1)
    # Where nothing is answered yet nothing is added either.
    risk = np.nan_to_num(share(np.cumsum(errors, axis=1), np.cumsum(faces, axis=1)))
    return share((faces * risk).sum(axis=1), faces.sum(axis=1))


def _count_at(answers: Answers, limits: FloatArray) -> FloatArray:
    """(P, K, C, 2) answered faces per photo, limit and class: wrong and right ones."""
    columns = [
        tally(
            answers.photo[sure],
            2 * answers.labels[sure] + answers.right[sure],
            photos=answers.photos,
            size=2 * answers.classes,
        )
        for sure in (answers.confidence >= limit for limit in limits)
    ]
    return np.stack(columns, axis=1).reshape(answers.photos, len(limits), answers.classes, 2)


def _compute(answers: Answers, counts: FloatArray, weights: FloatArray) -> Mapping[str, FloatArray]:
    """Numbers of `describe_unsure`, (B,) and (B, K)."""
    photos, limits, classes, _ = counts.shape
    at = (weights @ counts.reshape(photos, -1)).reshape(-1, limits, classes, 2)
    everyone = tally(answers.photo, np.zeros_like(answers.photo), photos=answers.photos, size=1)
    faces = np.broadcast_to(weights @ everyone, at.shape[:2])
    support = at.sum(axis=3)
    return {
        "aurc": weighted_aurc(answers, weights),
        "answered": share(support.sum(axis=2), faces),
        "accuracy": share(at[..., 1].sum(axis=2), support.sum(axis=2)),
        "macro_recall": mean_of_defined(share(at[..., 1], support)),
    }


def _describe_curve(answers: Answers) -> dict[str, list[float | None]]:
    order = np.argsort(answers.confidence, kind="stable")
    faces = len(order)
    first = np.searchsorted(answers.confidence[order], LIMITS, side="left")
    answered = (faces - first).astype(np.float64)
    right = np.r_[np.cumsum(answers.right[order][::-1])[::-1], 0].astype(np.float64)[first]
    accuracy = share(right, answered)
    shares = share(answered, np.full(answered.shape, float(faces)))
    return {
        "limit": list(LIMITS),
        "answered": [to_number(value) for value in shares],
        "accuracy": [to_number(value) for value in accuracy],
    }
