"""Counts per photo, and what follows from them with intervals by resampling photos.

Every measure counts once per photo (`tally`). Its numbers are then shares of weighted sums
(`weigh`, `share`) for any weighting of the photos: all once for the number itself, and as often as
a resample holds them for its interval. Faces in one photo resemble each other, so photos are
resampled, not faces: a resample draws as many photos as there are, with replacement (Efron,
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: the percentile interval; chapter
8: the paired comparison).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from evaluate.arrays import BoolArray, FloatArray, IntArray

LEVEL = 0.95  # Share of the resamples inside an interval.
_TAILS = [100 * (1 - LEVEL) / 2, 100 - 100 * (1 - LEVEL) / 2]

_CELLS_AT_ONCE = 60_000_000  # Bounds the memory of the weights (120 MB).
_KEPT = 100_000_000  # So many weights, of two bytes, are kept for the next measure.
RANKS_AT_ONCE = 128  # Keeps what is computed of them in the processor's cache.
_HEAVY = 31  # Weights to which sums are known to fit into 16 bits; 1 in 10^34 drawn is larger.

Statistic = Callable[[FloatArray], Mapping[str, FloatArray]]
"""From weights (B, P) to numbers by name, each with B as its first dimension."""

Axes = Mapping[str, tuple[Sequence[str], ...]]
"""Names along the other dimensions of a number, outermost first; none for a single number."""


def draw_weights(photos: int, resamples: int, seed: int = 0) -> Iterator[NDArray[Any]]:
    """How often each of P photos is in each of B resamples: (b, P) whole numbers.

    The b add to 1 + B: the first has every photo once. The weights of a photo lie side by side in
    memory.
    """
    size = max(1, _CELLS_AT_ONCE // max(photos, 1))
    keep = 0 < photos * resamples <= _KEPT
    drawn = (_keep_drawn if keep else _draw)(photos, resamples, seed, size)
    return (part.T for part in drawn)


def _draw(photos: int, resamples: int, seed: int, size: int) -> Iterator[NDArray[np.uint16]]:
    generator, shares = np.random.default_rng(seed), np.full(photos, 1 / max(photos, 1))
    for start in range(0, 1 + resamples, size):
        part = np.ones((photos, min(size, 1 + resamples - start)), np.uint16)
        for column in part.T[start == 0 :]:
            column[:] = generator.multinomial(photos, shares)
        yield part


@lru_cache(maxsize=2)
def _keep_drawn(*how: int) -> list[NDArray[np.uint16]]:
    return list(_draw(*how))


def resample(statistic: Statistic, **how: int) -> dict[str, FloatArray]:
    """The numbers of all and of every resample, (1 + B, …) each; arguments of `draw_weights`."""
    parts = [statistic(weights) for weights in draw_weights(**how)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def bootstrap_intervals(statistic: Statistic, **how: int) -> dict[str, FloatArray]:
    """Percentile intervals of several numbers at once; `photos`, … as of `draw_weights`."""
    return find_ends(resample(statistic, **how))


def find_ends(drawn: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """By name, (2, …): lower and upper end of the central 95 %, of what `resample` gives.

    One in which a number is not defined (NaN) is left out for that number.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Of a number that is never defined.
        return {name: np.nanpercentile(rows[1:], _TAILS, axis=0) for name, rows in drawn.items()}


