"""LabelMe: a JSON file per photo, with shapes of points (https://github.com/wkentaro/labelme)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.base.records import Box, note_unread
from data_prep.formats.contracts import (
    FaceReader,
    Faults,
    JsonFormat,
    ReadOptions,
    note_outlined,
)
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
    """All LabelMe files below a folder; of a shape that is no rectangle the box around it."""
    content = json_object(load_json(path), faults.file)
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise InputError(f"{faults.file}: no list of shapes.")
    reader = FaceReader(faults, options)
    outlined = flags = 0
    for number, shape in enumerate(shapes):
        where = f"{faults.file}, shapes[{number}]"
        shape = json_object(shape, where)
        reader.add(where, json_text(shape, "label", where), _box, shape, where)
        outlined += shape.get("shape_type", "polygon") != "rectangle"
        flags += any((shape.get("flags") or {}).values())
    faults.findings += note_outlined(faults.file, outlined)
    faults.findings += note_unread(faults.file, [f"flags of {flags} shapes"] * bool(flags))
    image = json_text(content, "imagePath", faults.file)
    size = read_size(content.get("imageWidth"), content.get("imageHeight"))
    return [reader.finish(path, image, faults.file, size, alone=True)]


LABELME = JsonFormat(frozenset({"shapes", "imagePath"}), _read_file, "LabelMe JSON")


def _box(shape: Mapping[str, Any], where: str) -> Box:
    xs, ys = zip(*((float(x), float(y)) for x, y in shape["points"]), strict=True)
    kind = shape.get("shape_type", "polygon")
    if kind == "circle":  # Its centre, and a point on it.
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return Box(xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius)
    if len(xs) < 2:
        raise InputError(f"{where}: a {kind} of one point has no box.")
    return enclose(xs, ys)
