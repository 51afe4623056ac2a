"""Arrays of numbers by name, and their intervals, in the form of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluate.measures.undefined import to_interval, to_number
from evaluate.records import FloatArray


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
