"""What came of one combination."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.labels import CLASSES
from pipeline.sweep.grid import Combination


@dataclass(frozen=True)
class Outcome:
    """Figures of a combination.

    Attributes:
        combination: The numbers.
        accuracy: Share of faces told right.
        macro_recall: Mean of the recalls of the classes.
        loss: Mean cross-entropy in nats, without weights or smoothing.
        recalls: By class.
        faces: How many were judged.
        seconds: Processor time of the training; None where it was stopped in between.
        run: Name of the run folder; empty with folds.
    """

    combination: Combination
    accuracy: float
    macro_recall: float
    loss: float
    recalls: dict[str, float]
    faces: int
    seconds: float | None
    run: str = ""


def measure(
    combination: Combination,
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    seconds: float | None,
    run: str = "",
) -> Outcome:
    """Figures from what was told of N faces.

    Args:
        combination: The numbers.
        probabilities: (N, 3) in the order of `CLASSES`.
        truth: (N,) class index of each face.
        seconds: Of the training.
        run: Name of the run folder.
    """
    right = probabilities.argmax(axis=1) == truth
    own = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)
    recalls = {
        name: float(right[truth == index].mean())
        for index, name in enumerate(CLASSES)
        if (truth == index).any()
    }
    return Outcome(
        combination=combination,
        accuracy=float(right.mean()),
        macro_recall=float(np.mean(list(recalls.values()))),
        loss=float(-np.log(own).mean()),
        recalls=recalls,
        faces=len(truth),
        seconds=seconds,
        run=run,
    )
