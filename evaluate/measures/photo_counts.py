"""Counts per photo, from which numbers follow for any weighting of the photos."""

from __future__ import annotations

import numpy as np

from evaluate.records import FloatArray, IntArray


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
