"""The files of a dataset folder, listed once for all readers, and photos matched by name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from data_prep.base.boxes import look_relative
from data_prep.base.errors import DatasetError, UserError
from data_prep.base.photo import PHOTO_SUFFIXES, Size
from data_prep.base.records import AnnotatedPhoto, Dataset, Face, Finding
from data_prep.formats.input_files import is_text, walk_files


@dataclass(frozen=True)
class DatasetFiles:
    """Files below a dataset's folder, sorted, but those whose names start with a dot."""

    source: str  # The folder's name.
    root: Path
    files: tuple[Path, ...]
    findings: tuple[Finding, ...]  # Files whose names can't be written in UTF-8.

    def by_suffix(self, suffixes: Collection[str]) -> list[Path]:
        """Files with one of these endings (in lower case, with the dot), whatever their case."""
        return [file for file in self.files if file.suffix.lower() in suffixes]

    @cached_property
    def photos(self) -> list[Path]:
        """Files that look like photos."""
        return self.by_suffix(PHOTO_SUFFIXES)

    def named(self, names: Collection[str]) -> set[Path]:
        """Files of these names."""
        return {path for name in names for path in self._by_name.get(name, ())}

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self.files:
            found.setdefault(path.name, []).append(path)
        return found

    def relative(self, path: Path) -> str:
        """A file's path below the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def call(self, path: Path) -> str:
        """How a finding calls a file: `source/path`."""
        return f"{self.source}/{self.relative(path)}"

    def unused_photos(self, used: Collection[str]) -> list[Finding]:
        """A note, no fault, for photos that nobody has annotated, but those in use."""
        names = [self.call(path) for path in self.photos if self.relative(path) not in used]
        kind, message = "photo-without-annotation", "no annotation names this photo; it is not used"
        return [Finding(name, kind, f"{name}: {message}.", dropped=False) for name in names]


ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
"""Endings of files that have to be unpacked first."""

ANNOTATIONS = frozenset({".xml", ".txt", ".json", ".csv", ".tsv", ".yaml", ".yml"})
"""Endings of files that may tell of faces."""

_ALONE = frozenset({".json", ".csv", ".tsv"})
"""Endings of files that annotate many photos and can be given instead of their folder."""


def list_dataset(root: Path) -> DatasetFiles:
    """List the files below a dataset's folder, or of one table or JSON file in it alone."""
    folder = find_folder(root)
    if folder == root:
        return _list_folder(root)
    listed = _list_folder(folder)
    others = ANNOTATIONS - {".yaml", ".yml"}
    kept = [path for path in listed.files if path == root or path.suffix.lower() not in others]
    if not any(path.suffix.lower() in PHOTO_SUFFIXES for path in kept):
        raise DatasetError(f"{root}: no photo beside it or below; give the folder of both.")
    return replace(listed, files=tuple(kept))


def find_folder(root: Path) -> Path:
    """The folder of a dataset that is given as one of its files, or the folder itself."""
    if not root.is_file():
        return root
    if root.suffix.lower() in ARCHIVES:
        raise DatasetError(explain_archive(root))
    if root.suffix.lower() not in _ALONE:
        raise DatasetError(f"{root}: a file; give the folder of the dataset.")
    return root.parent


def explain_archive(path: Path) -> str:
    """What to do with a dataset that is packed."""
    tool = "zipfile" if path.suffix.lower() == ".zip" else "tarfile"
    folder = path.name.split(".")[0] or "dataset"
    return (
        f"{path}: an archive; unpack it and give the folder: python -m {tool} -e {path.name} "
        f"{folder}"
    )


def _list_folder(root: Path) -> DatasetFiles:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder.")
    source = root.resolve().name
    findings: list[Finding] = []
    files: list[Path] = []

    def note_unread(error: OSError) -> None:
        name = os.fsencode(error.filename).decode(errors="replace")
        message = f"{name}: the folder can't be read ({error.strerror}); what is in it is left out."
        findings.append(Finding(source, "unreadable-folder", message, dropped=True))

    for path in walk_files(root, note_unread):
        if is_text(str(path.relative_to(root))):
            files.append(path)
        elif path.suffix.lower() in ANNOTATIONS | PHOTO_SUFFIXES:
            name = f"{source}/" + os.fsencode(path.relative_to(root)).decode(errors="replace")
            message = f"{name}: the file's name is not valid UTF-8; rename it."
            findings.append(Finding(name, "bad-name", message, dropped=True))
    return DatasetFiles(source, root, tuple(files), tuple(findings))


