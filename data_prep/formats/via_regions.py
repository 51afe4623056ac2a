"""The table that the VGG Image Annotator (VIA 2) exports: JSON in its cells, a region per row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.errors import DatasetError
from data_prep.formats.csv_columns import FaceRow
from data_prep.formats.input_files import InputError, check_box
from data_prep.records import Box

_IMAGE, _SHAPE, _ATTRIBUTES = "filename", "region_shape_attributes", "region_attributes"


@dataclass(frozen=True)
class ViaLayout:
    """A table with a region per row.

    Attributes:
        cells: Cells of every row.
        places: Index of each column.
        attribute: The attribute that holds the class; the only one there is when None.
        has_header, unread: As of `ColumnLayout`; the other columns count regions and files.
    """

    cells: int
    places: Mapping[str, int]
    attribute: str | None
    has_header: bool = True
    unread: tuple[str, ...] = ()

    def parse(self, cells: Sequence[str], where: str) -> FaceRow:
        """What a row tells; the box of another shape is the one around it.

        Raises:
            DatasetError: There are several attributes and none was named.
        """
        label, box, fault = "", None, ""
        try:
            shape = _load(cells[self.places[_SHAPE]], _SHAPE, where)
            attributes = _load(cells[self.places[_ATTRIBUTES]], _ATTRIBUTES, where)
            label = self._find_label(attributes, where)
            if shape:
                box = check_box(_enclose(shape, where), where, "redraw the region")
        except InputError as error:
            fault = str(error)
        return FaceRow(cells[self.places[_IMAGE]], label, box, fault)

    def _find_label(self, attributes: Mapping[str, Any], where: str) -> str:
        name = self.attribute
        if name is None and len(attributes) > 1:
            raise DatasetError(
                f"{where}: several attributes ({', '.join(attributes)}); say which one is the "
                "class with --columns label=NAME."
            )
        value = attributes.get(next(iter(attributes), "") if name is None else name, "")
        if isinstance(value, dict):  # Check boxes.
            ticked = [key for key, is_set in value.items() if is_set]
            if len(ticked) > 1:
                raise InputError(f"{where}: several classes ticked: {', '.join(ticked)}.")
            return ticked[0] if ticked else ""
        return str(value).strip()


def find_via_layout(start: Sequence[str], columns: Mapping[str, str]) -> ViaLayout | None:
    """The layout of a table by its header, or None when VIA did not write it."""
    places = {name: start.index(name) for name in (_IMAGE, _SHAPE, _ATTRIBUTES) if name in start}
    return ViaLayout(len(start), places, columns.get("label")) if len(places) == 3 else None


def _load(text: str, name: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {name} is broken JSON ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: {name} is no object in braces.")
    return value


def _enclose(shape: Mapping[str, Any], where: str) -> Box:
    kind = shape.get("name")
    try:
        if kind == "rect":
            x, y, width, height = _numbers(shape, "x", "y", "width", "height")
            return Box(x, y, x + width, y + height)
        if kind == "circle":
            x, y, radius = _numbers(shape, "cx", "cy", "r")
            return Box(x - radius, y - radius, x + radius, y + radius)
        if kind == "ellipse":
            x, y, along, across = _numbers(shape, "cx", "cy", "rx", "ry")
            turn = float(shape.get("theta", 0))
            # Half the extents of an ellipse turned by `turn` radians.
            half_width = math.hypot(along * math.cos(turn), across * math.sin(turn))
            half_height = math.hypot(along * math.sin(turn), across * math.cos(turn))
            return Box(x - half_width, y - half_height, x + half_width, y + half_height)
        if kind in ("polygon", "polyline"):
            xs, ys = ([float(v) for v in shape[f"all_points_{axis}"]] for axis in "xy")
            return Box(min(xs), min(ys), max(xs), max(ys))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: a {kind} without its numbers ({error}).") from error
    raise InputError(f"{where}: a region of the shape '{kind}', which has no box.")


def _numbers(shape: Mapping[str, Any], *names: str) -> list[float]:
    return [float(shape[name]) for name in names]
