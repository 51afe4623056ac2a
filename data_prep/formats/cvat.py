"""CVAT for images 1.1: one XML file for many photos (https://docs.cvat.ai)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lxml import etree

from data_prep.base.records import Box, note_unread
from data_prep.formats.contracts import (
    FaceReader,
    Faults,
    FileFormat,
    ReadOptions,
    note_outlined,
)
from data_prep.formats.input_files import InputError, enclose, read_number, read_size
from data_prep.formats.photo_match import WrittenPhoto
from data_prep.formats.voc import parse_xml, starts_with, tells

_OUTLINES = {"polygon", "polyline", "points", "ellipse"}


def _read_file(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Of a polygon the box around it is taken, of a turned box the one before it was turned."""
    root = parse_xml(path, faults.file, "annotations", "CVAT for images")
    if root.find("track") is not None and root.find("image") is None:
        raise InputError(f"{faults.file}: tracks of a video; export it as CVAT for images.")
    unread: Counter[str] = Counter()
    photos = []
    outlined = 0
    for image in root.iterfind("image"):
        reader = FaceReader(faults, options)
        for shape in image.iterchildren("box", *_OUTLINES):
            where = f"{faults.file}:{shape.sourceline}"
            reader.add(where, shape.get("label", ""), _read_box, shape, where)
            outlined += shape.tag in _OUTLINES
            told = {name: shape.get(name, "") for name in ("rotation", "occluded")}
            for one in shape.iter("attribute"):
                told[f"attribute {one.get('name')}"] = one.text or ""
            unread.update(name for name, text in told.items() if tells(text))
        size = read_size(image.get("width", ""), image.get("height", ""))
        where = f"{faults.file}:{image.sourceline}"
        photos.append(reader.finish(path, image.get("name", ""), where, size))
    things = [f"{thing} of {count} boxes" for thing, count in sorted(unread.items())]
    faults.findings += [*note_unread(faults.file, things), *note_outlined(faults.file, outlined)]
    return photos


CVAT = FileFormat(
    _read_file,
    "CVAT for images (*.xml)",
    ending=".xml",
    is_own=lambda path: starts_with(path, "annotations"),
)


def _read_box(shape: etree._Element, where: str) -> Box:
    def numbers(*names: str) -> Sequence[float]:
        return [read_number(shape.get(name, ""), name, where) for name in names]

    if shape.tag == "box":
        return Box(*numbers("xtl", "ytl", "xbr", "ybr"))
    if shape.tag == "ellipse":
        x, y, across, down = numbers("cx", "cy", "rx", "ry")
        return Box(x - across, y - down, x + across, y + down)
    values = [
        read_number(text, "points", where) for text in re.split("[;,]", shape.get("points", ""))
    ]
    return enclose(values[::2], values[1::2])