def measure(
    statistic: Statistic, *, axes: Axes | None = None, resamples: int, **how: int
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The numbers of a statistic and their intervals, for JSON; `photos`, … as of `draw_weights`.

    Returns:
        By name, and by the names along its `axes`, a number; and under the same names [lower,
        upper], or None without resamples. What is not defined is None.
    """
    axes, drawn = axes or {}, resample(statistic, resamples=resamples, **how)
    numbers = {name: describe(values[0], axes.get(name, ())) for name, values in drawn.items()}
    if not resamples:
        return numbers, None
    return numbers, {
        name: describe(np.moveaxis(array, 0, -1), axes.get(name, ()), to_interval)
        for name, array in find_ends(drawn).items()
    }


def compare(
    mine: Statistic, other: Statistic, *, axes: Axes | None = None, **how: int
) -> dict[str, Any]:
    """Numbers of one side less those of another; `photos`, … as of `draw_weights`.

    The same resampled photos weigh both sides, so what makes a photo hard for both cancels out.

    Returns:
        By name, and by the names along its `axes`: `mine`, `other`, `difference`, `interval` (95 %,
        of the difference) and `better`, the share of resamples in which mine is larger. What is not
        defined is None.
    """

    def both(weights: FloatArray) -> dict[str, FloatArray]:
        second = other(weights)
        return {name: np.stack([own, second[name]], -1) for name, own in mine(weights).items()}

    return {
        name: describe(np.moveaxis(values, 0, -1), (axes or {}).get(name, ()), _differ)
        for name, values in resample(both, **how).items()
    }


def _differ(pair: FloatArray) -> dict[str, Any]:
    """From a number of either side, (2, 1 + B), of all and in every resample."""
    (mine, other), spread = pair[:, 0], pair[0, 1:] - pair[1, 1:]
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
    inner, step = counts.shape[1:], 2**22 // len(weights) + 1
    flat = counts.reshape(len(counts), math.prod(inner)).astype(np.float64)
    sums = np.zeros((flat.shape[1], len(weights)))
    for row in range(0, len(flat), step):
        sums += flat[row : row + step].T @ weights.T[row : row + step].astype(np.float64)
    return np.ascontiguousarray(sums.T).reshape(len(weights), *inner)


@dataclass(frozen=True)
class RankedCounts:
    """How many of F faces are flagged, and how many are not, by rank and photo."""

    parts: list[csr_array]  # (2 r, P) each: of each of r ranks those not flagged, those flagged.

    @classmethod
    def tally(cls, photo: IntArray, ranks: IntArray, flags: BoolArray, photos: int) -> RankedCounts:
        """Count faces (F,) by rank, from 0 on."""
        shape = 2 * (int(ranks.max(initial=-1)) + 1), photos
        counts = csr_array((np.ones(len(photo), np.float32), (2 * ranks + flags, photo)), shape)
        most, step, parts = counts.sum(axis=1), 2 * RANKS_AT_ONCE, []
        for row in range(0, shape[0], step):
            is_few = most[row : row + step].max() * _HEAVY < 2**16  # Half as much to read.
            ends = counts.indptr[row : row + step + 1]
            own = slice(ends[0], ends[-1])
            data = counts.data[own].astype(np.uint16 if is_few else np.float32)
            where = counts.indices[own], ends - ends[0]
            parts.append(csr_array((data, *where), shape=(len(ends) - 1, photos)))
        return cls(parts)

    def weigh(
        self, weights: FloatArray, start: FloatArray | float = 0.0
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Of r ranks at a time the sums by weights (B, P): not flagged, flagged, (r, 2, B).

        With each the sums, from `start` (2, B) on, of those before it; and, last, of all so far:
        (r + 1, 2, B), until the next are asked for. Whole numbers, which float32 holds exactly up
        to 16 million.
        """
        is_light, columns = weights.max(initial=0) <= _HEAVY, dict[Any, NDArray[Any]]()
        before = np.empty((RANKS_AT_ONCE + 1, 2, len(weights)), np.float32)
        before[0] = start
        for part in self.parts:
            kind = part.dtype if is_light else np.dtype(np.float32)
            if kind not in columns:
                columns[kind] = np.ascontiguousarray(weights.T, kind)
            part = part if part.dtype == kind else part.astype(kind)
            sums = (part @ columns[kind]).reshape(-1, 2, len(weights))
            # By rows: many times as fast as numpy's own cumulative sum along this axis.
            for row, low, high in zip(sums, before, before[1:], strict=False):
                np.add(low, row, out=high)
            yield sums, before[: len(sums) + 1]
            before[0] = before[len(sums)]


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
