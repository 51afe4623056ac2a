"""Which label file of a YOLO dataset belongs to which photo, and where its class names are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.formats.class_names import NAMES_FILES, YAML_FILES
from data_prep.formats.dataset_files import DatasetFiles
from data_prep.photo import PHOTO_SUFFIXES

LABELS, IMAGES = "labels", "images"


@dataclass(frozen=True)
class YoloLayout:
    """What belongs together.

    Attributes:
        pairs: Photo of each label file, or None where it is not there.
        unlabelled: Photos without a label file in folders that have some for other photos.
        doubles: Photos that share a label file with a photo in `pairs`, and label files for a
            photo that has another in `pairs`, each with that one.
    """

    pairs: dict[Path, Path | None]
    unlabelled: list[Path]
    doubles: dict[Path, Path]


def pair_labels(files: DatasetFiles, *, flat: bool) -> YoloLayout:
    """Find the photo of every label file.

    `labels` in a path stands for `images` in the photo's, or for nothing (`a/labels/1.txt` of
    `a/1.jpg`).

    Args:
        files: What is in the folder.
        flat: Whether text files beside photos are labels wherever they are; otherwise only where
            class names are in their folder or above it.
    """
    photos: dict[str, Path] = {}
    doubles: dict[Path, Path] = {}
    for path in files.photos:
        first = photos.setdefault(_key(files.relative(path)), path)
        if first != path:
            doubles[path] = first
    pairs: dict[Path, Path | None] = {}
    owners: dict[Path, Path] = {}
    folders: set[str] = set()
    named = {path.parent for path in files.named(NAMES_FILES)}
    texts = [path for path in files.by_suffix({".txt"}) if path.name not in NAMES_FILES]
    # Those in `labels` first: they are labels more surely.
    for path in sorted(texts, key=lambda path: LABELS not in _folders(files, path)):
        options = list(_list_options(files.relative(path)))
        photo = next((photos[key] for key in map(_key, options) if key in photos), None)
        is_flat = LABELS not in _folders(files, path)
        if is_flat and (photo is None or not (flat or not named.isdisjoint(path.parents))):
            continue
        if photo is not None and photo in owners:
            doubles[path] = owners[photo]
            continue
        pairs[path] = photo
        if photo is not None:
            owners[photo] = path
            folders.add(files.relative(photo.parent))
        else:
            folders.update(str(PurePosixPath(option).parent) for option in options)
    unlabelled = [
        path
        for path in files.photos
        if path not in owners and path not in doubles and files.relative(path.parent) in folders
    ]
    return YoloLayout(dict(sorted(pairs.items())), unlabelled, doubles)


def find_names(files: DatasetFiles, label_file: Path) -> Path | None:
    """The file of class names nearest to a label file: above it, else the only one there is.

    A part of a dataset may be given, such as `train`: its data.yaml is then beside it.
    """
    there = files.named(NAMES_FILES)
    for folder in label_file.parents:
        for name in NAMES_FILES:
            if folder / name in there:
                return folder / name
        if folder == files.root:
            break
    if len(there) == 1:
        return next(iter(there))
    above = files.root.resolve().parent
    return next((above / name for name in YAML_FILES if (above / name).is_file()), None)


def _folders(files: DatasetFiles, path: Path) -> tuple[str, ...]:
    return path.relative_to(files.root).parts[:-1]


def _list_options(label_file: str) -> Iterator[str]:
    """Paths that the photo of a label file may have, but for the ending."""
    *folders, name = label_file.split("/")
    if LABELS in folders:
        place = len(folders) - 1 - folders[::-1].index(LABELS)
        yield "/".join([*folders[:place], IMAGES, *folders[place + 1 :], name])
        yield "/".join([*folders[:place], *folders[place + 1 :], name])
    yield label_file


def _key(path: str) -> str:
    """A path without its ending, in one form whatever its case and accents."""
    parsed = PurePosixPath(path)
    if parsed.suffix.lower() in {".txt", *PHOTO_SUFFIXES}:
        parsed = parsed.with_suffix("")
    return unicodedata.normalize("NFC", str(parsed)).lower()
