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
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evaluate.arrays import BoolArray, FloatArray, IntArray

LEVEL = 0.95  # Share of the resamples inside an interval.
_TAILS = [100 * (1 - LEVEL) / 2, 100 - 100 * (1 - LEVEL) / 2]

_CELLS_AT_ONCE = 60_000_000  # Bounds the memory of the weights (120 MB).
_KEPT = 100_000_000  # So many weights, of two bytes, are kept for the next measure.
RANKS_AT_ONCE = 128  # Keeps what is computed of them in the processor's cache.
_TURNS = 16  # So many faces of a row are added together with those of other rows.
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


class _Rows(NamedTuple):
    """The photos of r rows of faces, so that what they weigh is added up many rows at a time."""

    photo: NDArray[np.int32]  # The first of each row, longest rows first, the second of each, …
    turns: list[int]  # How many first ones there are, second ones, …
    rests: list[int]  # How many follow at the end for each of the longest rows.
    place: IntArray  # (r,) which row is the how manieth.
    kind: DTypeLike  # Of numbers that hold the sums of drawn weights.

    def weigh(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Sums (r, B) of weights (P, B)."""
        first, *later = self.turns or [0]
        sums, end = np.empty((len(self.place), columns.shape[1]), columns.dtype), first
        np.take(columns, self.photo[:first], axis=0, out=sums[:first], mode="clip")  # No copy.
        sums[first:] = 0
        for size in later:
            sums[:size] += columns[self.photo[end : (end := end + size)]]
        for row, size in zip(sums, self.rests, strict=False):
            for some in np.split(self.photo[end : (end := end + size)], range(256, size, 256)):
                row += columns[some].sum(axis=0, dtype=columns.dtype)
        return sums[self.place]


@dataclass(frozen=True)
class RankedCounts:
    """How many of F faces are flagged, and how many are not, by rank and photo."""

    parts: list[_Rows]  # Of `RANKS_AT_ONCE` each: of each rank those not flagged, those flagged.

    @classmethod
    def tally(cls, photo: IntArray, ranks: IntArray, flags: BoolArray) -> RankedCounts:
        """Count faces (F,) by rank, from 0 on."""
        rows, step = 2 * ranks + flags, 2 * RANKS_AT_ONCE
        # Keys of 16 bits are sorted in linear time.
        photo = photo[np.lexsort((rows.astype(np.uint16), (rows >> 16).astype(np.uint16)))]
        counts = np.bincount(rows, minlength=2 * (int(ranks.max(initial=-1)) + 1))
        ends, parts = np.r_[0, np.cumsum(counts)], []
        for row in range(0, len(counts), step):
            sizes, starts = counts[row : row + step], ends[row : row + step + 1]
            falling = np.argsort(-sizes, kind="stable")
            place = np.argsort(falling)
            turn = np.arange(starts[0], starts[-1]) - np.repeat(starts[:-1], sizes)
            key = np.minimum(turn, _TURNS) * step + np.repeat(place, sizes)
            order = starts[0] + np.argsort(key.astype(np.uint16), kind="stable")
            turns = np.count_nonzero(sizes > np.arange(_TURNS)[:, None], axis=1)
            rests = sizes[falling] - _TURNS
            kind = np.uint16 if sizes.max() * _HEAVY < 2**16 else np.float32
            told = turns[turns > 0].tolist(), rests[rests > 0].tolist(), place, kind
            parts.append(_Rows(photo[order].astype(np.int32), *told))
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
            kind = part.kind if is_light else np.float32
            if kind not in columns:
                columns[kind] = np.ascontiguousarray(weights.T, kind)
            sums = part.weigh(columns[kind]).reshape(-1, 2, len(weights))
            # By rows: many times as fast as numpy's own cumulative sum along this axis.
            before[1 : len(sums) + 1] = sums
            for low, high in pairwise(before[: len(sums) + 1]):
                np.add(low, high, out=high)
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
