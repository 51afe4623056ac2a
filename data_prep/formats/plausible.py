"""Whether the boxes of some data, as a whole, are what they are read as.

Numbers in another order than their heading says still parse; half of them may make boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from data_prep.base.photo import Size
from data_prep.base.records import Box
from data_prep.base.tables import BoolArray, FloatArray

Order = Literal["corners", "sized", "centred"]
"""As what the four numbers of a box are read: two corners, corner and size, or centre and size."""

FEWEST = 3  # Boxes by which a whole can be judged.

_SUSPECT, _SURE = 0.8, 0.98
"""Shares of boxes that fit, below which a reading is doubted and from which another is believed."""

_REACH = 0.05
"""How far over the border a box may reach, as a share of the photo's side: annotators do."""

_RAW: Mapping[Order, Callable[[FloatArray], FloatArray]] = {
    "corners": lambda b: b,
    "sized": lambda b: np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]),
    "centred": lambda b: np.hstack([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]]),
}
_READINGS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "xmin, xmax, ymin, ymax": lambda n: n[:, [0, 2, 1, 3]],
    "ymin, xmin, ymax, xmax": lambda n: n[:, [1, 0, 3, 2]],
    "xmin, ymin, xmax, ymax": lambda n: n,
    "x, y, width, height": lambda n: np.hstack([n[:, :2], n[:, :2] + n[:, 2:]]),
    "centre x, centre y, width, height": lambda n: np.hstack(
        [n[:, :2] - n[:, 2:] / 2, n[:, :2] + n[:, 2:] / 2]
    ),
}


def doubt_boxes(
    boxes: Sequence[Box] | FloatArray, sizes: Sequence[Size | None] | FloatArray, order: Order
) -> str:
    """Why boxes, read in an order from photos of these sizes, can't be right as a whole; or "".

    They are doubted where a fifth are inverted or shares of their photo's sides, or where that many
    lie outside their photos and another order makes nearly all fit.

    >>> doubt_boxes([Box(9, 2, 5, 4), Box(1, 7, 3, 5), Box(8, 9, 1, 2)], [None] * 3, "corners")
    '3 of 3 boxes are inverted. Are they x, y, width, height?'
    """
    read = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    known = [(np.nan, np.nan) if size is None else size for size in sizes]
    limits = np.array(known, dtype=np.float64).reshape(-1, 2)
    inverted, outside = _find_faults(read, limits)
    wrong = inverted | outside
    if len(read) < FEWEST:
        return ""
    shares = (np.abs(read) <= 2).all(axis=1) & (read % 1 != 0).any(axis=1)
    if 1 - shares.mean() < _SUSPECT:
        return (
            f"{int(shares.sum())} of {len(read)} boxes lie between 0 and 1. Are they shares of the "
            "photo? Multiply them by its width and height."
        )
    if 1 - wrong.mean() >= _SUSPECT:
        return ""
    numbers = _RAW[order](read)
    for name, make in _READINGS.items():
        faults = np.logical_or(*_find_faults(make(numbers), limits))
        if 1 - faults.mean() >= _SURE:
            other = f" Are they {name}?"
            break
    else:
        other = ""
    if 1 - inverted.mean() < _SUSPECT:
        return f"{int(inverted.sum())} of {len(read)} boxes are inverted.{other}"
    told = f"{int(wrong.sum())} of {len(read)} boxes lie outside their photos."
    return f"{told}{other}" if other else ""


def _find_faults(boxes: FloatArray, limits: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Which boxes are inverted, and which of the others lie outside; unknown limits hold all."""
    inverted = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    reach = np.fmax(limits * _REACH, 2)
    outside = np.any((boxes[:, :2] < -reach) | (boxes[:, 2:] > limits + reach), axis=1)
    return inverted, outside & ~inverted
