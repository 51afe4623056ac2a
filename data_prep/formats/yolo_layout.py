"""Which label file of a YOLO dataset belongs to which photo, and where its class names are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.formats.class_names import NAMES_FILES, YAML_FILES
from data_prep.formats.dataset_files import DatasetFiles
from data_prep.formats.input_files import InputError
from data_prep.formats.yolo_lines import parse_line
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
    photos = _Photos(files)
    doubles: dict[Path, Path] = {}
    pairs: dict[Path, Path | None] = {}
    owners: dict[Path, Path] = {}
    folders: set[str] = set()
    sources = list_names_files(files)
    named = {path.parent for path in sources}
    texts = [path for path in files.by_suffix({".txt"}) if path not in sources]
    # Those in `labels` first: they are labels more surely.
    for path in sorted(texts, key=lambda path: LABELS not in _folders(files, path)):
        options = list(_list_options(files.relative(path)))
        photo = next(filter(None, map(photos.find, options)), None)
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
    for path in files.photos:
        first = photos.find_first(path)
        if path not in owners and first != path:
            doubles[path] = first
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
    there = list_names_files(files)
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


def list_names_files(files: DatasetFiles) -> set[Path]:
    """Files of class names; a photo called `classes` or `names` has labels under the same name."""
    return {path for path in files.named(NAMES_FILES) if path.suffix != ".txt" or not has_box(path)}


def has_box(path: Path) -> bool:
    """Whether the first line that is not blank is one of YOLO's."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
        return parse_line(first, str(path)) is not None
    except (OSError, UnicodeDecodeError, InputError):
        return False


class _Photos:
    """Photos by their path without the ending; its case matters where it tells photos apart."""

    def __init__(self, files: DatasetFiles) -> None:
        self._files = files
        self._by_key: dict[str, list[Path]] = {}
        for path in files.photos:
            self._by_key.setdefault(_key(files.relative(path)), []).append(path)

    def find(self, written: str) -> Path | None:
        """The photo of a label file."""
        options = self._by_key.get(_key(written), [])
        same = (path for path in options if _strip(self._files.relative(path)) == _strip(written))
        return next(same, next(iter(options), None))

    def find_first(self, path: Path) -> Path:
        """The photo that has the label file of another one, or that one itself."""
        return self.find(self._files.relative(path)) or path


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


def _strip(path: str) -> str:
    """A path without its ending, in one form whatever its accents."""
    parsed = PurePosixPath(path)
    if parsed.suffix.lower() in {".txt", *PHOTO_SUFFIXES}:
        parsed = parsed.with_suffix("")
    return unicodedata.normalize("NFC", str(parsed))


def _key(path: str) -> str:
    return _strip(path).lower()
