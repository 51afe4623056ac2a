"""Datasets of COCO annotations: photos beside one JSON file or several."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically
from data_prep.base.labels import UnknownLabelError
from data_prep.base.progress import show_progress
from data_prep.base.records import Box, Dataset, Face, Finding, note_unread
from data_prep.formats.contracts import ReadOptions, Written, count_left_out, count_renumbered
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.formats.input_files import InputError, check_box, check_length, is_text, read_text
from data_prep.formats.photo_match import DatasetFiles, WrittenPhoto, place_photos

Id = int | str
"""COCO counts; other writers take the name of the photo."""

Entry = Mapping[str, Any]
"""An object of the JSON."""

LISTS = ("images", "annotations", "categories")
"""What COCO annotations are made of."""

DIFFICULT = ("iscrowd", "difficult", "ignore")
"""Any of these set means: neither asked for nor held against a detection."""

_HINT = "bbox is x, y, width, height, and neither width nor height may be negative"

_MOST_BITS = 1000
"""Longer whole numbers do not fit a float."""


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It can't be read, or is no JSON; the message names the line where it can.
    """
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty; write it again.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: broken JSON ({error.msg}); write it again."
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deep to be COCO JSON.") from error
    except ValueError as error:
        # A whole number of thousands of digits.
        raise InputError(f"{path}: JSON that can't be read ({error}).") from error


def describe_json(content: Any) -> str:
    """What a file holds, for the message that it is not what was expected."""
    if isinstance(content, list):
        return "a list"
    if isinstance(content, dict):
        # Any file may be given by mistake; its first keys tell which.
        keys = ", ".join(ascii(key[:30]) for key in list(content)[:5])
        return f"an object with {keys or 'nothing in it'}"
    return "a single value"


def list_entries(where: str, values: Sequence[Any]) -> Iterator[tuple[str, Entry]]:
    """The objects of a list, each with its place for messages.

    Raises:
        InputError: One is no object.
    """
    for number, entry in enumerate(values):
        place = f"{where}[{number}]"
        yield place, check_entry(entry, place)


def check_entry(value: Any, where: str) -> Entry:
    """The entry itself.

    Raises:
        InputError: It is no object.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: {_show(value)}, not an object.")
    return value


def get_id(entry: Entry, name: str, where: str) -> Id:
    """A whole number or a text.

    Raises:
        InputError: It is missing or something else.
    """
    value = entry.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{where}: {name} is {_show(value)}, not a whole number or a text.")
    return value


def get_text(entry: Entry, name: str, where: str) -> str:
    """A text with something in it.

    Raises:
        InputError: It is missing, blank or something else.
    """
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip() or not is_text(value):
        raise InputError(f"{where}: {name} is {_show(value)}, not a text with something in it.")
    return value


def get_score(entry: Entry, where: str) -> float:
    """The score of a prediction, a number; its range is not looked at.

    Raises:
        InputError: It is missing, not a number or not finite.
    """
    return _read_number(entry.get("score"), "score", where)


def get_side(entry: Entry, name: str, where: str) -> int:
    """A side of a photo in pixels; 0 when it is not stated.

    Raises:
        InputError: It is no number, or negative.
    """
    value = entry.get(name)
    side = 0.0 if value is None else _read_number(value, name, where)
    if side < 0:
        raise InputError(f"{where}: {name} is {side:g}; leave it out if it is not known.")
    return int(side)


def get_flag(entry: Entry, name: str, where: str) -> bool:
    """A flag, 0 or 1; false when it is missing.

    Raises:
        InputError: It is something else.
    """
    value = entry.get(name)
    if value in (None, 0, 1):
        return bool(value)
    raise InputError(f"{where}: {name} is {_show(value)}, neither 0 nor 1.")


def get_box(entry: Entry, where: str) -> Box:
    """The box of `bbox`: top left corner, width and height in pixels.

    Raises:
        InputError: There are not four finite numbers, or width or height are negative.
    """
    values = entry.get("bbox")
    if not isinstance(values, list) or len(values) != 4:
        raise InputError(f"{where}: bbox is {_show(values)}, not 4 numbers x, y, width, height.")
    x, y, width, height = (_read_number(value, "a number of bbox", where) for value in values)
    return check_box(Box(x, y, x + width, y + height), where, _HINT)


def _read_number(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {name} is {_show(value)}, not a number.")
    if (isinstance(value, int) and value.bit_length() > _MOST_BITS) or not math.isfinite(value):
        raise InputError(f"{where}: {name} is not a finite number; leave the box out or repair it.")
    return float(value)


def _show(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return json.dumps(value)[:60]


_READ = frozenset({"id", "image_id", "category_id", "bbox", "area", *DIFFICULT})
"""Keys of an annotation that are used, or follow from those that are."""


class CocoReader:
    """Reads all COCO annotations below a folder; one file per split is usual.

    An entry with a fault is left out with a finding. A category has to be a class only where it is
    used.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first JSON file that has images and annotations."""
        return next(_list_annotations(files), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `Reader`."""
        findings: list[Finding] = []
        written: list[WrittenPhoto] = []
        paths = list(_list_annotations(files)) or files.by_suffix({".json"})
        broken = []
        for path in paths:
            name = files.call(path)
            try:
                content = _load(path, name)
            except InputError as error:
                broken.append(Finding(name, "broken-json", str(error), dropped=True))
                continue
            written.extend(_FileReader(path, name, options, findings).read(content))
        if len(broken) == len(paths):
            reasons = " ".join(finding.message for finding in broken[:3])
            raise DatasetError(
                f"{files.root}: no COCO annotations (*.json) that can be read. {reasons}".rstrip()
            )
        return place_photos(files, written, [*broken, *findings])


