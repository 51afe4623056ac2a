"""What is only read: labelling tools' exports, Medical Mask and the lists of WIDER FACE."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from lxml import etree

from data_prep.base.errors import DatasetError
from data_prep.base.photo import PHOTO_SUFFIXES, Size
from data_prep.base.records import Box, note_unread
from data_prep.formats.contracts import FaceReader, Faults, FileFormat, ReadOptions
from data_prep.formats.input_files import (
    InputError,
    check_box,
    enclose,
    enclose_ellipse,
    json_object,
    json_text,
    load_json,
    read_lines,
    read_number,
    read_size,
)
from data_prep.formats.photo_match import WrittenPhoto
from data_prep.formats.voc import parse_xml, starts_with, tells


def _read_entries(
    path: Path,
    faults: Faults,
    options: ReadOptions,
    *,
    entries: str,
    label: str,
    box: Callable[[Mapping[str, Any], str], Box],
    image: str = "",
    sides: tuple[str, str] = ("width", "height"),
) -> list[WrittenPhoto]:
    """A JSON object about one photo with a list of faces; without `image` the photo of its name."""
    content = json_object(load_json(path), faults.file)
    values = content.get(entries)
    if not isinstance(values, list):
        raise InputError(f"{faults.file}: no list of {entries}.")
    reader = FaceReader(faults, options)
    for number, value in enumerate(values):
        where = f"{faults.file}, {entries}[{number}]"
        entry = json_object(value, where)
        outlined = entry.get("shape_type", "rectangle") != "rectangle"
        name = json_text(entry, label, where)
        reader.add(where, name, partial(box, entry, where), outlined=outlined)
        flags = entry.get("flags") or {}
        faults.counts.update(f"flag {name}" for name, is_set in flags.items() if is_set)
        faults.counts.update(f"tag {tag.get('name')}" for tag in entry.get("tags") or ())
    name = json_text(content, image, faults.file) if image else path.stem
    stated = content.get("size", content)
    size = read_size(*map(stated.get, sides))
    return [reader.finish(path, name, faults.file, size, alone=bool(image))]


def _enclose_shape(shape: Mapping[str, Any], where: str) -> Box:
    xs, ys = zip(*((float(x), float(y)) for x, y in shape["points"]), strict=True)
    kind = shape.get("shape_type", "polygon")
    if kind == "circle":  # Its centre, and a point on it.
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return enclose_ellipse(xs[0], ys[0], radius, radius)
    if len(xs) < 2:
        raise InputError(f"{where}: a {kind} of one point has no box.")
    return enclose(xs, ys)


def _enclose_exterior(entry: Mapping[str, Any], where: str) -> Box:
    points = entry.get("points")
    if not isinstance(points, dict):
        raise InputError(f"{where}: a {entry.get('geometryType')} without points has no box.")
    xs, ys = zip(*((float(x), float(y)) for x, y in points["exterior"]), strict=True)
    return enclose(xs, ys)


_ENTRIES: Mapping[str, Any] = {
    "LabelMe": {  # https://github.com/wkentaro/labelme
        **{"entries": "shapes", "label": "label", "box": _enclose_shape},
        **{"image": "imagePath", "sides": ("imageWidth", "imageHeight")},
    },
    # `ann/PHOTO.json` of https://docs.supervisely.com
    "Supervisely": {"entries": "objects", "label": "classTitle", "box": _enclose_exterior},
    "Medical Mask": {  # Kaggle's.
        **{"entries": "Annotations", "label": "classname", "image": "FileName"},
        "box": lambda entry, _: Box(*map(float, entry["BoundingBox"])),
    },
}
LABELME, SUPERVISELY, MEDICAL_MASK = (
    FileFormat(partial(_read_entries, **told), f"{tool} JSON", keys=frozenset(keys))
    for (tool, told), keys in zip(
        _ENTRIES.items(),
        [("shapes", "imagePath"), ("objects", "classTitle"), ("FileName", "BoundingBox")],
        strict=True,
    )
)


def _read_label_studio(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Label Studio's JSON and JSON-MIN (https://labelstud.io), in percent of the photo.

    Of several annotations of a task the first counts that was not cancelled.
    """
    tasks = load_json(path)
    photos = []
    others = 0
    for number, value in enumerate(tasks if isinstance(tasks, list) else [tasks]):
        where = f"{faults.file}, task [{number}]"
        task = json_object(value, where)
        data = json_object(task.get("data", task), where)
        texts = [v for v in data.values() if isinstance(v, str) and "." in v]
        named = (v for v in texts if PurePosixPath(v).suffix.lower() in PHOTO_SUFFIXES)
        image = next(named, next(iter(texts), None))  # Addresses and times have dots, too.
        if image is None:
            faults.leave_out("unnamed-photo", f"{where}: names no photo.")
            continue
        versions = list(_list_versions(task))
        others += max(len(versions) - 1, 0)
        reader = FaceReader(faults, options)
        size = None
        for region in versions[0] if versions else ():
            found = region.get("value", region)
            labels = next((v for k, v in found.items() if k.endswith("labels")), None)
            if not labels:
                continue  # A choice, a text, or how two regions are related.
            size = read_size(region.get("original_width"), region.get("original_height"))
            if size is None:
                raise InputError(f"{where}: a region without original_width and -height.")
            faults.counts[_TURNED] += bool(found.get("rotation"))
            reader.add(where, str(labels[0]), partial(_enclose_percent, found, size))
        photos.append(reader.finish(path, image, where, size))
    if others:
        things = [f"{others} further annotations of the same tasks"]
        faults.findings += note_unread(faults.file, things)
    return photos


