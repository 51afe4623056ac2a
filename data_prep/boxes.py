"""Boxes against the photo they lie in."""

from __future__ import annotations

import math
from collections.abc import Sequence

from data_prep.errors import UserError
from data_prep.records import Box

MIN_SIDE = 1.0
"""Boxes with a side under one pixel, after clipping, hold no face."""


class DegenerateBoxError(UserError, ValueError):
    """A box that is inverted, not finite, empty, or lies outside its photo."""


def clip_box(box: Box, width: int, height: int) -> tuple[Box, bool]:
    """Clip a box to its photo.

    Args:
        box: The box as annotated.
        width: Photo width in pixels.
        height: Photo height in pixels.

    Returns:
        The clipped box, and whether clipping changed it.

    Raises:
        DegenerateBoxError: Nothing of at least one pixel is left, or the box is inverted or not
            finite.

    >>> clip_box(Box(380, 10, 401, 40), 400, 267)
    (Box(xmin=380, ymin=10, xmax=400, ymax=40), True)
    """
    if not all(map(math.isfinite, box)):
        raise DegenerateBoxError(f"box {_show(box)} is not finite")
    if box.width <= 0 or box.height <= 0:
        raise DegenerateBoxError(f"box {_show(box)} is inverted or empty")
    clipped = Box(max(box.xmin, 0), max(box.ymin, 0), min(box.xmax, width), min(box.ymax, height))
    if clipped.width < MIN_SIDE or clipped.height < MIN_SIDE:
        raise DegenerateBoxError(
            f"box {_show(box)} lies outside the photo ({width} × {height}) or under one pixel in it"
        )
    return clipped, clipped != box


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0 to 1.

    >>> overlap(Box(0, 0, 10, 10), Box(5, 0, 15, 10))
    0.3333333333333333
    """
    width = min(first.xmax, second.xmax) - max(first.xmin, second.xmin)
    height = min(first.ymax, second.ymax) - max(first.ymin, second.ymin)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (first.width * first.height + second.width * second.height - shared)


def look_relative(boxes: Sequence[Box]) -> bool:
    """Whether boxes that should be in pixels seem to be shares of the photo's sides.

    >>> look_relative([Box(0.1, 0.2, 0.5, 0.6)]), look_relative([Box(0, 0, 1, 1)])
    (True, False)
    """
    values = [value for box in boxes for value in box]
    # Boxes from 0 to 1 exactly may be single pixels.
    return all(0 <= value <= 1 for value in values) and any(value % 1 for value in values)


def write_number(value: float) -> str:
    """A coordinate as text that reads back the same, whole numbers without a point.

    >>> write_number(12.0), write_number(0.1)
    ('12', '0.1')
    """
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _show(box: Box) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"
