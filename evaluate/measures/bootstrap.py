"""Confidence intervals by resampling photos.

Faces in one photo resemble each other, so photos are resampled, not faces: a resample draws as many
photos as there are, with replacement (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13: the percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from evaluate.records import FloatArray

LEVEL = 0.95
"""Share of the resamples inside an interval."""

_CELLS_AT_ONCE = 2_000_000
"""Bounds the memory of the weights (16 MB) and of what is computed from them."""

Statistic = Callable[[FloatArray], Mapping[str, FloatArray]]
"""From weights (B, P) to numbers by name, each with B as its first dimension."""


def draw_weights(photos: int, resamples: int, seed: int, *, rows: int = 1) -> Iterator[FloatArray]:
    """How often each photo is in each resample.

    Args:
        photos: Number of photos P, at least 1.
        resamples: Number of resamples B, in all.
        seed: The same seed draws the same resamples.
        rows: Width of the arrays computed from the weights, when larger than P; only bounds how
            many resamples come at once.

    Yields:
        (b, P) whole numbers that add up to P in every row; the b add up to B.
    """
    generator = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // max(photos, rows))
    shares = np.full(photos, 1 / photos)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        yield generator.multinomial(photos, shares, size=size).astype(np.float64)


def bootstrap_intervals(
    statistic: Statistic, *, photos: int, resamples: int, seed: int = 0, rows: int = 1
) -> dict[str, FloatArray]:
    """Percentile intervals of several numbers at once.

    A resample in which a number is not defined (NaN) is left out for that number.

    Args:
        statistic: Computes the numbers from photo weights.
        photos: Number of photos.
        resamples: Number of resamples, at least 1.
        seed: Of the random numbers.
        rows: See `draw_weights`.

    Returns:
        By name, (2, …): lower and upper end of the central 95 %; NaN where never defined.
    """
    parts: dict[str, list[FloatArray]] = {}
    for weights in draw_weights(photos, resamples, seed, rows=rows):
        for name, values in statistic(weights).items():
            parts.setdefault(name, []).append(values)
    return {name: _percentiles(np.concatenate(values)) for name, values in parts.items()}


def _percentiles(values: FloatArray) -> FloatArray:
    """(B, …) to (2, …), over the resamples that are not NaN."""
    columns = values.reshape(len(values), -1)
    ends = np.full((2, columns.shape[1]), np.nan)
    tail = 100 * (1 - LEVEL) / 2
    for number, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if len(defined):
            ends[:, number] = np.percentile(defined, [tail, 100 - tail])
    return ends.reshape(2, *values.shape[1:])
