"""Two tables of predictions for the same photos: what is the difference, and is it more than luck?

The same resampled photos weigh both sides, so what makes a photo hard for both cancels out (paired
bootstrap; Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.arrays import FloatArray
from evaluate.measures.bootstrap import LEVEL, draw_weights, to_number
from evaluate.measures.metrics import PER_CLASS, Matches, compute_headline


def describe_difference(
    classes: Sequence[str], mine: Matches, other: Matches, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Headline numbers of one table minus those of another.

    Args:
        classes: C class names.
        mine: Matches of the table that is measured.
        other: Matches of the table it is compared with, on the same photos and faces.
        resamples: Bootstrap resamples by photo; 0 leaves intervals out.
        seed: Of the resamples.

    Returns:
        By name of the number (per class: by name and class) `mine`, `other`, `difference`,
        `interval` (95 %, paired) and `better`, the share of resamples in which mine is larger.
        Whatever is not defined is None.

    Raises:
        ValueError: The two have different photos or faces.
    """
    if not np.array_equal(mine.faces.truths, other.faces.truths):
        raise ValueError("both sides must be measured on the same photos and faces")
    values = compute_headline(mine), compute_headline(other)
    drawn: dict[str, list[FloatArray]] = {}
    rows = max(len(mine.faces.photo), len(other.faces.photo))
    for weights in draw_weights(mine.photos, resamples, seed, rows=rows):
        first, second = compute_headline(mine, weights), compute_headline(other, weights)
        for name, numbers in first.items():
            drawn.setdefault(name, []).append(numbers - second[name])
    differences = {name: np.concatenate(parts) for name, parts in drawn.items()}
    record: dict[str, Any] = {}
    for name in values[0]:
        spread = differences.get(name)
        if name not in PER_CLASS:
            record[name] = _describe(values[0][name][0], values[1][name][0], spread)
            continue
        record[name] = {
            label: _describe(
                values[0][name][0, index],
                values[1][name][0, index],
                None if spread is None else spread[:, index],
            )
            for index, label in enumerate(classes)
        }
    return record


def _describe(mine: float, other: float, spread: FloatArray | None) -> dict[str, Any]:
    interval = better = None
    if spread is not None and (defined := spread[~np.isnan(spread)]).size:
        tail = 100 * (1 - LEVEL) / 2
        interval = np.percentile(defined, [tail, 100 - tail]).tolist()
        better = float((defined > 0).mean())
    return {
        "mine": to_number(mine),
        "other": to_number(other),
        "difference": to_number(mine - other),
        "interval": interval,
        "better": better,
    }
