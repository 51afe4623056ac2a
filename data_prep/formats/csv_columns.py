"""Which column of a table means what."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from data_prep.base.errors import DatasetError, UserError
from data_prep.base.photo import PHOTO_SUFFIXES, Size
from data_prep.base.records import Box
from data_prep.formats.input_files import InputError, check_box, read_number, read_size

FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "filename", "file_name", "image_name", "image_path", "file", "path"),
        *("img", "photo", "image_id", "name"),
    ),
    "label": ("label", "class", "label_name", "class_name", "classname", "category"),
    "xmin": ("xmin", "x_min", "x1", "left", "bbox_x", "x"),
    "ymin": ("ymin", "y_min", "y1", "top", "bbox_y", "y"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
    "box_width": ("box_width", "bbox_width", "bbox_w", "w"),
    "box_height": ("box_height", "bbox_height", "bbox_h", "h"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "object": ("object",),
    "difficult": ("difficult", "iscrowd", "ignore"),
}
"""What can be told of a face, and the names of columns that are known for it, the surest first."""

_KNOWN = frozenset(name for names in FIELDS.values() for name in names)

_MAKESENSE = ("label", "xmin", "ymin", "box_width", "box_height", "image", "width", "height")
"""Columns of makesense.ai's export, which older versions write without a header."""

_HINT = (
    "neither xmax may be under xmin nor ymax under ymin; if these are width and height, say so "
    "with --columns box_width=...,box_height=..."
)


class ColumnError(UserError, ValueError):
    """An option for columns that can't be understood."""


@dataclass(frozen=True, slots=True)
class FaceRow:
    """What a row tells, as written; `size` is the photo's."""

    image: str
    label: str
    box: Box | None
    fault: str = ""  # Why the face can't be used.
    size: Size | None = None
    object: str = ""
    difficult: bool = False


@dataclass(frozen=True)
class ColumnLayout:
    """A table with a column for each field."""

    cells: int  # Of every row.
    has_header: bool
    places: Mapping[str, int]  # Index of each field's column.
    unread: tuple[str, ...] = ()  # Names of columns that tell something else.

    def parse(self, cells: Sequence[str], where: str) -> FaceRow:
        """What a row tells; `where` is its file and line."""
        found = {field: cells[place] for field, place in self.places.items()}
        box, fault = None, ""
        try:
            box = _read_box(found, where)
        except InputError as error:
            fault = str(error)
        size = read_size(found.get("width", ""), found.get("height", ""))
        is_difficult = found.get("difficult", "").lower() in {"1", "true", "yes"}
        number = found.get("object", "")
        return FaceRow(found["image"], found["label"], box, fault, size, number, is_difficult)


def find_columns(header: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Index of the column of each field that a header has, whatever its case.

    `width` and `height` are those of the box where nothing else can be. For some fields `columns`
    gives the name.
    """
    names = [_normalise(cell) for cell in header]
    places: dict[str, int] = {}
    for field, known in FIELDS.items():
        wanted = (_normalise(columns[field]),) if field in columns else known
        place = next((names.index(name) for name in wanted if name in names), None)
        if place is not None:
            places[field] = place
    if not {"xmax", "ymax"} <= places.keys() and not {"box_width", "box_height"} & places.keys():
        for side in ("width", "height"):
            if side in places:
                places[f"box_{side}"] = places.pop(side)
    return places


def list_missing(places: Mapping[str, int]) -> list[str]:
    """Fields without which a table does not annotate faces."""
    missing = [field for field in ("image", "label", "xmin", "ymin") if field not in places]
    if not {"xmax", "ymax"} <= places.keys() and not {"box_width", "box_height"} <= places.keys():
        missing += ["xmax", "ymax"]
    return missing


def find_layout(start: Sequence[str], columns: Mapping[str, str]) -> ColumnLayout | None:
    """The layout of a table by its first row, or None when it does not annotate faces."""
    places = find_columns(start, columns)
    if not list_missing(places):
        # Far corners go before width and height, unless these were asked for.
        if {"xmax", "ymax"} <= places.keys() and "box_width" not in columns:
            places = {f: place for f, place in places.items() if not f.startswith("box_")}
        used = {start[place] for place in places.values()}
        unread = [name for name in start if name and _normalise(name) not in _KNOWN]
        return ColumnLayout(len(start), True, places, tuple(n for n in unread if n not in used))
    if not columns and len(start) == len(_MAKESENSE):
        places = {field: place for place, field in enumerate(_MAKESENSE)}
        suffix = PurePosixPath(start[places["image"]]).suffix.lower()
        numbers = [
            start[place] for field, place in places.items() if field not in ("label", "image")
        ]
        if suffix in PHOTO_SUFFIXES and all(map(_is_number, numbers)):
            return ColumnLayout(len(start), False, places)
    return None


def parse_columns(text: str) -> dict[str, str]:
    """Read `--columns image=file,label=class`; a `ColumnError` says what can't be understood.

    >>> parse_columns("image=file, xmin=x")
    {'image': 'file', 'xmin': 'x'}
    """
    columns = {}
    for part in text.split(",") if text.strip() else ():
        field, equals, column = (word.strip() for word in part.partition("="))
        if not equals or not column:
            raise ColumnError(f"--columns {text}: '{part}' is not FIELD=COLUMN.")
        columns[field] = column
    check_columns(columns)
    return columns


def check_columns(columns: Mapping[str, str]) -> None:
    """Refuse unknown fields with a `ColumnError`."""
    for field in columns:
        if field not in FIELDS:
            raise ColumnError(f"--columns {field}=...: fields are {', '.join(FIELDS)}.")


def _read_box(found: Mapping[str, str], where: str) -> Box | None:
    is_sized = "box_width" in found
    sides = ("xmin", "ymin", *(("box_width", "box_height") if is_sized else ("xmax", "ymax")))
    if not any(found[side] for side in sides):
        return None
    x, y, right, bottom = (read_number(found[side], side, where) for side in sides)
    box = Box(x, y, x + right, y + bottom) if is_sized else Box(x, y, right, bottom)
    return check_box(box, where, _HINT)


def _is_number(text: str) -> bool:
    try:
        read_number(text, "", "")
    except InputError:
        return False
    return True


def _normalise(name: str) -> str:
    return "_".join(name.replace("-", " ").replace("_", " ").lower().split())


_IMAGE, _SHAPE, _ATTRIBUTES = "filename", "region_shape_attributes", "region_attributes"


@dataclass(frozen=True)
class ViaLayout:
    """A table of VIA with a region per row; see `ColumnLayout`."""

    cells: int
    places: Mapping[str, int]
    attribute: str | None  # That holds the class; the only one there is when None.
    has_header: bool = True
    unread: tuple[str, ...] = ()

    def parse(self, cells: Sequence[str], where: str) -> FaceRow:
        """What a row tells; the box of another shape is the one around it."""
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
            x, y, width, height = (float(shape[name]) for name in ("x", "y", "width", "height"))
            return Box(x, y, x + width, y + height)
        if kind == "circle":
            x, y, radius = (float(shape[name]) for name in ("cx", "cy", "r"))
            return Box(x - radius, y - radius, x + radius, y + radius)
        if kind == "ellipse":
            x, y, along, across = (float(shape[name]) for name in ("cx", "cy", "rx", "ry"))
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
