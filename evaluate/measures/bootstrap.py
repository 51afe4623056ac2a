"""Counts per photo, and what follows from them with intervals by resampling photos.

Every measure counts once per photo (`tally`). Its numbers are then shares of weighted sums
(`weigh`, `share`) for any weighting of the photos: all once for the number itself, and as often as
a resample holds them for its interval. Faces in one photo resemble each other, so photos are
resampled, not faces: a resample draws as many photos as there are, with replacement (Efron,
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: the percentile interval; chapter
8: the paired comparison).
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from evaluate.arrays import BoolArray, FloatArray, IntArray

LEVEL = 0.95  # Share of the resamples inside an interval.
_TAILS = [100 * (1 - LEVEL) / 2, 100 - 100 * (1 - LEVEL) / 2]

_CELLS_AT_ONCE = 8_000_000
"""Bounds the memory of the weights (64 MB) and of what is computed from them."""

_KEPT = 100_000_000  # So many weights, of two bytes, are kept for the next measure.
_THREADS = min(4, os.cpu_count() or 1)

Statistic = Callable[[FloatArray], Mapping[str, FloatArray]]
"""From weights (B, P) to numbers by name, each with B as its first dimension."""

Axes = Mapping[str, tuple[Sequence[str], ...]]
"""Names along the other dimensions of a number, outermost first; none for a single number."""


def draw_weights(
    photos: int, resamples: int, seed: int = 0, *, rows: int = 1
) -> Iterator[FloatArray]:
    """How often each of P photos is in each of B resamples: (b, P) whole numbers, the b add to B.

    `rows` is the width of the arrays computed from the weights, when larger than P; it only bounds
    how many resamples come at once.
    """
    size = max(1, _CELLS_AT_ONCE // max(photos, rows))
    keep = photos * resamples <= _KEPT
    drawn = (_keep_drawn if keep else _draw)(photos, resamples, seed, size)
    return (part.astype(np.float64) for part in drawn)


def _draw(photos: int, resamples: int, seed: int, size: int) -> Iterator[NDArray[np.uint16]]:
    generator, shares = np.random.default_rng(seed), np.full(photos, 1 / photos)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        yield generator.multinomial(photos, shares, size=rows).astype(np.uint16)


@lru_cache(maxsize=2)
def _keep_drawn(*how: int) -> list[NDArray[np.uint16]]:
    return list(_draw(*how))


def resample(statistic: Statistic, *, rows: int = 1, **how: int) -> dict[str, FloatArray]:
    """The numbers of every resample, (B, …) each; `photos`, … as of `draw_weights`."""
    drawn, parts = draw_weights(**how, rows=rows), list[Mapping[str, FloatArray]]()
    with ThreadPool(_THREADS) as pool:
        while some := list(islice(drawn, _THREADS)):
            parts += pool.map(statistic, some)
    return {name: np.concatenate([part[name] for part in parts]) for name in [*parts[:1], {}][0]}


def bootstrap_intervals(statistic: Statistic, **how: int) -> dict[str, FloatArray]:
    """Percentile intervals of several numbers at once; `photos`, … as of `draw_weights`.

    By name, (2, …): lower and upper end of the central 95 %. A resample in which a number is not
    defined (NaN) is left out for that number.
    """
    drawn = resample(statistic, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Of a number that is never defined.
        return {name: np.nanpercentile(values, _TAILS, axis=0) for name, values in drawn.items()}


def measure(
    statistic: Statistic, *, axes: Axes | None = None, photos: int, resamples: int, **how: int
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The numbers of a statistic and their intervals, for JSON; `photos`, … as of `draw_weights`.

    Returns:
        By name, and by the names along its `axes`, a number; and under the same names [lower,
        upper], or None without resamples. What is not defined is None.
    """
    axes, values = axes or {}, statistic(np.ones((1, photos)))
    numbers = {name: describe(array[0], axes.get(name, ())) for name, array in values.items()}
    if not resamples:
        return numbers, None
    ends = bootstrap_intervals(statistic, photos=photos, resamples=resamples, **how)
    return numbers, {
        name: describe(np.moveaxis(array, 0, -1), axes.get(name, ()), to_interval)
        for name, array in ends.items()
    }


