"""Predictions of three classes as those of two: masks worn wrongly counted as bare, or left out.

A system that was made for two classes is measured so by its own question, and all systems by one
that each of them can answer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_prep.labels import BARE, CLASSES, RARE_CLASS
from evaluate.records import Detections, FloatArray, GroundTruth

_BARE, _RARE = CLASSES.index(BARE), CLASSES.index(RARE_CLASS)


def merge_incorrect(truth: GroundTruth, detections: Detections) -> tuple[GroundTruth, Detections]:
    """Masks worn wrongly count as no mask, in the annotations and in what is predicted.

    Args:
        truth: Annotated faces of the three mask classes.
        detections: Predicted faces with class probabilities.

    Returns:
        Both with the third class empty.

    Raises:
        ValueError: There are no class probabilities.
    """
    labels = np.where(truth.labels == _RARE, _BARE, truth.labels)
    shares = _probabilities(detections).copy()
    shares[:, _BARE] += shares[:, _RARE]
    shares[:, _RARE] = 0
    return replace(truth, labels=labels), _relabel(detections, shares)


def leave_out_incorrect(
    truth: GroundTruth, detections: Detections
) -> tuple[GroundTruth, Detections]:
    """Faces with masks worn wrongly are not asked about, as if difficult.

    The probabilities of the other two classes are scaled to add up to 1; where both are 0, each is
    a half.

    Args:
        truth: Annotated faces of the three mask classes.
        detections: Predicted faces with class probabilities.

    Returns:
        Both without an answer of the third class.

    Raises:
        ValueError: There are no class probabilities.
    """
    shares = _probabilities(detections).copy()
    shares[:, _RARE] = 0
    total = shares.sum(axis=1, keepdims=True)
    two = np.arange(len(CLASSES)) != _RARE
    shares = np.where(total > 0, shares / np.where(total > 0, total, 1), 0.5 * two)
    difficult = truth.difficult | (truth.labels == _RARE)
    return replace(truth, difficult=difficult), _relabel(detections, shares)


def _probabilities(detections: Detections) -> FloatArray:
    if detections.probabilities is None:
        raise ValueError("class probabilities are needed to merge classes or leave one out")
    return detections.probabilities


def _relabel(detections: Detections, shares: FloatArray) -> Detections:
    return replace(
        detections,
        labels=shares.argmax(axis=1),
        scores=detections.detection * shares.max(axis=1, initial=0),
        probabilities=shares,
    )
