"""Datasets of COCO annotations: photos beside one JSON file or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.errors import DatasetError
from data_prep.formats.coco_entries import (
    DIFFICULT,
    LISTS,
    Entry,
    Id,
    check_entry,
    describe_json,
    get_box,
    get_flag,
    get_id,
    get_side,
    get_text,
    load_json,
)
from data_prep.formats.dataset_files import DatasetFiles
from data_prep.formats.input_files import InputError, check_length
from data_prep.formats.reader import ReadOptions
from data_prep.formats.unread import note_unread
from data_prep.formats.written_photos import WrittenPhoto, place_photos
from data_prep.labels import UnknownLabelError
from data_prep.progress import show_progress
from data_prep.records import Dataset, Face, Finding

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
