"""Which label file of a YOLO dataset belongs to which photo, and where its class names are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.base.photo import PHOTO_SUFFIXES, Size
from data_prep.base.records import Box
from data_prep.formats.class_names import NAMES_FILES, YAML_FILES
from data_prep.formats.input_files import InputError, check_box, read_number
from data_prep.formats.photo_match import DatasetFiles

_BOX_VALUES = 4
_OUTLINE_VALUES = 6
"""Fewest numbers of an outline: three corners."""

_FAR_OUT = 2.0
"""No relative coordinate is larger than this; pixels nearly always are."""


@dataclass(frozen=True)
class YoloLine:
    """One face of a label file.

    Attributes:
        label: The class as written: an id, or a name.
        values: Centre x, centre y, width, height; or the corners of an outline, x before y.
    """

    label: str
    values: tuple[float, ...]

    @property
    def is_outline(self) -> bool:
        """Whether an outline is drawn around the face, not a box."""
        return len(self.values) != _BOX_VALUES

    def to_box(self, size: Size, where: str) -> Box:
        """The box in pixels; of an outline, the one around it.

        Args:
            size: The photo's, as it is looked at.
            where: File and line, for the message.

        Raises:
            InputError: The box is inverted.
        """
        if self.is_outline:
            xs, ys = self.values[0::2], self.values[1::2]
            box = Box(min(xs) * size[0], min(ys) * size[1], max(xs) * size[0], max(ys) * size[1])
        else:
            box = from_centre(self.values, size)
        return check_box(box, where, "width and height can't be negative")


def parse_line(text: str, where: str) -> YoloLine | None:
    """Parse a line; None when it is blank.

    Args:
        text: The line.
        where: File and line, for the message.

    Raises:
        InputError: The numbers are not those of a box or an outline, or no shares of a photo.
    """
    words = text.split()
    if not words:
        return None
    count = len(words) - 1
    if count != _BOX_VALUES and (count < _OUTLINE_VALUES or count % 2):
        hint = " Five numbers are a prediction's." if count == _BOX_VALUES + 1 else ""
        raise InputError(
            f"{where}: {count} numbers behind the class id; expected are 4 (centre x, centre "
            f"y, width, height) or the pairs of an outline, at least 3.{hint}"
        )
    values = [read_number(word, "a coordinate", where) for word in words[1:]]
    check_relative(values, where)
    return YoloLine(words[0], tuple(values))


def check_relative(values: Sequence[float], where: str) -> None:
    """Refuse pixels where shares of the photo's size are expected.

    A face at the border may reach a little beyond it.

    Raises:
        InputError: A value is far from the range 0 to 1.
    """
    far_out = [value for value in values if abs(value) > _FAR_OUT]
    if far_out:
        raise InputError(
            f"{where}: {far_out[0]:g} is no relative coordinate; they lie between 0 and 1. For "
            "pixels choose the layout xywh or xyxy."
        )


def from_centre(values: Sequence[float], size: Size) -> Box:
    """The box in pixels, from centre x, centre y, width and height as shares of the photo's."""
    x, y, width, height = values
    return Box(
        (x - width / 2) * size[0],
        (y - height / 2) * size[1],
        (x + width / 2) * size[0],
        (y + height / 2) * size[1],
    )


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
