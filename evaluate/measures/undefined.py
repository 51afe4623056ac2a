"""Numbers that may not be defined: NaN while computing, None in a record."""

from __future__ import annotations

import numpy as np

from evaluate.records import FloatArray


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
