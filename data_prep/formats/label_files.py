"""Which label file of a YOLO dataset belongs to which photo, and what its class ids stand for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from data_prep.base.errors import DatasetError
from data_prep.base.labels import normalise_name
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.formats import input_files as raw
from data_prep.formats.contracts import IMAGES, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.photo_match import DatasetFiles, list_dataset, spell_names

CLASSES_FILE = "classes.txt"
"""Labelling tools put the class names beside the boxes under this name; it is no photo's file."""

YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES_FILES = (*YAML_FILES, CLASSES_FILE, "obj.names", "_darknet.labels", "names", "names.txt")
"""Where YOLO datasets keep the class names, the surest first."""


@dataclass(frozen=True)
class ClassNames:
    """What ids stand for, or None when that can't be told, and the file that says so."""

    names: Mapping[int, str] | None = None
    source: Path | None = None
    seen: set[int] = field(default_factory=set, compare=False)  # Ids that were asked for.

    @classmethod
    def read(cls, source: Path | None) -> ClassNames:
        """The names in a file, if there is one; see `read_class_names`."""
        return cls() if source is None else cls(read_class_names(source), source)

    def label(self, text: str, options: ReadOptions, where: str) -> str:
        """The class that a file means by an id (a whole number, where there are names) or a name.

        Raises `InputError`: the id is out of range; `DatasetError`: there is an id, and no names.
        """
        # Tables of numbers written by programs have 0.0 for id 0.
        is_id = re.fullmatch(r"([+-]?[0-9]+)(\.0*)?", text) is not None
        if not is_id or (self.names is None and text in (options.classes or ())):
            return options.label(text, where)
        if self.names is None:
            raise DatasetError(
                f"{where}: class id {text} without names; give a file with one class name per "
                "line, the first for id 0 (--names FILE), or put a data.yaml into the dataset's "
                "folder."
            )
        digits = text.partition(".")[0]
        number = int(digits) if _is_short(digits) else None
        self.seen.update([] if number is None else [number])
        if number is None or number not in self.names:
            hint = " Do the ids count from 1?" if number == max(self.names) + 1 else ""
            raise InputError(
                f"{where}: class id {text} is not in {self.source}, which names "
                f"{len(self.names)} classes from id {min(self.names)} to {max(self.names)}.{hint}"
            )
        return options.label(self.names[number], where, f"id {text} in {self.source}: ")


def read_class_names(path: Path) -> dict[int, str]:
    """Read class names by id, from a YAML file or from lines of text, the first for id 0.

    In YAML they stand under `names`, as a list or by id, as in a YOLO dataset's data.yaml.
    """
    if path.suffix.lower() in {".yaml", ".yml"}:
        return _read_yaml(path)
    lines = [line.strip() for line in raw.read_text(path).rstrip().split("\n")]
    if lines == [""]:
        raise InputError(f"{path}: the file is empty; write one class name per line.")
    if "" in lines:
        why = "no class name; a blank line would shift the ids."
        raise InputError(f"{path}, line {lines.index('') + 1}: {why}")
    return dict(enumerate(lines))


def find_names_file(folders: Sequence[Path], options: ReadOptions) -> Path | None:
    """The first of `NAMES_FILES` in the first folder that has one; the first two must `agree`."""
    paths = [p for folder in folders for name in NAMES_FILES if (p := folder / name).is_file()]
    near = [path for path in paths if path.parent in folders[:2]]
    return agree(near, options) or next(iter(paths), None)


def agree(sources: Sequence[Path], options: ReadOptions) -> Path | None:
    """The first of some files of class names; a `DatasetError` where another says otherwise."""
    for other in sources[1:]:
        try:
            first, names = read_class_names(sources[0]), read_class_names(other)
        except InputError:
            continue  # Not needed, so no matter.
        for number in sorted(first.keys() & names.keys()):
            meant = [normalise_name(one[number]) for one in (first, names)]
            if len({options.aliases.get(name, name) for name in meant}) > 1:
                raise DatasetError(
                    f"{sources[0]} and {other} disagree: class id {number} is '{first[number]}' or "
                    f"'{names[number]}'. Say which file is right with --names FILE."
                )
    return next(iter(sources), None)