def compare(
    mine: Statistic, other: Statistic, *, axes: Axes | None = None, photos: int, **how: int
) -> dict[str, Any]:
    """Numbers of one side less those of another; `photos`, … as of `draw_weights`.

    The same resampled photos weigh both sides, so what makes a photo hard for both cancels out.

    Returns:
        By name, and by the names along its `axes`: `mine`, `other`, `difference`, `interval` (95 %,
        of the difference) and `better`, the share of resamples in which mine is larger. What is not
        defined is None.
    """

    def difference(weights: FloatArray) -> dict[str, FloatArray]:
        second = other(weights)
        return {name: values - second[name] for name, values in mine(weights).items()}

    once = np.ones((1, photos))
    sides, drawn = (mine(once), other(once)), resample(difference, photos=photos, **how)
    columns = {
        name: np.concatenate([values, sides[1][name], drawn.get(name, values[:0])])
        for name, values in sides[0].items()
    }
    return {
        name: describe(np.moveaxis(column, 0, -1), (axes or {}).get(name, ()), _differ)
        for name, column in columns.items()
    }


def _differ(column: FloatArray) -> dict[str, Any]:
    """From a number of one side, of the other, and the difference in every resample."""
    mine, other, spread = column[0], column[1], column[2:]
    defined = spread[~np.isnan(spread)]
    return {
        "mine": to_number(mine),
        "other": to_number(other),
        "difference": to_number(mine - other),
        "interval": np.percentile(defined, _TAILS).tolist() if len(defined) else None,
        # Beyond what rounding makes of two equal numbers.
        "better": float((defined > 1e-12).mean()) if len(defined) else None,
    }


def tally(
    photo: IntArray,
    *columns: NDArray[Any],
    photos: int,
    shape: Sequence[int] = (),
    values: NDArray[Any] | None = None,
) -> FloatArray:
    """Count F faces by photo, 0 to `photos` - 1, and by further columns of indices: (P, *shape).

    `shape` tells how many values each column may have, `values` (F,) what each face adds, if not 1.

    >>> tally(np.array([0, 1, 1]), np.array([1, 0, 0]), photos=2, shape=[2])
    array([[0., 1.],
           [2., 0.]])
    """
    cells = photo
    for column, size in zip(columns, shape, strict=True):
        cells = cells * size + column
    whole = (photos, *shape)
    sums = np.bincount(cells.astype(np.int64), weights=values, minlength=int(np.prod(whole)))
    return sums.astype(np.float64).reshape(whole)


def weigh(weights: FloatArray, counts: NDArray[Any]) -> FloatArray:
    """Sums over weighted photos: (B, P) and (P, …) to (B, …)."""
    return (weights @ counts.reshape(len(counts), -1)).reshape(len(weights), *counts.shape[1:])


def tally_ranked(
    photo: IntArray, ranks_of: IntArray, flags: BoolArray, *, photos: int, ranks: int
) -> csr_array:
    """Count F faces by whether they are flagged, rank (0 to R - 1) and photo: (2R, P)."""
    cells = flags * ranks + ranks_of, photo
    return csr_array((np.ones(len(photo), np.float32), cells), shape=(2 * ranks, photos))


def weigh_ranked(weights: FloatArray, counts: csr_array) -> FloatArray:
    """Sums over weighted photos of what `tally_ranked` gives: not flagged, flagged, (2, B, R)."""
    # Whole numbers, which float32 holds exactly up to 16 million of a rank.
    sums = counts @ np.ascontiguousarray(weights.T, dtype=np.float32)
    parts = sums.reshape(2, -1, len(weights)).transpose(0, 2, 1)
    return np.ascontiguousarray(parts, dtype=np.float64)


def rank_scores(photo: IntArray, scores: FloatArray, flags: BoolArray, photos: int) -> csr_array:
    """Flagged faces and others, of F, by photo and distinct score, rising, as of `tally_ranked`."""
    distinct, ranks_of = np.unique(scores, return_inverse=True)
    return tally_ranked(photo, ranks_of, flags, photos=photos, ranks=len(distinct))


def share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Part of the whole, NaN where the whole is 0; of shapes that fit each other.

    >>> share(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
    array([0.25,  nan])
    """
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


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


def describe(
    values: Any, axes: Sequence[Sequence[str]] = (), one: Callable[[Any], Any] = to_number
) -> Any:
    """Numbers for JSON by the names along their leading dimensions, outermost first.

    >>> describe(np.array([[1, np.nan], [0, 2]]), [["a", "b"], ["c", "d"]])
    {'a': {'c': 1.0, 'd': None}, 'b': {'c': 0.0, 'd': 2.0}}
    """
    if not axes:
        return one(values)
    names, *inner = axes
    return {name: describe(part, inner, one) for name, part in zip(names, values, strict=True)}