_TURNED = "rotation (the box around is taken)"
LABEL_STUDIO = FileFormat(
    _read_label_studio, "Label Studio JSON", keys=frozenset({"original_width"})
)


def _list_versions(task: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
    """The regions of each annotation of a task."""
    for key in ("annotations", "completions"):
        for one in task.get(key) or ():
            if not one.get("was_cancelled"):
                yield one.get("result", [])
    for value in task.values():  # JSON-MIN.
        regions = isinstance(value, list) and value and isinstance(value[0], dict)
        if regions and "original_width" in value[0] and "value" not in value[0]:
            yield value


def _enclose_percent(value: Mapping[str, Any], size: Size) -> Box:
    def numbers(*names: str) -> list[float]:
        return [float(value[name]) for name in names]

    if "points" in value:
        box = enclose(*zip(*value["points"], strict=True))
    elif "radiusX" in value:
        box = enclose_ellipse(*numbers("x", "y", "radiusX", "radiusY"))
    else:
        x, y, width, height = numbers("x", "y", "width", "height")
        # Turned by its top left corner, in pixels.
        angle, ratio = math.radians(value.get("rotation") or 0), size[0] / size[1]
        cos, sin = math.cos(angle), math.sin(angle)
        ends = [(0, 0), (width, 0), (0, height), (width, height)]
        xs = [x + a * cos - b / ratio * sin for a, b in ends]
        box = enclose(xs, [y + a * ratio * sin + b * cos for a, b in ends])
    return Box(*(v * side / 100 for v, side in zip(box, size * 2, strict=True)))


def _read_via(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
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
            reader.add(place, name, partial(enclose_region, shape, place))
        photos.append(reader.finish(path, json_text(entry, "filename", where), where, None))
    return photos


VIA = FileFormat(_read_via, "VIA JSON", keys=frozenset({"regions", "shape_attributes"}))


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
    names = _REGIONS.get(str(kind))
    if names is None:
        raise InputError(f"{where}: a region of the shape '{kind}', which has no box.")
    try:
        if kind in ("polygon", "polyline"):
            return enclose(*(list(map(float, shape[name])) for name in names))
        values = [float(shape.get(name, 0) if name == "theta" else shape[name]) for name in names]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: a {kind} without its numbers ({error}).") from error
    if kind == "rect":
        x, y, width, height = values
        box = Box(x, y, x + width, y + height)
    else:
        box = enclose_ellipse(*values)
    return check_box(box, where, "redraw the region")


_REGIONS = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r", "r"),
    "ellipse": ("cx", "cy", "rx", "ry", "theta"),
    **dict.fromkeys(("polygon", "polyline"), ("all_points_x", "all_points_y")),
}
"""Shapes of VIA that have a box, and their numbers."""

_OUTLINES = {"polygon", "polyline", "points", "ellipse"}


def _read_cvat(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """CVAT for images 1.1 (https://docs.cvat.ai): one XML file for many photos.

    Of a polygon the box around it is taken, of a turned box the one before it was turned.
    """
    root = parse_xml(path, faults.file, "annotations", "CVAT for images")
    if root.find("track") is not None and root.find("image") is None:
        raise InputError(f"{faults.file}: tracks of a video; export it as CVAT for images.")
    photos = []
    for image in root.iterfind("image"):
        reader = FaceReader(faults, options)
        for shape in image.iterchildren("box", *_OUTLINES):
            where = f"{faults.file}:{shape.sourceline}"
            outlined, box = shape.tag in _OUTLINES, partial(_enclose_cvat, shape, where)
            reader.add(where, shape.get("label", ""), box, outlined=outlined)
            told = {name: shape.get(name, "") for name in ("rotation", "occluded")}
            for one in shape.iter("attribute"):
                told[f"attribute {one.get('name')}"] = one.text or ""
            faults.counts.update(name for name, text in told.items() if tells(text))
        size = read_size(image.get("width", ""), image.get("height", ""))
        where = f"{faults.file}:{image.sourceline}"
        photos.append(reader.finish(path, image.get("name", ""), where, size))
    return photos


CVAT = FileFormat(
    _read_cvat,
    "CVAT for images (*.xml)",
    ending=".xml",
    is_own=lambda path: starts_with(path, "annotations"),
)


def _enclose_cvat(shape: etree._Element, where: str) -> Box:
    def numbers(*names: str) -> Sequence[float]:
        return [read_number(shape.get(name, ""), name, where) for name in names]

    if shape.tag == "box":
        return Box(*numbers("xtl", "ytl", "xbr", "ybr"))
    if shape.tag == "ellipse":
        return enclose_ellipse(*numbers("cx", "cy", "rx", "ry"))
    values = [
        read_number(text, "points", where) for text in re.split("[;,]", shape.get("points", ""))
    ]
    return enclose(values[::2], values[1::2])


FACE = "face_of_any_class"
"""The class of all faces, where classes are asked for: whoever has a use for it gives it an alias.

`face` won't do: elsewhere it is the name of a face without a mask."""

_INVALID = 7  # Place of the number by which WIDER FACE marks a face as hardly to be seen.


def _is_list(path: Path) -> bool:
    """Whether a text starts with a photo and a count, or with # and a photo."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first, second = file.readline(300).strip(), file.readline(300).strip()
    except (OSError, UnicodeDecodeError):
        return False
    return _is_photo(first) and (first.startswith("#") or second.isdecimal())


def _is_photo(line: str) -> bool:
    return PurePosixPath(line).suffix.lower() in PHOTO_SUFFIXES


def _read_wider(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Lists of WIDER FACE (http://shuoyang1213.me/WIDERFACE) and RetinaFace, without classes.

    `PATH`, a count, and that many lines `x y width height …`, or `# PATH` and such lines until the
    next. Invalid faces are difficult.
    """
    photos: list[WrittenPhoto] = []
    name = "face" if options.classes is None else FACE
    image, start, reader = "", 0, FaceReader(faults, options)
    for number, line in enumerate([*read_lines(path), "#.jpg"], 1):
        if _is_photo(line.strip()):
            if image:
                photos.append(reader.finish(path, image, faults.at(start), None))
            image, start = re.sub(r"^#\s*", "", line.strip()), number
            reader = FaceReader(faults, options)
        words = line.split()
        if len(words) < 4 or not image or not any(word.strip("0.") for word in words[:4]):
            continue  # A count, a blank, or the line of zeros that stands for no face.
        invalid = len(words) == 10 and words[_INVALID] == "1"
        box = partial(_read_row, words, faults.at(number))
        reader.add(faults.at(number), name, box, difficult=invalid)
    if not photos:
        raise InputError(f"{faults.file}: no photo in this list.")
    return photos


WIDER = FileFormat(
    *(_read_wider, "list of WIDER FACE or RetinaFace (*.txt)", "sized"),
    ending=".txt",
    is_own=_is_list,
)


def _read_row(words: Sequence[str], where: str) -> Box:
    x, y, width, height = (read_number(word, "a number of the box", where) for word in words[:4])
    return Box(x, y, x + width, y + height)