class _Loader(yaml.BaseLoader):
    """Texts only: `no` and `1` are as good class names as any. No key may be there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        made = super().construct_mapping(node, deep)
        if len(made) < len(node.value):
            raise yaml.YAMLError(f"a key is there twice{node.start_mark}")
        return made


def load_yaml(path: Path) -> dict[Any, Any]:
    """What a YAML file holds, if that is a mapping; an `InputError` when it can't be read."""
    try:
        content = yaml.load(raw.read_text(path), Loader=_Loader)  # noqa: S506 - constructs nothing
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML that can be read ({reason}).") from error
    return content if isinstance(content, dict) else {}


def _read_yaml(path: Path) -> dict[int, str]:
    names = load_yaml(path).get("names")
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not names:
        raise InputError(f"{path}: no class names; give them under 'names', as a list or by id.")
    result = {}
    for key, name in names.items():
        if not _is_short(key):
            raise InputError(f"{path}: '{key}' under 'names' is no class id.")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: the name of class {key} is no text.")
        result[int(key)] = name.strip()
    return result


def _is_short(text: str) -> bool:
    """Ids have a few digits; much longer ones are slow to read, or refused by int()."""
    return len(text) < 10 and re.fullmatch(r"[0-9]+", text) is not None


LABELS = "labels"

BOX_VALUES = 4


@dataclass(frozen=True)
class YoloLayout:
    """What belongs together; `doubles` are photos and label files beyond one, with the other."""

    pairs: dict[Path, Path | None]  # Photo of each label file, if it is there.
    unlabelled: list[Path]  # Photos without one in folders that have some for other photos.
    doubles: dict[Path, Path]


