"""What is only read: VIA, VoTT, Supervisely, Create ML, Medical Mask, and lists of WIDER FACE."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.base.errors import DatasetError
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.base.progress import tell
from data_prep.base.records import Box
from data_prep.formats import input_files as raw
from data_prep.formats.contracts import FaceReader, Faults, FileFormat, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.photo_match import WrittenPhoto


def read_entries(
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
    content = raw.json_object(raw.load_json(path), faults.file)
    values = content.get(entries)
    if not isinstance(values, list):
        raise InputError(f"{faults.file}: no list of {entries}.")
    reader = FaceReader(faults, options)
    for number, entry in enumerate(values):
        where = f"{faults.file}, {entries}[{number}]"
        if not isinstance(entry, dict):
            reader.leave_out("bad-box", f"{where}: {raw.show_json(entry)}, not an object.")
            continue
        outlined = entry.get("shape_type", "rectangle") != "rectangle"
        called = entry.get(label)
        name = str(called) if isinstance(called, str | int) else ""
        flags = {"outlined": outlined, "difficult": entry.get("difficult") in (True, 1)}
        reader.add(where, name, partial(box, entry, where), **flags)
        flags = entry.get("flags") or {}
        faults.counts.update(f"flag {name}" for name, is_set in flags.items() if is_set)
        faults.counts.update(f"tag {tag.get('name')}" for tag in entry.get("tags") or ())
    name = raw.json_text(content, image, faults.file) if image else path.stem
    size = raw.read_size(*map(content.get("size", content).get, sides))
    return [reader.finish(path, name, faults.file, size, alone=bool(image))]


def _enclose_shape(shape: Mapping[str, Any], where: str) -> Box:
    xs, ys = zip(*((float(x), float(y)) for x, y in shape["points"]), strict=True)
    kind = shape.get("shape_type", "polygon")
    if kind == "circle":  # Its centre, and a point on it.
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return raw.enclose_ellipse(xs[0], ys[0], radius, radius)
    if len(xs) < 2:
        raise InputError(f"{where}: a {kind} of one point has no box.")
    return raw.enclose(xs, ys)


def _enclose_exterior(entry: Mapping[str, Any], where: str) -> Box:
    points = entry.get("points")
    if not isinstance(points, dict):
        raise InputError(f"{where}: a {entry.get('geometryType')} without points has no box.")
    xs, ys = zip(*((float(x), float(y)) for x, y in points["exterior"]), strict=True)
    return raw.enclose(xs, ys)


ENTRIES: Mapping[str, Any] = {
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
"""How tools call what `read_entries` reads."""
SUPERVISELY, MEDICAL_MASK = (
    FileFormat(partial(read_entries, **ENTRIES[tool]), f"{tool} JSON", keys=frozenset(keys))
    for tool, keys in (
        ("Supervisely", {"objects", "classTitle"}),
        ("Medical Mask", {"FileName", "BoundingBox"}),
    )
)


def _read_createml(path: Path, faults: Faults, options: ReadOptions) -> Iterator[WrittenPhoto]:
    """Photos for Apple's Create ML, as labelImg and Roboflow write them; boxes by centre."""
    for number, value in enumerate(raw.load_json(path)):
        where = f"{faults.file}, [{number}]"
        photo, reader = raw.json_object(value, where), FaceReader(faults, options)
        for place, face in enumerate(photo["annotations"]):
            box = partial(_read_centre, face)
            reader.add(f"{where}, annotations[{place}]", str(face.get("label") or ""), box)
        yield reader.finish(path, raw.json_text(photo, "image", where), where, None)


def _read_centre(face: Mapping[str, Any]) -> Box:
    x, y, width, height = (float(face["coordinates"][k]) for k in ("x", "y", "width", "height"))
    return Box.sized(x - width / 2, y - height / 2, width, height)


CREATEML = FileFormat(
    *(_read_createml, "Create ML JSON", "centred"), keys=frozenset({"annotations", "coordinates"})
)


