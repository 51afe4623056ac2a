"""VIA, the VGG Image Annotator: regions of any shape, and attributes that tell their class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.base.errors import DatasetError
from data_prep.base.records import Box
from data_prep.formats.contracts import FaceReader, Faults, JsonFormat, ReadOptions
from data_prep.formats.input_files import (
    InputError,
    check_box,
    enclose,
    json_object,
    json_text,
    load_json,
)
from data_prep.formats.photo_match import WrittenPhoto


def _read_file(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """VIA 2's annotations or project files; its tables are read as CSV."""
    content = json_object(load_json(path), faults.file)
    photos = []
    for key, value in content.get("_via_img_metadata", content).items():
        where = f"{faults.file}, '{key[:60]}'"
        entry = json_object(value, where)
        regions = entry.get("regions", [])
        reader = FaceReader(faults, options)
        # Older versions number them in an object.
        for number, region in enumerate(regions.values() if isinstance(regions, dict) else regions):
            place = f"{where}, region {number}"
            found = json_object(region, place)
            told = json_object(found.get("region_attributes", {}), place)
            name = find_class(told, options.columns.get("label"), place)
            shape = json_object(found.get("shape_attributes"), place)
            reader.add(place, name, enclose_region, shape, place)
        photos.append(reader.finish(path, json_text(entry, "filename", where), where, None))
    return photos


VIA = JsonFormat(frozenset({"regions", "shape_attributes"}), _read_file, "VIA JSON")


def find_class(attributes: Mapping[str, Any], name: str | None, where: str) -> str:
    """The class that a region's attributes tell, "" for none; `name` is the attribute's.

    Raises:
        DatasetError: There are several attributes and no name.
        InputError: Several classes are ticked.
    """
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


def enclose_region(shape: Mapping[str, Any], where: str) -> Box:
    """The box around a region; an `InputError` if it has none."""
    kind = shape.get("name")
    try:
        box = _enclose(kind, shape)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: a {kind} without its numbers ({error}).") from error
    if box is None:
        raise InputError(f"{where}: a region of the shape '{kind}', which has no box.")
    return check_box(box, where, "redraw the region")


def _enclose(kind: Any, shape: Mapping[str, Any]) -> Box | None:
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
        return enclose(xs, ys)
    return None
