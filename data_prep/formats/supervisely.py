"""JSON per photo in the manner of Supervisely, and of Kaggle's Medical Mask dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.base.records import Box, note_unread
from data_prep.formats.contracts import FaceReader, Faults, JsonFormat, ReadOptions
from data_prep.formats.input_files import (
    InputError,
    enclose,
    json_object,
    json_text,
    load_json,
    read_size,
)
from data_prep.formats.photo_match import WrittenPhoto


def _read_file(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Supervisely's `ann/PHOTO.json`: rectangles and polygons (https://docs.supervisely.com)."""
    content = json_object(load_json(path), faults.file)
    reader = FaceReader(faults, options)
    tags: Counter[str] = Counter()
    for number, value in enumerate(content.get("objects") or ()):
        where = f"{faults.file}, objects[{number}]"
        entry = json_object(value, where)
        name = json_text(entry, "classTitle", where)
        reader.add(where, name, _box, entry, where)
        tags.update(str(tag.get("name")) for tag in entry.get("tags") or ())
    things = [f"tag {tag} of {count} objects" for tag, count in sorted(tags.items())]
    faults.findings += note_unread(faults.file, things)
    stated = json_object(content.get("size") or {}, faults.file)
    size = read_size(stated.get("width"), stated.get("height"))
    return [reader.finish(path, path.stem, faults.file, size)]


SUPERVISELY = JsonFormat(frozenset({"objects", "classTitle"}), _read_file, "Supervisely JSON")


def _box(entry: Mapping[str, Any], where: str) -> Box:
    points = entry.get("points")
    if not isinstance(points, dict):
        raise InputError(f"{where}: a {entry.get('geometryType')} without points has no box.")
    xs, ys = zip(*((float(x), float(y)) for x, y in points["exterior"]), strict=True)
    return enclose(xs, ys)


def _read_medical_mask(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """`FileName` and `Annotations` with a `BoundingBox` of two corners and a `classname` each."""
    content = json_object(load_json(path), faults.file)
    reader = FaceReader(faults, options)
    for number, value in enumerate(content.get("Annotations") or ()):
        where = f"{faults.file}, Annotations[{number}]"
        entry = json_object(value, where)
        name = json_text(entry, "classname", where)
        reader.add(where, name, _corners, entry)
    image = json_text(content, "FileName", faults.file)
    return [reader.finish(path, image, faults.file, None, alone=True)]


MEDICAL_MASK = JsonFormat(
    frozenset({"FileName", "BoundingBox"}), _read_medical_mask, "Medical Mask JSON"
)


def _corners(entry: Mapping[str, Any]) -> Box:
    return Box(*map(float, entry["BoundingBox"]))