def _read_via(path: Path, faults: Faults, options: ReadOptions) -> Iterator[WrittenPhoto]:
    """VIA 2's annotations or project files; its tables are read as CSV."""
    content = raw.json_object(raw.load_json(path), faults.file)
    for key, value in content.get("_via_img_metadata", content).items():
        where = f"{faults.file}, '{key[:60]}'"
        entry = raw.json_object(value, where)
        regions = entry.get("regions", [])
        reader = FaceReader(faults, options)
        # Older versions number them in an object.
        for number, region in enumerate(regions.values() if isinstance(regions, dict) else regions):
            place = f"{where}, region {number}"
            found = raw.json_object(region, place)
            told = raw.json_object(found.get("region_attributes") or {}, place)
            shape = raw.json_object(found.get("shape_attributes"), place)
            _add_region(reader, place, told, partial(enclose_region, shape, place))
        yield reader.finish(path, raw.json_text(entry, "filename", where), where, None)


VIA = FileFormat(
    _read_via, "VIA JSON", frame="upright", keys=frozenset({"regions", "shape_attributes"})
)


def _add_region(
    reader: FaceReader, where: str, told: Mapping[str, Any], read_box: Callable[[], Box]
) -> None:
    try:
        name = find_class(told, reader.options.columns.get("label"), where)
    except InputError as error:
        reader.leave_out("unnamed-object", str(error))
    else:
        reader.add(where, name, read_box)


def find_class(attributes: Mapping[str, Any], name: str | None, where: str) -> str:
    """The class that a region's attributes tell, "" for none; `name` is the attribute's.

    Raises `DatasetError`: there are several attributes and no name; `InputError`: several classes
    are ticked.
    """
    if name is None and len(attributes) > 1:
        hint = "say which one is the class with --columns label=NAME."
        raise DatasetError(f"{where}: several attributes ({', '.join(attributes)}); {hint}")
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
            return raw.enclose(*(list(map(float, shape[name])) for name in names))
        values = [float(shape.get(name, 0) if name == "theta" else shape[name]) for name in names]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: a {kind} without its numbers ({error}).") from error
    box = Box.sized(*values) if kind == "rect" else raw.enclose_ellipse(*values)
    return raw.check_box(box, where, "redraw the region")


_REGIONS = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r", "r"),
    "ellipse": ("cx", "cy", "rx", "ry", "theta"),
    **dict.fromkeys(("polygon", "polyline"), ("all_points_x", "all_points_y")),
}
"""Shapes of VIA that have a box, and their numbers."""


def _read_via3(path: Path, faults: Faults, options: ReadOptions) -> Iterator[WrittenPhoto]:
    """VIA 3's project files (https://www.robots.ox.ac.uk/~vgg/software/via): photos in views."""
    content = raw.json_object(raw.load_json(path), faults.file)
    readers: dict[str, FaceReader] = {}
    for key, value in content["metadata"].items():
        where = f"{faults.file}, '{key[:60]}'"
        entry = raw.json_object(value, where)
        kind, *numbers = entry["xy"] or [0]
        if not kind:
            faults.counts["attribute of a whole photo"] += 1
            continue
        told = dict(_tell_attributes(entry.get("av") or {}, content["attribute"]))
        reader = readers.setdefault(str(entry["vid"]), FaceReader(faults, options))
        _add_region(reader, where, told, partial(_enclose_numbers, kind, numbers, where))
    for number, view in content["view"].items():
        where = f"{faults.file}, view {number}"
        if len(view["fid_list"]) != 1:
            raise InputError(f"{where}: not of one photo; annotate each in a view of its own.")
        image = raw.json_text(content["file"][str(view["fid_list"][0])], "fname", where)
        yield readers.pop(number, FaceReader(faults, options)).finish(path, image, where, None)
    for number in readers:
        faults.leave_out("unnamed-photo", f"{faults.file}: no view {number} for its faces.")


def _tell_attributes(
    values: Mapping[str, object], attributes: Mapping[str, Any]
) -> Iterator[tuple[str, object]]:
    """Names and values as VIA 2 has them; VIA 3 gives options by number, check boxes as `1,3`."""
    for key, value in values.items():
        names, text = attributes[key].get("options") or {}, str(value)
        is_box = attributes[key].get("type") == _CHECK_BOXES
        ticked = {names.get(one, one): True for one in text.split(",") if one}
        yield attributes[key]["aname"], ticked if is_box else names.get(text, text)


_CHECK_BOXES = 2