@dataclass(frozen=True)
class _FileReader:
    """Reads one file; faults go to a list of findings."""

    path: Path
    name: str
    options: ReadOptions
    findings: list[Finding]

    def read(self, content: Mapping[str, Any]) -> list[WrittenPhoto]:
        photos = self._index_images(content)
        categories = self._index_categories(content)
        labels: dict[Id, str] = {}
        unread: Counter[str] = Counter()
        faces: dict[Id, list[Face]] = {key: [] for key in photos}
        counts = dict.fromkeys(photos, 0)
        annotations = self._list(content, "annotations")
        total = len(content["annotations"])
        for where, value in show_progress(annotations, total, f"reading {self.name}"):
            try:
                entry = check_entry(value, where)
                image = get_id(entry, "image_id", where)
                if image not in photos:
                    raise InputError(f"{where}: image_id {image!r} is not in 'images'.")
                # Faults keep their number, so that keys of faces are stable.
                number, counts[image] = counts[image], counts[image] + 1
                category = get_id(entry, "category_id", where)
                if category not in categories:
                    known = ", ".join(map(repr, list(categories)[:20])) or "none"
                    raise InputError(
                        f"{where}: category_id {category!r} is not in 'categories'; there are "
                        f"{known}."
                    )
                if category not in labels:
                    labels[category] = self._find_label(categories[category], category, where)
                difficult = any(get_flag(entry, flag, where) for flag in DIFFICULT)
                face = Face(number, labels[category], get_box(entry, where), difficult)
            except InputError as error:
                self._leave_out("bad-annotation", f"{error} The face is left out.")
            else:
                faces[image].append(face)
                unread.update(key for key, told in entry.items() if told and key not in _READ)
        things = [f"{key} of {count} annotations" for key, count in sorted(unread.items())]
        self.findings.extend(note_unread(self.name, things))
        return [replace(photo, faces=tuple(faces[key])) for key, photo in photos.items()]

    def _index_images(self, content: Mapping[str, Any]) -> dict[Id, WrittenPhoto]:
        photos: dict[Id, WrittenPhoto] = {}
        for where, value in self._list(content, "images"):
            try:
                entry = check_entry(value, where)
                key = get_id(entry, "id", where)
                image = get_text(entry, "file_name", where)
            except InputError as error:
                self._leave_out("bad-image", f"{error} The photo is left out.")
                continue
            if key in photos and photos[key].image == image:
                continue  # The same said twice.
            if key in photos:
                raise DatasetError(
                    f"{where}: id {key!r} is that of '{photos[key].image}' too, so it can't be "
                    f"told whose faces are whose; number the images of {self.name} anew."
                )
            width, height = (self._get_side(entry, side, where) for side in ("width", "height"))
            photos[key] = WrittenPhoto(self.path, image, where, width, height, ())
        return photos

    def _index_categories(self, content: Mapping[str, Any]) -> dict[Id, str]:
        categories: dict[Id, str] = {}
        for where, value in self._list(content, "categories"):
            try:
                entry = check_entry(value, where)
                key, name = get_id(entry, "id", where), get_text(entry, "name", where)
            except InputError as error:
                self._leave_out("bad-category", f"{error} The category is left out.")
                continue
            if categories.setdefault(key, name) != name:
                raise DatasetError(
                    f"{where}: id {key!r} is that of '{categories[key]}' too, so it can't be told "
                    "which class is meant; remove one category."
                )
        return categories

    def _list(self, content: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
        return ((f"{self.name}, {key}[{n}]", value) for n, value in enumerate(content[key]))

    def _find_label(self, name: str, category: Id, where: str) -> str:
        try:
            return self.options.label(name)
        except UnknownLabelError as error:
            raise UnknownLabelError(f"{where}: category_id {category!r}: {error}") from error

    def _get_side(self, entry: Entry, side: str, where: str) -> int | None:
        """A stated side; 0, nothing or nonsense all mean that the file does not tell."""
        try:
            return get_side(entry, side, where) or None
        except InputError:
            return None

    def _leave_out(self, kind: str, message: str) -> None:
        self.findings.append(Finding(self.name, kind, message, dropped=True))


def _list_annotations(files: DatasetFiles) -> Iterator[Path]:
    """JSON files that look like COCO annotations, also broken ones."""
    for path in files.by_suffix({".json"}):
        try:
            check_length(path)
            data = path.read_bytes()
        except OSError:
            continue
        except InputError:
            yield path
            continue
        if b'"images"' in data and b'"annotations"' in data:
            yield path


def _load(path: Path, name: str) -> Mapping[str, Any]:
    content = load_json(path)
    if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in LISTS):
        return content
    raise InputError(
        f"{name}: {describe_json(content)} instead of COCO annotations, which are an object with "
        f"the lists {', '.join(LISTS)}."
    )