@dataclass(frozen=True)
class WrittenPhoto:
    """A photo and its faces as an annotation file has them, boxes not yet clipped."""

    annotation: Path
    image: str  # Its path as written.
    where: str  # File and line, or index, for messages.
    size: Size | None  # As stated.
    faces: tuple[Face, ...]
    scores: tuple[float, ...] = ()  # Of predicted faces, 0 to 1 each.
    places: tuple[str, ...] = ()  # File and line of each face; from strict readers.
    fallback: str = ""  # Name of the photo, where there is none of the written one.


def place_photos(
    files: DatasetFiles, written: Sequence[WrittenPhoto], findings: Sequence[Finding]
) -> Dataset:
    """Make a dataset of photos that several annotation files may name.

    A photo that is not there, that can't be told from others, or that is annotated already, is
    left out with a finding, besides those that there are.

    Raises:
        DatasetError: There is no photo, or the boxes are no pixels.
    """
    if not files.photos:
        names = ", ".join(sorted({files.call(photo.annotation) for photo in written})[:3])
        raise DatasetError(
            f"{files.root}: annotations ({names}) but no photo in this folder or below it; put the "
            "photos there."
        )
    if look_relative([face.box for photo in written for face in photo.faces]):
        raise DatasetError(
            f"{files.root}: all coordinates lie between 0 and 1, so they are no pixels; multiply "
            "them by width and height of the photo."
        )
    found = [*files.findings, *findings]
    photos: dict[str, AnnotatedPhoto] = {}
    for photo, options in zip(written, match_photos(files, written), strict=True):
        name, relative = files.call(photo.annotation), files.relative(photo.annotation)
        lost = f"it and its {len(photo.faces)} faces are left out."
        if not options:
            message = f"{photo.where}: its photo '{photo.image}' is not in the folder; {lost}"
            found.append(Finding(name, "missing-photo", message, dropped=True))
            continue
        if len(options) > 1:
            shown = ", ".join(files.relative(path) for path in options[:3])
            message = (
                f"{photo.where}: '{photo.image}' could be any of {len(options)} photos, such as "
                f"{shown}; {lost} Write the path below the folder."
            )
            found.append(Finding(name, "ambiguous-photo", message, dropped=True))
            continue
        image = files.relative(options[0])
        if image in photos:
            message = f"{photo.where}: {image} is already annotated in {photos[image].annotation}"
            found.append(Finding(name, "second-annotation", f"{message}; {lost}", dropped=True))
            continue
        width, height = photo.size or (None, None)
        photos[image] = AnnotatedPhoto(
            files.source, files.root, image, relative, width, height, photo.faces
        )
    found.extend(files.unused_photos(photos))
    return Dataset(
        files.source, files.root, tuple(photos[image] for image in sorted(photos)), tuple(found)
    )


class _Name(NamedTuple):
    """A photo's path in comparable form: path, the same folded in case, and without ending."""

    path: str
    parts: tuple[str, ...]
    stems: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> _Name:
        path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
        parts = [part for part in str(path).casefold().split("/") if part not in ("", ".", "..")]
        *folders, last = parts or [""]
        bare = PurePosixPath(last)
        # Only known endings: what follows a dot in `crowd.2` is part of the name.
        stem = bare.stem if bare.suffix in PHOTO_SUFFIXES | ANNOTATIONS else last
        return cls(str(path), (*folders, last), (*folders, stem))


