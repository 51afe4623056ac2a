"""Lines of YOLO's label files: `id x y width height` with the centre, or `id x1 y1 x2 y2 …`.

As documented by Ultralytics; all numbers but the id are shares of the photo's width and height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.formats.input_files import InputError, check_box, read_number
from data_prep.photo import Size
from data_prep.records import Box

_BOX_VALUES = 4
_OUTLINE_VALUES = 6
"""Fewest numbers of an outline: three corners."""

_FAR_OUT = 2.0
"""No relative coordinate is larger than this; pixels nearly always are."""


@dataclass(frozen=True)
class YoloLine:
    """One face of a label file.

    Attributes:
        label: The class as written: an id, or a name.
        values: Centre x, centre y, width, height; or the corners of an outline, x before y.
    """

    label: str
    values: tuple[float, ...]

    @property
    def is_outline(self) -> bool:
        """Whether an outline is drawn around the face, not a box."""
        return len(self.values) != _BOX_VALUES

    def to_box(self, size: Size, where: str) -> Box:
        """The box in pixels; of an outline, the one around it.

        Args:
            size: The photo's, as it is looked at.
            where: File and line, for the message.

        Raises:
            InputError: The box is inverted.
        """
        if self.is_outline:
            xs, ys = self.values[0::2], self.values[1::2]
            box = Box(min(xs) * size[0], min(ys) * size[1], max(xs) * size[0], max(ys) * size[1])
        else:
            box = from_centre(self.values, size)
        return check_box(box, where, "width and height can't be negative")


def parse_line(text: str, where: str) -> YoloLine | None:
    """Parse a line; None when it is blank.

    Args:
        text: The line.
        where: File and line, for the message.

    Raises:
        InputError: The numbers are not those of a box or an outline, or no shares of a photo.
    """
    words = text.split()
    if not words:
        return None
    count = len(words) - 1
    if count != _BOX_VALUES and (count < _OUTLINE_VALUES or count % 2):
        hint = " Five numbers are a prediction's." if count == _BOX_VALUES + 1 else ""
        raise InputError(
            f"{where}: {count} numbers behind the class id; expected are 4 (centre x, centre "
            f"y, width, height) or the pairs of an outline, at least 3.{hint}"
        )
    values = [read_number(word, "a coordinate", where) for word in words[1:]]
    check_relative(values, where)
    return YoloLine(words[0], tuple(values))


def check_relative(values: Sequence[float], where: str) -> None:
    """Refuse pixels where shares of the photo's size are expected.

    A face at the border may reach a little beyond it.

    Raises:
        InputError: A value is far from the range 0 to 1.
    """
    far_out = [value for value in values if abs(value) > _FAR_OUT]
    if far_out:
        raise InputError(
            f"{where}: {far_out[0]:g} is no relative coordinate; they lie between 0 and 1. For "
            "pixels choose the layout xywh or xyxy."
        )


def from_centre(values: Sequence[float], size: Size) -> Box:
    """The box in pixels, from centre x, centre y, width and height as shares of the photo's."""
    x, y, width, height = values
    return Box(
        (x - width / 2) * size[0],
        (y - height / 2) * size[1],
        (x + width / 2) * size[0],
        (y + height / 2) * size[1],
    )