ANNOTATIONS = "annotations.json"


class CocoWriter:
    """Writes `annotations.json`; photos keep their place, which `file_name` tells.

    Boxes are written as corner and size, so adding up may give an edge that is off in the last bit.
    `difficult` is a key of its own: COCO's `iscrowd` means a region of many, another thing.
    """

    holds_photos = True

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Photos stay where they are; see `Writer`."""
        return {image: image for image in images}

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `Writer`."""
        numbers = {label: number for number, label in enumerate(classes, start=1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, photo in enumerate(photos, start=1):
            images.append(
                {
                    "id": image_id,
                    "file_name": photo.image,
                    "width": photo.width,
                    "height": photo.height,
                }
            )
            for face in photo.faces:
                keys = {"id": len(annotations) + 1, "image_id": image_id}
                annotations.append({**keys, **_describe(face, numbers[face.label])})
        categories = [{"id": number, "name": label} for label, number in numbers.items()]
        record = {"images": images, "annotations": annotations, "categories": categories}
        write_atomically(folder / ANNOTATIONS, _list_lines(record))
        left_out = count_left_out(object_numbers=count_renumbered(photos))
        return Written((ANNOTATIONS,), left_out)


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
    return {
        "category_id": category,
        "bbox": [_shorten(value) for value in (box.xmin, box.ymin, box.width, box.height)],
        "area": _shorten(box.width * box.height),
        "iscrowd": 0,
        **({"difficult": 1} if face.difficult else {}),
    }


def _shorten(value: float) -> int | float:
    """Whole numbers without a point."""
    return int(value) if float(value).is_integer() else float(value)
