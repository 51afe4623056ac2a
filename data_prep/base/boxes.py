"""Boxes against the photo they lie in, and between the stored and the upright photo.

The only place that turns boxes; orientations 1 to 8 are those of EXIF 2.3, tag 0x0112.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.base.errors import UserError
from data_prep.base.files import read_object, write_json
from data_prep.base.records import AnnotatedPhoto, Box, Face, Finding

SIZE_EDGES = (16, 32, 64)
"""Short sides in pixels at which faces are parted by size; one on an edge is of the larger size."""

MIN_SIDE = 1.0  # Boxes with a side under one pixel, after clipping, hold no face.


class DegenerateBoxError(UserError, ValueError):
    """A box that is inverted, not finite, empty, or lies outside its photo."""


def clip_box(box: Box, width: int, height: int) -> tuple[Box, bool]:
    """Clip a box to its photo, and say whether that changed it.

    A `DegenerateBoxError` if it is inverted or not finite, or less than a pixel of it is left.

    >>> clip_box(Box(380, 10, 401, 40), 400, 267)
    (Box(xmin=380, ymin=10, xmax=400, ymax=40), True)
    """
    clipped = Box(max(box.xmin, 0), max(box.ymin, 0), min(box.xmax, width), min(box.ymax, height))
    why = ""
    if not all(map(math.isfinite, box)):
        why = "is not finite"
    elif box.short_side <= 0:
        why = "is inverted or empty"
    elif clipped.short_side < MIN_SIDE:
        why = f"lies outside the photo ({width} × {height}) or under one pixel in it"
    if why:
        raise DegenerateBoxError(f"box {show_box(box)} {why}")
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


def write_number(value: float) -> str:
    """A coordinate as text that reads back the same, whole numbers without a point.

    >>> write_number(12.0), write_number(0.1)
    ('12', '0.1')
    """
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def show_box(box: Iterable[float]) -> str:
    """Its corners as people read them."""
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"


def clip_faces(
    photo: AnnotatedPhoto, width: int, height: int
) -> tuple[tuple[Face, ...], tuple[Finding, ...]]:
    """The faces that lie in their photo, boxes clipped; a finding for each clipped or left out."""
    faces: list[Face] = []
    findings: list[Finding] = []
    annotation = f"{photo.source}/{photo.annotation}"
    for face in photo.faces:
        try:
            box, clipped = clip_box(face.box, width, height)
        except DegenerateBoxError as error:
            message = f"{annotation}: object {face.object}: {error}; it is left out."
            findings.append(Finding(annotation, "degenerate-box", message, dropped=True))
            continue
        if clipped:
            message = f"{annotation}: object {face.object} reaches over the border of the photo "
            message += f"({width} × {height}) and was clipped."
            findings.append(Finding(annotation, "clipped-box", message))
            face = replace(face, box=box)
        faces.append(face)
    return tuple(faces), tuple(findings)


UPRIGHT = 1  # The EXIF orientation of a photo stored as it is looked at.

ORIENTATIONS = range(1, 9)  # All that EXIF knows.

SWAPS_SIDES = frozenset({5, 6, 7, 8})  # Orientations by which width becomes height.

_UNDONE_BY = {6: 8, 8: 6}
"""Orientations that another one turns back; all others turn back themselves."""


def turn_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Size of the upright photo from that of the stored one, or the other way round."""
    return (height, width) if orientation in SWAPS_SIDES else (width, height)


def turn_box(box: Box, width: int, height: int, orientation: int) -> Box:
    """A box of stored pixels as it lies in the photo turned upright by an EXIF orientation.

    Width and height are those of the stored photo.

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

    >>> turn_box_back(Box(30, 0, 50, 10), 100, 50, 6)
    Box(xmin=0, ymin=0, xmax=10, ymax=20)
    """
    back = _UNDONE_BY.get(orientation, orientation)
    return turn_box(box, *turn_size(width, height, orientation), back)