def pair_labels(files: DatasetFiles, *, flat: bool) -> YoloLayout:
    """Find the photo of every label file.

    `labels` in a path stands for `images` in the photo's, or for nothing (`a/labels/1.txt` of
    `a/1.jpg`). Text files beside photos are labels when `flat`, or where class names are in their
    folder or above it. What finds no photo so may be spelt otherwise, or in a folder of another
    name, if no photo is where it says.
    """
    by_key: dict[str, list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    for path in files.photos:
        by_key.setdefault(_strip(files.relative(path)).lower(), []).append(path)
    there = {_name_parent(files.relative(path)) for path in files.photos}

    def find(written: str) -> Path | None:
        """The photo of a label file; case matters where it tells photos apart."""
        options = by_key.get(_strip(written).lower(), [])
        same = (path for path in options if _strip(files.relative(path)) == _strip(written))
        return next(same, next(iter(options), None))

    doubles: dict[Path, Path] = {}
    pairs: dict[Path, Path | None] = {}
    owners: dict[Path, Path] = {}
    waiting: dict[Path, set[str]] = {}  # Folders where the photos of label files are expected.
    folders: set[str] = set()
    sources = list_names_files(files)
    named = {path.parent for path in sources}
    texts = [path for path in files.by_suffix({".txt"}) if path not in sources]
    in_labels = {path: LABELS in path.relative_to(files.root).parts[:-1] for path in texts}
    # Those in `labels` first: they are labels more surely.
    for path in sorted(texts, key=lambda path: not in_labels[path]):
        options = list(_list_options(files.relative(path)))
        photo = next(filter(None, map(find, options)), None)
        if not (in_labels[path] or flat or not named.isdisjoint(path.parents)):
            continue
        if photo is None:
            waiting[path] = {_name_parent(option) for option in options}
        elif photo in owners:
            doubles[path] = owners[photo]
        else:
            pairs[path], owners[photo] = photo, path
    claims: dict[Path, list[Path]] = {}
    for path in files.photos if waiting else ():
        for stem in _list_stems(path):
            by_stem.setdefault(stem, []).append(path)
    for path, expected in waiting.items():
        free = {p for stem in _list_stems(path) for p in by_stem.get(stem, ()) if p not in owners}
        if not expected.isdisjoint(there):
            free = {p for p in free if _name_parent(files.relative(p)) in expected}
        if len(free) == 1 and has_box(path):
            claims.setdefault(free.pop(), []).append(path)
    owners |= {photo: paths[0] for photo, paths in claims.items() if len(paths) == 1}
    pairs |= {path: photo for photo, path in owners.items()}
    for path in (path for path in waiting if path not in pairs and in_labels[path]):
        pairs[path] = None
        folders |= waiting[path]
    folders |= {_name_parent(files.relative(photo)) for photo in owners}
    unlabelled = []
    for path in files.photos:
        first = find(files.relative(path)) or path
        if path in owners:
            continue
        if first != path:
            doubles[path] = first
        elif _name_parent(files.relative(path)) in folders:
            unlabelled.append(path)
    return YoloLayout(dict(sorted(pairs.items())), unlabelled, doubles)


def find_names(files: DatasetFiles, label_file: Path, options: ReadOptions) -> Path | None:
    """The file of class names nearest to a label file: above it, else the only one there is.

    A part of a dataset may be given, such as `train`: its data.yaml is then beside it. All files
    above it or its photo must `agree`.
    """
    there = list_names_files(files)
    photo = Path(*(IMAGES if part == LABELS else part for part in label_file.parts))
    folders = dict.fromkeys([*label_file.parents, *photo.parents])
    above = [p for folder in folders for name in NAMES_FILES if (p := folder / name) in there]
    if nearest := agree(above, options):
        return nearest
    if len(there) == 1:
        return next(iter(there))
    beside = files.root.resolve().parent
    return next((beside / name for name in YAML_FILES if (beside / name).is_file()), None)


def check_names(files: DatasetFiles, used: Iterable[ClassNames], options: ReadOptions) -> None:
    """Refuse ids that count from 1, and another file of class names that disagrees with the one in
    use, wherever it lies.
    """
    sources = set()
    for one in used:
        sources |= {one.source.resolve()} if one.source is not None else set()
        known, seen = {*(one.names or ())}, one.seen
        if known and seen and (min(seen), max(seen)) == (min(known) + 1, max(known) + 1):
            raise DatasetError(
                f"{one.source}: has names for ids {min(known)} to {max(known)}, but labels have "
                f"{min(seen)} to {max(seen)}: they count from 1. Give names for these ids with "
                "--names FILE, a YAML such as 'names: {1: with_mask}'."
            )
    if options.names is None and len(sources) == 1:
        others = {path.resolve() for path in list_names_files(files)} - sources
        for other in sorted(others):
            agree([*sources, other], options)


def list_names_files(files: DatasetFiles) -> set[Path]:
    """Files of class names; a photo called `classes` or `names` has labels under the same name."""
    there = (path for name in NAMES_FILES for path in files.by_name.get(name, ()))
    return {path for path in there if path.suffix != ".txt" or not has_box(path)}


def has_box(path: Path) -> bool:
    """Whether the first line that is not blank is one of YOLO's."""
    lines = raw.sniff_text(path).split("\n")
    words = next((raw.split_line(line) for line in lines if line.strip()), [])
    with suppress(InputError):
        return bool(words) and bool(read_shares(words[1:], str(path)))
    return False


def _list_options(label_file: str) -> Iterator[str]:
    """Paths that the photo of a label file may have, but for the ending."""
    *folders, name = label_file.split("/")
    if LABELS in folders:
        place = len(folders) - 1 - folders[::-1].index(LABELS)
        yield "/".join([*folders[:place], IMAGES, *folders[place + 1 :], name])
        yield "/".join([*folders[:place], *folders[place + 1 :], name])
    yield label_file


def _name_parent(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _list_stems(path: Path) -> set[str]:
    return {_strip(name).lower() for name in spell_names(path.stem)}


def _strip(path: str) -> str:
    """A path without its ending, in one form whatever its accents."""
    stem, dot, ending = path.rpartition(".")
    is_known = f"{dot}{ending.lower()}" in PHOTO_SUFFIXES | {".txt"}
    return unicodedata.normalize("NFC", stem if is_known else path)


def read_shares(
    words: Sequence[str], where: str, landmarks: frozenset[int] = frozenset()
) -> list[float]:
    """The numbers of a line, those of a box or of an outline, as shares of the photo.

    Lines of so many numbers as `landmarks` have a box first.
    """
    words = words[:BOX_VALUES] if len(words) in landmarks else words
    count = len(words)
    if count != BOX_VALUES and (count < 6 or count % 2):  # An outline has three corners at least.
        hint = " Five numbers are a prediction's." if count == BOX_VALUES + 1 else ""
        raise InputError(
            f"{where}: {count} numbers behind the class id; expected are 4 (centre x, centre "
            f"y, width, height) or the pairs of an outline, at least 3.{hint}"
        )
    values = [raw.read_number(word, "a coordinate", where) for word in words]
    check_relative(values, where)
    return values


def check_relative(values: Sequence[float], where: str) -> None:
    """Refuse pixels, which nearly always exceed 2, where shares of the photo's size are expected.

    A face at the border may reach a little beyond it.
    """
    far_out = [value for value in values if abs(value) > 2]
    if far_out:
        hint = "they lie between 0 and 1. For pixels choose the layout xywh or xyxy."
        raise InputError(f"{where}: {far_out[0]:g} is no relative coordinate; {hint}")


def is_yolo(folder: Path) -> bool:
    """Whether a folder has, is, or lies in a folder of labels, or holds a data.yaml."""
    return any((folder / name).is_file() for name in YAML_FILES) or bool(find_label_folders(folder))


def list_names_folders(folder: Path) -> list[Path]:
    """Where a dataset's class names may be: in the folder, or up to two above it."""
    path = folder.resolve()
    return [path, path / LABELS, path.parent, path.parent.parent]


def find_label_folders(folder: Path) -> list[Path]:
    """The folder itself where it is `labels` or a part of it, else those up to two below it."""
    path = folder.resolve()
    if LABELS in (path.name, path.parent.name) and _find_top(path) != path:
        return [folder]
    below = (sorted(folder.glob(depth)) for depth in (LABELS, f"*/{LABELS}", f"*/*/{LABELS}"))
    return [found for level in below for found in level if found.is_dir()]


def _find_top(path: Path) -> Path:
    """The folder that `labels` and `images` lie in, of `labels` or a part such as `labels/val`."""
    if path.name == LABELS:
        return path.parent
    if path.parent.name == LABELS and (path.parent.parent / IMAGES / path.name).is_dir():
        return path.parent.parent
    return path


def list_labels(folder: Path) -> tuple[DatasetFiles, dict[str, tuple[Path | None, Path | None]]]:
    """Photos of a YOLO dataset or of a part of one such as `valid` or `labels/val`, strictly.

    The files of the dataset; and label file and photo, as far as they are there, by the photo's
    path below the folder, or below the part of `images` that the folder stands for. Raises
    `InputError`: there are no labels, or two photos or label files for one.
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
    # Also those in folders without a label file: background photos, by YOLO's convention.
    images = [labels.parent / IMAGES for labels in find_label_folders(files.root)]
    taken = {*layout.pairs.values(), *layout.doubles}
    background = [p for p in files.photos if any(map(p.is_relative_to, images)) and p not in taken]
    for photo in {*layout.unlabelled, *background}:
        found[files.relative(photo)] = None, photo
    if top != path:
        part = f"{path.relative_to(top).as_posix()}/".replace(LABELS, IMAGES, 1)
        found = {n.removeprefix(part): pair for n, pair in found.items() if n.startswith(part)}
    if not any(label for label, _ in found.values()):
        hint = "expected is one per photo, with lines 'id x y width height'."
        raise InputError(f"{folder}: no label files (*.txt) in its folders '{LABELS}'; {hint}")
    return files, dict(sorted(found.items()))
