"""Confidence intervals by resampling photos.

Faces in one photo resemble each other, so photos are resampled, not faces: a resample draws as many
photos as there are, with replacement (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13: the percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evaluate.arrays import FloatArray, IntArray

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


def share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Part of the whole, NaN where the whole is 0; same shapes.

    >>> share(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
    array([0.25,  nan])
    """
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def mean_of_defined(values: FloatArray) -> FloatArray:
    """Mean over the last dimension, leaving out NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return share(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(float))


def to_number(value: float | FloatArray) -> float | None:
    """A number for JSON; None for NaN."""
    return None if np.isnan(value) else float(value)


def to_interval(ends: FloatArray) -> list[float] | None:
    """Lower and upper end for JSON; None where they are not defined."""
    return None if np.isnan(ends).any() else [float(end) for end in ends]


def tally(
    photo: IntArray, cells: IntArray, *, photos: int, size: int, values: FloatArray | None = None
) -> FloatArray:
    """Count faces, or add up their values, by photo and cell.

    Args:
        photo: (F,) photo of each face, 0 to `photos` - 1.
        cells: (F,) where each face belongs, 0 to `size` - 1.
        photos: Number of photos P.
        size: Number of cells K.
        values: (F,) what each face adds; 1 when None.

    Returns:
        (P, K) sums, so that `weights @ sums` gives those of weighted photos.

    >>> tally(np.array([0, 1, 1]), np.array([1, 0, 0]), photos=2, size=2)
    array([[0., 1.],
           [2., 0.]])
    """
    sums = np.bincount(photo * size + cells, weights=values, minlength=photos * size)
    return sums.astype(np.float64).reshape(photos, size)


def describe_values(values: Mapping[str, FloatArray], keys: Sequence[str] = ()) -> dict[str, Any]:
    """Numbers for JSON.

    Args:
        values: By name, () or (K,).
        keys: K names for the entries of the latter.

    Returns:
        By name a number, or numbers by key; None for NaN.
    """
    return {
        name: dict(zip(keys, map(to_number, array), strict=True))
        if array.ndim
        else to_number(array)
        for name, array in values.items()
    }


def describe_intervals(ends: Mapping[str, FloatArray], keys: Sequence[str] = ()) -> dict[str, Any]:
    """Intervals for JSON, under the names that `describe_values` gives the numbers.

    Args:
        ends: By name, (2,) or (2, K): lower and upper ends.
        keys: K names for the entries of the latter.

    Returns:
        By name [lower, upper], or such pairs by key; None where an end is NaN.
    """
    return {
        name: dict(zip(keys, map(to_interval, array.T), strict=True))
        if array.ndim > 1
        else to_interval(array)
        for name, array in ends.items()
    }