def _ends_alike(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return all(map(str.__eq__, reversed(first), reversed(second)))


_LEVELS: Mapping[str, Callable[[_Name, _Name], bool]] = {
    "path": lambda one, other: one.path == other.path,
    "suffix": lambda one, other: _ends_alike(one.parts, other.parts),
    "ending": lambda one, other: _ends_alike(one.stems, other.stems),
    "name": lambda one, other: one.parts[-1] == other.parts[-1],
    "stem": lambda one, other: one.stems[-1] == other.stems[-1],
}
"""How two names may agree, the strictest first."""


class _Names:
    """Names, looked up by what is nearest to their stem."""

    def __init__(self, names: Iterable[str]) -> None:
        self.all = [*map(_Name.parse, names)]
        self._by_stem: dict[str, list[int]] = {}
        for number, name in enumerate(self.all):
            self._by_stem.setdefault(name.stems[-1], []).append(number)

    def find(self, name: _Name, level: str) -> list[int]:
        """Numbers of the names that agree with one at a level."""
        options, fits = self._by_stem.get(name.stems[-1], ()), _LEVELS[level]
        return [number for number in options if fits(self.all[number], name)]


def match_photos(files: DatasetFiles, written: Sequence[WrittenPhoto]) -> list[list[Path]]:
    """The photos on disk that each written one may be: one as a rule, none, or several.

    In turn: one path ends with the other; the same, whatever the ending; and, only where an
    annotation file has found no photo so, the same file name or stem in any folder. Otherwise the
    folders do correspond, and an equal name in another one is another photo. Of several the one
    nearest to the annotation file counts, then the one in a folder that the file is called after
    (`train` for `instances_train.json`). Case and the form of accents matter only where they tell
    photos apart.
    """
    there = _Names(map(files.relative, files.photos))

    def find(image: str, *levels: str) -> list[int]:
        found = (there.find(_Name.parse(image), level) for level in levels if image.strip("./\\"))
        return next(filter(None, found), [])

    found = [find(photo.image, "suffix", "ending") for photo in written]
    placed = {photo.annotation for photo, options in zip(written, found, strict=True) if options}
    result = []
    for photo, options in zip(written, found, strict=True):
        if not options and photo.annotation not in placed:
            names = photo.image, photo.fallback
            options = next(filter(None, (find(name, "name", "stem") for name in names)), [])
        paths = {files.photos[number]: there.all[number].parts for number in options}
        result.append(_choose(files, photo, paths))
    return result


def _choose(
    files: DatasetFiles, photo: WrittenPhoto, options: Mapping[Path, tuple[str, ...]]
) -> list[Path]:
    if len(options) < 2:
        return list(options)
    folder = _Name.parse(files.relative(photo.annotation)).parts[:-1]
    parts, written = _Name.parse(photo.image).parts, PureWindowsPath(photo.image).parts
    words = set(re.split(r"[^0-9a-z]+", photo.annotation.stem.lower()))

    def rank(path: Path) -> tuple[bool, bool, int, bool, int]:
        there = options[path]
        pairs = zip(folder, there[:-1], strict=False)
        shared = len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])
        alike = sum(map(str.__eq__, reversed(path.parts), reversed(written)))
        is_there, is_called = there in (parts, folder + parts), not words.isdisjoint(there[:-1])
        is_whole = len(there) >= len(parts) and _ends_alike(there[:-1], parts[:-1])
        return is_whole, is_there, shared, is_called, alike

    best = max(map(rank, options))
    return [path for path in options if rank(path) == best]


class AmbiguousPhotoError(UserError, ValueError):
    """A photo name that fits several photos; the message says how to tell them apart."""


class NameMatch(NamedTuple):
    """What was found."""

    found: tuple[int | None, ...]  # For each predicted name the index of the annotated photo.
    levels: Mapping[str, int]  # How many were found at each level, the strictest first.


def match_names(annotated: Sequence[str], predicted: Sequence[str]) -> NameMatch:
    r"""Find the annotated photo for every predicted one.

    In turn, for those not found yet: the same relative path; one path ends with the other
    (`images/a.jpg`, `a.jpg`); the same, whatever the ending (`images/a.png`, `a.jpg`); the same
    file name in different folders; the same in name but for the ending. The last two are used only
    when no photo is found by the first three: otherwise the folders do correspond, and an equal
    name in another folder is another photo. An annotated photo is found once.

    Case does not matter from the second level on; `\` equals `/`, and equivalent ways to write an
    accented letter are the same. Names are distinct on both sides.

    Raises:
        AmbiguousPhotoError: At the level at which a photo is found, it fits several photos, or
            several fit it.

    >>> match_names(["images/a.png", "images/b.png"], ["b.jpg", "c.jpg"]).found
    (1, None)
    """
    truths, names = _Names(annotated), [*map(_Name.parse, predicted)]
    found: dict[int, int] = {}
    counts = dict.fromkeys(_LEVELS, 0)
    for level in _LEVELS:
        if level == "name" and found:
            break
        taken = set(found.values())
        proposals: dict[int, int] = {}
        for number, name in enumerate(names):
            if number in found:
                continue
            options = [index for index in truths.find(name, level) if index not in taken]
            if len(options) > 1:
                raise _ambiguous("predicted", predicted[number], [annotated[i] for i in options])
            if options and options[0] in proposals:
                rivals = [predicted[proposals[options[0]]], predicted[number]]
                raise _ambiguous("annotated", annotated[options[0]], rivals)
            if options:
                proposals[options[0]] = number
        found.update({number: index for index, number in proposals.items()})
        counts[level] = len(proposals)
    return NameMatch(tuple(found.get(number) for number in range(len(names))), counts)


def _ambiguous(side: str, name: str, options: Sequence[str]) -> AmbiguousPhotoError:
    other = "annotated" if side == "predicted" else "predicted"
    return AmbiguousPhotoError(
        f"the {side} photo '{name}' could be any of the {other} {', '.join(options)}: give paths "
        "relative to the same folder in both, or evaluate one dataset at a time."
    )