def _enclose_numbers(kind: int, numbers: Sequence[float], where: str) -> Box:
    shape = _SHAPES.get(kind, f"shape {kind}")
    if shape in ("polygon", "polyline"):
        told: dict[str, Any] = {"all_points_x": numbers[::2], "all_points_y": numbers[1::2]}
    else:
        names = dict.fromkeys(_REGIONS.get(shape, ()))
        told = dict(zip(names, numbers, strict=False))
    return enclose_region({"name": shape, **told}, where)


_SHAPES = {
    **{1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline", 7: "polygon"},
    8: "polygon",  # The points at which an extreme rectangle meets what it encloses.
}
"""How VIA 2 calls the shapes that VIA 3 numbers."""
VIA3 = FileFormat(
    *(_read_via3, "VIA 3 JSON"), frame="upright", keys=frozenset({"metadata", "fid_list"})
)


def _read_vott(path: Path, faults: Faults, options: ReadOptions) -> Iterator[WrittenPhoto]:
    """Exports of https://github.com/microsoft/VoTT, and the file of each photo that it keeps."""
    content = raw.json_object(raw.load_json(path), faults.file)
    for key, value in content.get("assets", {"": content}).items():
        where = f"{faults.file}, '{key[:60]}'" if key else faults.file
        entry = raw.json_object(value, where)
        asset, regions = raw.json_object(entry["asset"], where), entry["regions"]
        if not regions and asset.get("state") == _NOT_VISITED:
            continue  # Not a photo without a face.
        reader = FaceReader(faults, options)
        for number, region in enumerate(regions):
            place = f"{where}, regions[{number}]"
            tags = region["tags"]
            if len(tags) > 1:
                reader.leave_out("bad-box", f"{place}: several classes: {', '.join(tags)}.")
                continue
            outlined = region.get("type", "RECTANGLE") not in ("RECTANGLE", "SQUARE")
            box = partial(_enclose_vott, region)
            reader.add(place, str(*tags), box, outlined=outlined)
        size = raw.read_size(*map((asset.get("size") or {}).get, ("width", "height")))
        yield reader.finish(path, raw.json_text(asset, "name", where), where, size)


_NOT_VISITED = 0


def _enclose_vott(region: Mapping[str, Any]) -> Box:
    told = region.get("boundingBox")
    if told:
        return Box.sized(*(float(told[name]) for name in ("left", "top", "width", "height")))
    return raw.enclose(*([float(point[side]) for point in region["points"]] for side in "xy"))


VOTT = FileFormat(_read_vott, "VoTT JSON", "sized", keys=frozenset({"asset", "regions"}))

FACE = "face_of_any_class"
"""The class of all faces, where classes are asked for: whoever has a use for it gives it an alias.

`face` won't do: elsewhere it is the name of a face without a mask."""

_INVALID = 7  # Place of the number by which WIDER FACE marks a face as hardly to be seen.


def _is_list(path: Path) -> bool:
    """Whether a text starts with a photo and a count, or with # and a photo."""
    first, second, *_ = map(str.strip, f"{raw.sniff_text(path)}\n\n".split("\n"))
    return _is_photo(first) and (first.startswith("#") or second.isdecimal())


def _is_photo(line: str) -> bool:
    return PurePosixPath(line).suffix.lower() in PHOTO_SUFFIXES


def _read_wider(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Lists of WIDER FACE (http://shuoyang1213.me/WIDERFACE) and RetinaFace, without classes."""
    photos: list[WrittenPhoto] = []
    name = "face" if options.classes is None else FACE
    image, start, missing, reader = "", 0, 0, FaceReader(faults, options)
    for number, line in enumerate([*raw.read_lines(path), "#.jpg"], 1):
        if _is_photo(line.strip()):
            if missing > 0:
                reader.count += missing
                message = f"{faults.at(start)}: {image}: no lines of {tell(missing, 'face')}."
                faults.leave_out("missing-faces", message)
            if image:
                photos.append(reader.finish(path, image, faults.at(start), None))
            image, start = re.sub(r"^#\s*", "", line.strip()), number
            missing, reader = 0, FaceReader(faults, options)
            continue
        words = raw.split_line(line)
        if len(words) == 1 and words[0].isdecimal() and len(words[0]) < 10:
            missing = int(words[0])
            continue
        if not words or not image:
            continue
        missing -= 1
        if not any(word.strip("0.") for word in words[:4]):
            continue  # The line of zeros that stands for no face.
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
    return Box.sized(*(raw.read_number(word, "a number of the box", where) for word in words[:4]))