def shared_areas(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pixels that N and M rectangles have in common: N × M."""
    (x0, y0, x1, y1), more = first.T[..., None], second.T  # Side by side NumPy is quick.
    width = np.minimum(x1, more[2]) - np.maximum(x0, more[0])
    return width.clip(0) * (np.minimum(y1, more[3]) - np.maximum(y0, more[1])).clip(0)


def share_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of N and M boxes: N × M; NaN where both are empty."""
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (first, second)]
    shared = shared_areas(first, second)
    with np.errstate(invalid="ignore"):
        return shared / (areas[0][:, None] + areas[1] - shared)


SIDES = ("left", "top", "right", "bottom")

_RESTS_ON = ("interval", "faces", "photos", "source")

MOST_OFFSET = 0.45  # Sides that move further than this share of a box would turn it inside out.


class OffsetsError(UserError, ValueError):
    """A file of box offsets that can't be used."""


@dataclass(frozen=True)
class BoxOffsets:
    """How annotators draw boxes, against a detector's: four numbers, the box convention.

    Each tells how far a side lies from the detector's, as a share of the detected box's width or
    height; right and down are positive.
    """

    left: float
    top: float
    right: float
    bottom: float
    interval: Mapping[str, list[float]] | None = None  # 95 % by photo, by side.
    faces: int = 0  # That they rest on.
    photos: int = 0
    source: str = ""  # Whose boxes they are.

    def apply(self, boxes: np.ndarray) -> np.ndarray:
        """Detected boxes (N, 4) as the annotators would draw them; not clipped to the photo.

        >>> BoxOffsets(0.1, -0.5, 0.0, 0.0).apply(np.array([[10.0, 10.0, 30.0, 20.0]])).tolist()
        [[12.0, 5.0, 30.0, 20.0]]
        """
        return boxes + box_sides(boxes) * [self.left, self.top, self.right, self.bottom]

    def undo(self, boxes: np.ndarray) -> np.ndarray:
        """Annotated boxes (N, 4), wider and higher than a pixel, as the detector would draw them.

        >>> BoxOffsets(0.1, -0.5, 0.0, 0.0).undo(np.array([[12.0, 5.0, 30.0, 20.0]])).tolist()
        [[10.0, 10.0, 30.0, 20.0]]
        """
        grown = 1 + np.array([self.right - self.left, self.bottom - self.top] * 2)
        return boxes - box_sides(boxes) / grown * [self.left, self.top, self.right, self.bottom]

    def write(self, path: Path) -> None:
        """Write them as JSON: `offsets`, `interval`, `faces`, `photos`, `source`."""
        told = asdict(self)
        write_json(path, {"offsets": {side: told.pop(side) for side in SIDES}, **told})

    @classmethod
    def read(cls, path: Path) -> BoxOffsets:
        """Read what `write` wrote.

        Raises `OffsetsError`: the file is none, or an offset is no number or beyond `MOST_OFFSET`.
        """
        told = read_object(path) or {}
        try:
            left, top, right, bottom = offsets = [float(told["offsets"][side]) for side in SIDES]
            found = cls(left, top, right, bottom, *(told[name] for name in _RESTS_ON))
        except (KeyError, TypeError, ValueError):
            raise OffsetsError(f"{path}: no offsets of boxes, as fit-boxes writes them.") from None
        for side, value in zip(SIDES, offsets, strict=True):
            if not abs(value) <= MOST_OFFSET:
                hint = f"use -{MOST_OFFSET} to {MOST_OFFSET}."
                raise OffsetsError(f"{path}: {side} is {value:g}; {hint}")
        return found


def box_sides(boxes: np.ndarray) -> np.ndarray:
    """Width, height, width, height of boxes (N, 4), at least a pixel: offsets are shares of it."""
    return np.maximum(np.tile(boxes[:, 2:] - boxes[:, :2], 2), 1)
