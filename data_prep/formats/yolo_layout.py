"""Which label file of a YOLO dataset belongs to which photo, and where its class names are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.formats.class_names import NAMES_FILES, YAML_FILES
from data_prep.formats.contracts import IMAGES
from data_prep.formats.input_files import InputError, read_number
from data_prep.formats.photo_match import DatasetFiles, list_dataset

LABELS = "labels"

BOX_VALUES = 4
_OUTLINE_VALUES = 6
"""Fewest numbers of an outline: three corners."""

_FAR_OUT = 2.0
"""No relative coordinate is larger than this; pixels nearly always are."""


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
    by_key: dict[str, list[Path]] = {}
    for path in files.photos:
        by_key.setdefault(_strip(files.relative(path)).lower(), []).append(path)

    def find(written: str) -> Path | None:
        """The photo of a label file; case matters where it tells photos apart."""
        options = by_key.get(_strip(written).lower(), [])
        same = (path for path in options if _strip(files.relative(path)) == _strip(written))
        return next(same, next(iter(options), None))

    doubles: dict[Path, Path] = {}
    pairs: dict[Path, Path | None] = {}
    owners: dict[Path, Path] = {}
    folders: set[str] = set()
    sources = list_names_files(files)
    named = {path.parent for path in sources}
    texts = [path for path in files.by_suffix({".txt"}) if path not in sources]
    in_labels = {path: LABELS in path.relative_to(files.root).parts[:-1] for path in texts}
    # Those in `labels` first: they are labels more surely.
    for path in sorted(texts, key=lambda path: not in_labels[path]):
        options = list(_list_options(files.relative(path)))
        photo = next(filter(None, map(find, options)), None)
        believed = in_labels[path] or flat or not named.isdisjoint(path.parents)
        if not in_labels[path] and (photo is None or not believed):
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
    unlabelled = []
    for path in files.photos:
        first = find(files.relative(path)) or path
        if path in owners:
            continue
        if first != path:
            doubles[path] = first
        elif files.relative(path.parent) in folders:
            unlabelled.append(path)
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
            words = next((line.split() for line in file if line.strip()), [])
        return bool(words) and bool(read_shares(words[1:], str(path)))
    except (OSError, UnicodeDecodeError, InputError):
        return False


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


def read_shares(words: Sequence[str], where: str) -> list[float]:
    """The numbers of a line, those of a box or of an outline.

    Raises:
        InputError: They are neither, or no shares of a photo.
    """
    count = len(words)
    if count != BOX_VALUES and (count < _OUTLINE_VALUES or count % 2):
        hint = " Five numbers are a prediction's." if count == BOX_VALUES + 1 else ""
        raise InputError(
            f"{where}: {count} numbers behind the class id; expected are 4 (centre x, centre "
            f"y, width, height) or the pairs of an outline, at least 3.{hint}"
        )
    values = [read_number(word, "a coordinate", where) for word in words]
    check_relative(values, where)
    return values


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


_DEPTHS = (LABELS, f"*/{LABELS}", f"*/*/{LABELS}")
"""Where label folders lie below a dataset that is measured against."""


def is_yolo(folder: Path) -> bool:
    """Whether a folder has, is, or lies in a folder of labels, or holds a data.yaml."""
    has_yaml = any((folder / name).is_file() for name in YAML_FILES)
    return has_yaml or bool(find_label_folders(folder))


def list_names_folders(folder: Path) -> list[Path]:
    """Where a dataset's class names may be: in the folder, or up to two above it."""
    path = folder.resolve()
    return [path, path / LABELS, path.parent, path.parent.parent]


def find_label_folders(folder: Path) -> list[Path]:
    """The folder itself where it is `labels` or a part of it, else those up to two below it."""
    path = folder.resolve()
    if LABELS in (path.name, path.parent.name) and _find_top(path) != path:
        return [folder]
    return [found for depth in _DEPTHS for found in sorted(folder.glob(depth)) if found.is_dir()]


def _find_top(path: Path) -> Path:
    """The folder that `labels` and `images` lie in, of `labels` or a part such as `labels/val`."""
    if path.name == LABELS:
        return path.parent
    if path.parent.name == LABELS and (path.parent.parent / IMAGES / path.name).is_dir():
        return path.parent.parent
    return path


def list_labels(folder: Path) -> dict[str, tuple[Path | None, Path | None]]:
    """Photos of a YOLO dataset or of a part of one such as `valid` or `labels/val`, strictly.

    Returns:
        Label file and photo by the photo's name, each None where it is not there. The name is the
        photo's path below the folder, or below the part of `images` that the folder stands for.

    Raises:
        InputError: There are no labels, or two photos or label files for one.
    """
    path = folder.resolve()
    top = _find_top(path)
    files = list_dataset(folder if top == path else top)
    for finding in files.findings:
        raise InputError(finding.message)
    layout = pair_labels(files, flat=False)
    for one, other in layout.doubles.items():
        raise InputError(f"{one}: {other.name} is there too, and both have one label file.")
    found: dict[str, tuple[Path | None, Path | None]] = {}
    for label, photo in layout.pairs.items():
        stem = next(_list_options(files.relative(label))).removesuffix(".txt")
        found[stem if photo is None else files.relative(photo)] = label, photo
    found |= {files.relative(photo): (None, photo) for photo in layout.unlabelled}
    if top != path:
        part = f"{path.relative_to(top).as_posix()}/".replace(LABELS, IMAGES, 1)
        found = {
            name.removeprefix(part): pair for name, pair in found.items() if name.startswith(part)
        }
    if not any(label for label, _ in found.values()):
        raise InputError(
            f"{folder}: no label files (*.txt) in its folders '{LABELS}'; expected is one per "
            "photo, with lines 'id x y width height'."
        )
    return dict(sorted(found.items()))
