"""Boxes and sizes between a photo as it is stored and as it is looked at, by EXIF orientation.

The only place that turns boxes; the numbers 1 to 8 are those of EXIF 2.3, tag 0x0112.
"""

from __future__ import annotations

from data_prep.base.records import Box

UPRIGHT = 1
"""The EXIF orientation of a photo stored as it is looked at."""

ORIENTATIONS = range(1, 9)
"""All that EXIF knows."""

SWAPS_SIDES = frozenset({5, 6, 7, 8})
"""Orientations by which width becomes height."""

_UNDONE_BY = {6: 8, 8: 6}
"""Orientations that another one turns back; all others turn back themselves."""


def turn_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Size of the upright photo from that of the stored one, or the other way round."""
    return (height, width) if orientation in SWAPS_SIDES else (width, height)


def turn_box(box: Box, width: int, height: int, orientation: int) -> Box:
    """A box of stored pixels as it lies in the photo turned upright.

    Args:
        box: In stored pixels.
        width: Of the stored photo.
        height: The same.
        orientation: By which the stored photo is turned upright, 1 to 8.

    >>> turn_box(Box(0, 0, 10, 20), 100, 50, 6)
    Box(xmin=30, ymin=0, xmax=50, ymax=10)
    """
    x0, y0, x1, y1 = box
    if orientation in {2, 3, 7, 8}:
        x0, x1 = width - x1, width - x0
    if orientation in {3, 4, 6, 7}:
        y0, y1 = height - y1, height - y0
    return Box(y0, x0, y1, x1) if orientation in SWAPS_SIDES else Box(x0, y0, x1, y1)


def turn_box_back(box: Box, width: int, height: int, orientation: int) -> Box:
    """A box of the upright photo as it lies in stored pixels; undoes `turn_box`.

    Args:
        box: In pixels of the upright photo.
        width: Of the stored photo, as in `turn_box`.
        height: The same.
        orientation: By which the stored photo is turned upright, 1 to 8.

    >>> turn_box_back(Box(30, 0, 50, 10), 100, 50, 6)
    Box(xmin=0, ymin=0, xmax=10, ymax=20)
    """
    back = _UNDONE_BY.get(orientation, orientation)
    return turn_box(box, *turn_size(width, height, orientation), back)
