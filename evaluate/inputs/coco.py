"""COCO's JSON: annotations with their photos and classes, and results that refer to them.

The formats are those of https://cocodataset.org/#format-data and #format-results (detection).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.base.labels import UnknownLabelError, Vocabulary
from data_prep.base.photo import PHOTO_SUFFIXES, Size
from data_prep.formats.coco import (
    DIFFICULT,
    LISTS,
    Id,
    describe_json,
    get_box,
    get_flag,
    get_id,
    get_score,
    get_side,
    get_text,
    list_entries,
    load_json,
)
from data_prep.formats.input_files import InputError, is_text
from evaluate.arrays import GroundTruth
from evaluate.inputs.predictions import Predictions
from evaluate.inputs.rows import BoxRow, build_predictions, build_truth, check_score


@dataclass(frozen=True)
class CocoIndex:
    """What ids stand for.

    Attributes:
        path: The annotations they are from.
        photos: Photo names by image id.
        categories: Class names by category id.
        sizes: Width and height in pixels by photo name, of those whose size is stated.
    """

    path: Path
    photos: Mapping[Id, str]
    categories: Mapping[Id, str]
    sizes: Mapping[str, Size]


def read_coco_truth(path: Path, vocabulary: Vocabulary) -> GroundTruth:
    """Read COCO annotations.

    A photo is called by its `file_name`; all of `images` are photos, with or without a face. Of
    `categories` only those that are used must be classes of the vocabulary. A face is difficult
    when `iscrowd`, `difficult` or `ignore` is 1.

    Raises:
        InputError: The file is not such JSON, or an entry is wrong; the message names its index.
    """
    content = _load_truth(path)
    index = _index(path, content)
    labels: dict[Id, int] = {}
    rows = []
    for where, entry in list_entries(f"{path}, annotations", content["annotations"]):
        image = get_id(entry, "image_id", where)
        if image not in index.photos:
            raise InputError(f"{where}: image_id {image!r} is not in 'images'.")
        category = get_id(entry, "category_id", where)
        if category not in labels:
            labels[category] = _find_label(category, index, vocabulary, where)
        difficult = any(get_flag(entry, name, where) for name in DIFFICULT)
        box = get_box(entry, where)
        photo = index.photos[image]
        rows.append(BoxRow(where, photo, labels[category], box, difficult=difficult))
    photos = {name: index.sizes.get(name) for name in index.photos.values()}
    return build_truth(photos, rows, vocabulary)


def read_coco_index(path: Path) -> CocoIndex:
    """Read what the ids of COCO annotations stand for.

    Raises:
        InputError: See `read_coco_truth`.
    """
    return _index(path, _load_truth(path))


def read_coco_results(
    path: Path,
    vocabulary: Vocabulary,
    *,
    index: CocoIndex | None = None,
    photos: Sequence[str] = (),
) -> Predictions:
    """Read COCO results: a list of objects with image_id, category_id, bbox and score.

    With an index the ids are those of the COCO annotations. Without, the annotations have none:
    then `image_id` is the photo's file name with or without its ending, as text or, when that is a
    number, as a number (12 for `000012.jpg` unless there is a `12`), and `category_id` counts the
    classes from 1 in their order.

    Args:
        path: The JSON file.
        vocabulary: The classes there are.
        index: What the ids stand for.
        photos: Names of the annotated photos; needed without an index, to know numbered ones.

    Raises:
        InputError: The file is not such JSON, or an entry is wrong; the message names its index.
    """
    content = load_json(path)
    if not isinstance(content, list):
        raise InputError(
            f"{path}: {describe_json(content)} instead of COCO results, which are a list of "
            "objects with image_id, category_id, bbox and score."
        )
    numbered = {} if index is not None else _number_photos(photos)
    names: dict[Id, str] = {}
    labels: dict[Id, int] = {}
    rows = []
    for where, entry in list_entries(f"{path}, entry ", content):
        image = get_id(entry, "image_id", where)
        if image not in names:
            names[image] = _find_photo(image, index, numbered, where)
        category = get_id(entry, "category_id", where)
        if category not in labels:
            labels[category] = (
                _find_label(category, index, vocabulary, where)
                if index is not None
                else _count_label(category, vocabulary, where)
            )
        score = check_score(get_score(entry, where), where)
        rows.append(BoxRow(where, names[image], labels[category], get_box(entry, where), score))
    return build_predictions(path, dict.fromkeys(names.values()), rows)


def _load_truth(path: Path) -> dict[str, Any]:
    content = load_json(path)
    if isinstance(content, dict) and all(isinstance(content.get(name), list) for name in LISTS):
        return content
    raise InputError(
        f"{path}: {describe_json(content)} instead of COCO annotations, which are an object with "
        f"the lists {', '.join(LISTS)}."
    )


def _index(path: Path, content: Mapping[str, Any]) -> CocoIndex:
    photos: dict[Id, str] = {}
    sizes: dict[str, Size] = {}
    names: set[str] = set()
    for where, entry in list_entries(f"{path}, images", content["images"]):
        key = get_id(entry, "id", where)
        name = get_text(entry, "file_name", where).replace("\\", "/")
        if key in photos:
            raise InputError(f"{where}: id {key!r} is there twice; remove one image.")
        if name in names:
            raise InputError(f"{where}: file_name '{name}' is there twice; remove one image.")
        photos[key] = name
        names.add(name)
        sides = [get_side(entry, side, where) for side in ("width", "height")]
        if all(sides):
            sizes[name] = (sides[0], sides[1])
    if not photos:
        raise InputError(f"{path}: 'images' is empty; nothing to measure against.")
    categories: dict[Id, str] = {}
    for where, entry in list_entries(f"{path}, categories", content["categories"]):
        key = get_id(entry, "id", where)
        if key in categories:
            raise InputError(f"{where}: id {key!r} is there twice; remove one category.")
        categories[key] = get_text(entry, "name", where)
    return CocoIndex(path, photos, categories, sizes)


def _find_label(category: Id, index: CocoIndex, vocabulary: Vocabulary, where: str) -> int:
    if category not in index.categories:
        known = ", ".join(f"{key!r}" for key in list(index.categories)[:20]) or "none"
        raise InputError(
            f"{where}: category_id {category!r} is not in 'categories' of {index.path}; there are "
            f"{known}."
        )
    try:
        return vocabulary.index(index.categories[category])
    except UnknownLabelError as error:
        raise InputError(f"{where}: category_id {category!r}: {error}") from error


def _count_label(category: Id, vocabulary: Vocabulary, where: str) -> int:
    if isinstance(category, int) and 1 <= category <= len(vocabulary.classes):
        return category - 1
    classes = ", ".join(f"{number} {name}" for number, name in enumerate(vocabulary.classes, 1))
    raise InputError(
        f"{where}: category_id {category!r}; without COCO annotations the ids are {classes}. Give "
        "COCO annotations if others are meant."
    )


def _find_photo(image: Id, index: CocoIndex | None, numbered: Mapping[int, str], where: str) -> str:
    if index is None:
        name = numbered.get(image, str(image)) if isinstance(image, int) else image
        if not name.strip() or not is_text(name):
            raise InputError(f"{where}: image_id {image!r} is no name of a photo.")
        return name
    if image not in index.photos:
        raise InputError(
            f"{where}: image_id {image!r} is not in 'images' of {index.path}; check that the files "
            "belong together."
        )
    return index.photos[image]


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
