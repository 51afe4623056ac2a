"""COCO's JSON: annotations with their photos and classes, and results that refer to them.

The formats are those of https://cocodataset.org/#format-data and #format-results (detection).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.base.progress import show_progress
from data_prep.base.records import Box, Face
from data_prep.formats import contracts
from data_prep.formats import input_files as raw
from data_prep.formats.contracts import FaceReader, Faults, FileFormat, ReadOptions, Written
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.formats.input_files import InputError
from data_prep.formats.photo_match import WrittenPhoto

ANNOTATIONS = "annotations.json"  # The file that is written.

Id = int | str  # COCO counts; other writers take the name of the photo.

LISTS = ("images", "annotations", "categories")
DIFFICULT = ("iscrowd", "difficult", "ignore")

_READ = frozenset({"id", "image_id", "category_id", "bbox", "area", "attributes", *DIFFICULT})
"""Keys of an annotation that are used, or follow from those that are."""

_NONE: tuple[Any, ...] = (None, [], [0, 0, 0, 0])  # What stands for a box where there is none.

_HINT = "bbox is x, y, width, height, and neither width nor height may be negative"


class _CocoFormat(FileFormat):
    """All COCO annotations below a folder; a category has to be a class only where it is used.

    `difficult` is a key of its own: COCO's `iscrowd` means a region of many, another thing.
    """

    writes = True

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `DatasetFormat`."""
        numbers = {label: number for number, label in enumerate(classes, start=1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, photo in enumerate(photos, start=1):
            size = dict(zip(("width", "height"), photo.size, strict=True))
            images.append({"id": image_id, "file_name": photo.image, **size})
            for face in photo.faces:
                keys = {"id": len(annotations) + 1, "image_id": image_id}
                annotations.append({**keys, **_describe(face, numbers[face.label])})
        categories = [{"id": number, "name": label} for label, number in numbers.items()]
        record = {"images": images, "annotations": annotations, "categories": categories}
        write_atomically(folder / ANNOTATIONS, _list_lines(record))
        return Written((ANNOTATIONS,), contracts.count_left_out(photos))


@dataclass(frozen=True)
class CocoIndex:
    """What ids stand for in a file: photos, without their faces, and class names."""

    file: str
    photos: Mapping[Id, WrittenPhoto]
    categories: Mapping[Id, str]

    def label(self, told: Mapping[str, Any], options: ReadOptions, where: str, of: str = "") -> str:
        """The class of an annotation; an InputError when there is none, or an UnknownLabelError."""
        category = _get_id(told, "category_id", where)
        if category not in self.categories:
            known = ", ".join(map(repr, list(self.categories)[:20])) or "none"
            why = f"category_id {category!r} is not in 'categories'{of}; there are {known}."
            raise InputError(f"{where}: {why}")
        return options.label(self.categories[category], where, f"category_id {category!r}: ")


def read_coco(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Read COCO annotations.

    All of `images` are photos, with or without a face. A face is difficult when one of `DIFFICULT`
    is 1; without `bbox` it has the box around its `segmentation`. Raises `InputError`: the file is
    not such JSON; `DatasetError`: two photos or categories share an id.
    """
    content = _load(path, faults.file)
    index = _index(path, content, faults)
    readers = {key: FaceReader(faults, options) for key in index.photos}
    entries = _list(content, "annotations", faults.file)
    total = len(content["annotations"])
    for where, value in show_progress(entries, total, f"reading {faults.file}"):
        reader = None
        try:
            entry = raw.json_object(value, where)
            image = _get_id(entry, "image_id", where)
            reader = readers.get(image)
            if reader is None:
                raise InputError(f"{where}: image_id {image!r} is not in 'images'.")
            difficult = any(_get_flag(entry, flag, where) for flag in DIFFICULT)
        except InputError as error:
            (reader or FaceReader(faults, options)).leave_out(contracts.BAD_ANNOTATION, str(error))
            continue
        outlined = bool(entry.get("segmentation")) and entry.get("bbox") in _NONE
        label = partial(index.label, entry, options, where)
        box = partial(_enclose if outlined else _get_box, entry, where)
        flags = {"difficult": difficult, "outlined": outlined}
        if not reader.add(where, label, box, _HINT, kind=contracts.BAD_ANNOTATION, **flags):
            continue
        for key in entry.keys() - _READ - ({"segmentation"} if outlined else set()):
            faults.counts[key] += bool(entry[key])
        if isinstance(attributes := entry.get("attributes"), dict):  # Of CVAT, such as a rotation.
            for key, told in attributes.items():
                faults.counts[f"attribute {key}"] += bool(told)
    return [readers[key].finish(path, p.image, p.where, p.size) for key, p in index.photos.items()]


COCO = _CocoFormat(
    *(read_coco, "COCO annotations (*.json)", "sized"), keys=frozenset({"images", "annotations"})
)


def read_coco_index(path: Path) -> CocoIndex:
    """Read what the ids of COCO annotations stand for."""
    faults = Faults(str(path))
    return _index(path, _load(path, faults.file), faults)


def _load(path: Path, name: str) -> Mapping[str, Any]:
    content = raw.load_json(path)
    if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in LISTS):
        return content
    hint = f"which are an object with the lists {', '.join(LISTS)}."
    raise InputError(f"{name}: {raw.show_json(content)} instead of COCO annotations, {hint}")


def _list(content: Mapping[str, Any], key: str, name: str) -> Iterator[tuple[str, Any]]:
    return ((f"{name}, {key}[{n}]", value) for n, value in enumerate(content[key]))


def _index(path: Path, content: Mapping[str, Any], faults: Faults) -> CocoIndex:
    found: dict[str, dict[Id, tuple[str, str, Mapping[str, Any]]]] = {"file_name": {}, "name": {}}
    for key, name, thing in (("images", "file_name", "image"), ("categories", "name", "category")):
        known = found[name]
        for where, value in _list(content, key, faults.file):
            try:
                entry = raw.json_object(value, where)
                number, text = _get_id(entry, "id", where), raw.json_text(entry, name, where)
            except InputError as error:
                faults.leave_out(f"bad-{thing}", str(error), f" The {thing} is left out.")
                continue
            if known.setdefault(number, (text, where, entry))[0] != text:
                raise DatasetError(
                    f"{where}: id {number!r} is that of '{known[number][0]}' too, so it can't be "
                    f"told which {thing} is meant; number {key} of {faults.file} anew."
                )
    photos = {}
    for number, (text, where, entry) in found["file_name"].items():
        size = raw.read_size(entry.get("width"), entry.get("height"))
        image = str(PurePosixPath(text.replace("\\", "/")))
        photos[number] = WrittenPhoto(path, image, where, size, ())
    names = {number: text for number, (text, *_) in found["name"].items()}
    return CocoIndex(faults.file, photos, names)


def read_coco_results(
    path: Path, options: ReadOptions, *, index: CocoIndex | None = None, photos: Sequence[str] = ()
) -> list[WrittenPhoto]:
    """Read COCO results, strictly: a list of objects with image_id, category_id, bbox and score.

    With an index the ids are those of the COCO annotations. Without, the annotations have none:
    then `image_id` is the photo's file name with or without its ending, as text or, when that is a
    number, as a number (12 for `000012.jpg` unless there is a `12`), and `category_id` counts the
    classes from 1 in their order.
    """
    content = raw.load_json(path)
    if not isinstance(content, list):
        hint = "which are a list of objects with image_id, category_id, bbox and score."
        raise InputError(f"{path}: {raw.show_json(content)} instead of COCO results, {hint}")
    numbered = {} if index is not None else _number_photos(photos)
    found: dict[str, tuple[list[Face], list[float]]] = {}
    for number, value in enumerate(content):
        where = f"{path}, entry [{number}]"
        entry = raw.json_object(value, where)
        name = _find_photo(_get_id(entry, "image_id", where), index, numbered, where)
        label = (
            _count_label(_get_id(entry, "category_id", where), options, where)
            if index is None
            else index.label(entry, options, where, f" of {index.file}")
        )
        faces, scores = found.setdefault(name, ([], []))
        if not label:
            continue
        scores.append(raw.check_score(raw.json_number(entry.get("score"), "score", where), where))
        faces.append(Face(len(faces), label, raw.check_box(_get_box(entry, where), where, _HINT)))
    return [
        WrittenPhoto(path, name, name, None, tuple(faces), tuple(scores))
        for name, (faces, scores) in found.items()
    ]


def _count_label(category: Id, options: ReadOptions, where: str) -> str:
    classes = options.classes or ()
    if isinstance(category, int) and 1 <= category <= len(classes):
        return classes[category - 1]
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(classes, 1))
    raise InputError(
        f"{where}: category_id {category!r}; without COCO annotations the ids are {shown}. Give "
        "COCO annotations if others are meant."
    )


def _find_photo(image: Id, index: CocoIndex | None, numbered: Mapping[int, str], where: str) -> str:
    if index is None:
        name = numbered.get(image, str(image)) if isinstance(image, int) else image
        if not name.strip() or not raw.is_text(name):
            raise InputError(f"{where}: image_id {image!r} is no name of a photo.")
        return name
    if image not in index.photos:
        hint = "check that the files belong together."
        raise InputError(f"{where}: image_id {image!r} is not in 'images' of {index.file}; {hint}")
    return index.photos[image].image


def _number_photos(photos: Sequence[str]) -> dict[int, str]:
    """Photos whose name is a number, by that number, unless several share it."""
    groups: dict[int, list[str]] = {}
    for photo in photos:
        path = PurePosixPath(photo)
        stem = path.stem if path.suffix.lower() in PHOTO_SUFFIXES else path.name
        if stem.isascii() and stem.isdigit() and len(stem) < 20:
            groups.setdefault(int(stem), []).append(photo)
    result = {}
    for number, names in groups.items():
        # Of 12 and 0012 the first is meant; equal names in two folders stay ambiguous.
        exact = [name for name in names if PurePosixPath(name).stem == str(number)]
        if len(names) == 1 or len(exact) == 1:
            result[number] = (exact or names)[0]
    return result


def _get_id(entry: Mapping[str, Any], name: str, where: str) -> Id:
    value = entry.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,18}", value):
        value = int(value)  # Some writers put numbers into quotes.
    if isinstance(value, bool) or not isinstance(value, int | str):
        hint = f"{name} is {raw.show_json(value)}, not a whole number or a text."
        raise InputError(f"{where}: {hint}")
    return value


def _get_flag(entry: Mapping[str, Any], name: str, where: str) -> bool:
    value = entry.get(name)
    if value in (None, 0, 1):
        return bool(value)
    raise InputError(f"{where}: {name} is {raw.show_json(value)}, neither 0 nor 1.")


def _get_box(entry: Mapping[str, Any], where: str) -> Box:
    values = entry.get("bbox")
    if not isinstance(values, list) or len(values) != 4:
        shown = raw.show_json(values)
        raise InputError(f"{where}: bbox is {shown}, not 4 numbers x, y, width, height.")
    return Box.sized(*(raw.json_number(value, "a number of bbox", where) for value in values))


def _enclose(entry: Mapping[str, Any], where: str) -> Box:
    """The box around the polygons of `segmentation`."""
    parts = entry["segmentation"]
    if not isinstance(parts, list) or not all(isinstance(part, list) for part in parts):
        hint = f"no bbox, and segmentation is {raw.show_json(parts)}, no polygons."
        raise InputError(f"{where}: {hint}")
    numbers = [[raw.json_number(v, "a number of segmentation", where) for v in p] for p in parts]
    xs, ys = ([v for part in numbers for v in part[start::2]] for start in (0, 1))
    if not ys:
        raise InputError(f"{where}: no bbox, and segmentation is empty.")
    return raw.enclose(xs, ys)


def _list_lines(record: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """JSON with an entry per line: large files stay fast to write, and fit for `diff`."""
    lists = (
        f"{json.dumps(name)}: [\n"
        + ",\n".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in entries)
        + "\n]"
        for name, entries in record.items()
    )
    return "{" + ",\n".join(lists) + "}\n"


def _describe(face: Face, category: int) -> dict[str, Any]:
    box = face.box
    corner = [_shorten(value) for value in (box.xmin, box.ymin, box.width, box.height)]
    area = _shorten(box.width * box.height)
    record = {"category_id": category, "bbox": corner, "area": area, "iscrowd": 0}
    return {**record, "difficult": 1} if face.difficult else record


def _shorten(value: float) -> int | float:
    """Whole numbers without a point."""
    return int(value) if float(value).is_integer() else float(value)
