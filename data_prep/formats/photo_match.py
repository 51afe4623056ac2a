"""The files of a dataset folder, listed once for all readers, and photos matched by name."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import unescape
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from urllib.parse import unquote

from data_prep.base.boxes import turn_size
from data_prep.base.errors import DatasetError, UserError
from data_prep.base.photo import PHOTO_SUFFIXES, PhotoError, Size, read_frame
from data_prep.base.records import Box, Face, Finding
from data_prep.formats.input_files import InputError, is_text, read_bytes, walk_files


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

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        """Files by their name."""
        found: dict[str, list[Path]] = {}
        for path in self.files:
            found.setdefault(path.name, []).append(path)
        return found

    @cached_property
    def json_keys(self) -> dict[Path, frozenset[str]]:
        """Which of `JSON_KEYS` are in each JSON file; of one too long to be read, those of COCO."""
        return {path: find_keys(path) for path in self.by_suffix({".json"})}

    def relative(self, path: Path) -> str:
        """A file's path below the root, with forward slashes."""
        return path.as_posix().removeprefix(f"{self.root.as_posix().rstrip('/')}/")

    def call(self, path: Path) -> str:
        """How a finding calls a file: `source/path`."""
        return f"{self.source}/{self.relative(path)}"

    @cached_property
    def unread_photos(self) -> dict[str, Path]:
        """Files that may be photos in formats that are not read, by their stem in lower case."""
        known = PHOTO_SUFFIXES | ANNOTATIONS
        return {p.stem.lower(): p for p in self.files if p.suffix.lower() not in known}

    def unused_photos(self, used: Collection[str]) -> list[Finding]:
        """Notes, no faults, for photos that nobody has annotated, and for endings not read."""
        names = [self.call(path) for path in self.photos if self.relative(path) not in used]
        kind, message = "photo-without-annotation", "no annotation names this photo; it is not used"
        notes = [Finding(name, kind, f"{name}: {message}.") for name in names]
        for path in self.by_suffix(UNREAD_PHOTOS):
            message = f"{self.call(path)}: {path.suffix} is not read; {CONVERT}."
            notes.append(Finding(self.call(path), "unread-ending", message))
        return notes


UNREAD_PHOTOS = frozenset(
    {
        *(".heic", ".heif", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf"),
        *(".rw2", ".raw", ".psd", ".svg", ".eps", ".tga", ".ico", ".pnm", ".j2k"),
    }
)
"""Endings of photos in formats that are not read."""


def find_keys(path: Path) -> frozenset[str]:
    """Which of `JSON_KEYS` are in a JSON file; of one too long to be read, those of COCO."""
    try:
        data = read_bytes(path)
    except InputError as error:
        return frozenset(() if isinstance(error.__cause__, OSError) else ("images", "annotations"))
    data = data.replace(b"\0", b"") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data  # UTF-16.
    return frozenset(key for key in JSON_KEYS if f'"{key}"'.encode() in data)


JSON_KEYS = (
    *("images", "annotations", "shapes", "imagePath", "regions", "shape_attributes", "result"),
    *("original_width", "objects", "classTitle", "FileName", "BoundingBox", "labels"),
    *("bounding_box", "coordinates", "asset", "metadata", "fid_list"),
)
"""Keys by which annotations in JSON are known."""

CONVERT = "write it as JPEG or PNG"

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
    name, file = path.name.lower(), shlex.quote(str(path))
    folder = shlex.quote(str(path.with_name(path.name.split(".")[0] or "dataset")))
    tool = "zipfile -e" if name.endswith(".zip") else "tarfile -e"
    how = f": python -m {tool} {file} {folder}"
    if name.endswith(".gz") and not name.endswith(".tar.gz"):
        how = f": python -m gzip -d {file}"
    how = "" if name.endswith((".7z", ".rar")) else how
    return f"{path}: an archive; unpack it and give the folder{how}"


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
    places: tuple[str, ...] = ()  # File and line of each face.
    fallback: str = ""  # The stem of an annotation file that is about this photo alone.
    left_out: int = 0  # Faces that can't be used, besides.
    file_size: Size | None = None  # Of the pixels that boxes refer to, by the photo's file.
    wrong: tuple[Box, ...] = ()  # Boxes of faces left out, by which the whole is judged.


class PhotoName(NamedTuple):
    """A photo's path in comparable form: path, the same folded in case, and without ending."""

    path: str
    parts: tuple[str, ...]
    stems: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> PhotoName:
        """The name as it is compared."""
        path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
        parts = [part for part in str(path).casefold().split("/") if part not in ("", ".", "..")]
        *folders, last = parts or [""]
        bare = PurePosixPath(last)
        # Only known endings: what follows a dot in `crowd.2` is part of the name.
        stem = bare.stem if bare.suffix in PHOTO_SUFFIXES | ANNOTATIONS else last
        return cls(str(path), (*folders, last), (*folders, stem))


def _ends_alike(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    shared = min(len(first), len(second))
    return first[len(first) - shared :] == second[len(second) - shared :]


_LEVELS: Mapping[str, Callable[[PhotoName, PhotoName], bool]] = {
    "path": lambda one, other: one.path == other.path,
    "suffix": lambda one, other: _ends_alike(one.parts, other.parts),
    "bare": lambda one, other: one.stems == other.stems,
    "ending": lambda one, other: _ends_alike(one.stems, other.stems),
    "name": lambda one, other: one.parts[-1] == other.parts[-1],
    "stem": lambda one, other: one.stems[-1] == other.stems[-1],
}
"""How two names may agree, the strictest first: the same path; one the end of the other (case does
not matter from here on); the same but for the ending; one the end of the other but for it; the same
file name; that but for the ending."""


class _Names:
    """Names, looked up by what is nearest to their stem."""

    def __init__(self, names: Iterable[PhotoName]) -> None:
        self.all = [*names]
        self._by_path = {name.path: number for number, name in enumerate(self.all)}
        self._by_stem: dict[str, list[int]] = {}
        for number, name in enumerate(self.all):
            self._by_stem.setdefault(name.stems[-1], []).append(number)

    def read(self, names: Iterable[str]) -> Iterator[PhotoName]:
        """Names as written, or else as they may be spelt: as folders agree, or by the stem alone.

        What one of them means as written, no other means by being spelt otherwise.
        """
        written, meant = [], set[int]()
        for name in names:
            one = PhotoName.parse(name)
            place = self._by_path.get(one.path)
            options = self.find(one, "ending") if place is None else [place]
            meant.update(options)
            written.append((one, [] if options else spell_names(name)))
        for one, more in written:
            spelt = [*map(PhotoName.parse, more)]
            tried = ((n, level) for level in _LEVELS for n in spelt)
            yield next((n for n, level in tried if not meant.issuperset(self.find(n, level))), one)

    def find(self, name: PhotoName, level: str) -> list[int]:
        """Numbers of the names that agree with one at a level."""
        options, fits = self._by_stem.get(name.stems[-1], ()), _LEVELS[level]
        return [number for number in options if fits(self.all[number], name)]


def match_photos(
    files: DatasetFiles, written: Sequence[WrittenPhoto]
) -> list[tuple[list[Path], str]]:
    """The photos on disk that each written one may be: one as a rule, none, or several; and a note.

    By the first two of `_LEVELS` and, only where an annotation file has found no photo so, by the
    last two: otherwise the folders do correspond, and an equal name in another one is another
    photo. Of several the one nearest to the annotation file counts, then the one in a folder that
    the file is called after (`train` for `instances_train.json`). Paths that lead out of the
    dataset tell no folder. Names may be spelt as `spell_names` says.

    Where an annotation file of one photo names another photo than it is called after, the stated
    size decides, then the nearer folder, then the file's own name; the note says so.
    """
    there = _Names(PhotoName.parse(files.relative(path)) for path in files.photos)
    elsewhere = r"/|\\|[a-zA-Z]+:|\.\.[/\\]"  # Its folders tell nothing here.

    def find(names: Iterable[str], *levels: str, but: Collection[int] = ()) -> list[int]:
        parsed = [PhotoName.parse(name) for name in names if name.strip("./\\")]
        found = (there.find(name, level) for name in parsed for level in levels)
        return next(filter(None, ([n for n in one if n not in but] for one in found)), [])

    def choose(photo: WrittenPhoto, options: list[int]) -> list[Path]:
        paths = {files.photos[number]: there.all[number].parts for number in options}
        return _choose(files, photo, paths)

    found = [find([photo.image], "suffix", "ending") for photo in written]
    meant = {options[0] for options in found if len(options) == 1}  # As written: not otherwise.
    found = [
        options or find(spell_names(p.image), "suffix", "ending", but=meant)
        for p, options in zip(written, found, strict=True)
    ]
    sure = {(p.annotation, *options) for p, options in zip(written, found, strict=True)}
    found = [  # One that another name in the file means for sure is not meant by this.
        [n for n in options if len(options) == 1 or (p.annotation, n) not in sure] or options
        for p, options in zip(written, found, strict=True)
    ]
    placed = {photo.annotation for photo, options in zip(written, found, strict=True) if options}
    result = []
    for photo, options in zip(written, found, strict=True):
        own = find([photo.fallback], "stem")
        if not options and (photo.annotation not in placed or re.match(elsewhere, photo.image)):
            options = find([photo.image], "name", "stem")
            options = options or find(spell_names(photo.image), "name", "stem", but=meant) or own
        paths, note = choose(photo, options), ""
        if own and options and set(own).isdisjoint(options):
            paths, note = _weigh(files, photo, paths, choose(photo, own))
        result.append((paths, note))
    return result


def spell_names(image: str) -> list[str]:
    """A name as written; as of a URL or a page, maybe quoted, coded twice; and as uploaded.

    That is with + for a blank, and without what Label Studio puts before it.
    """
    plain = unescape(image).strip("\"' ")
    plain = plain.partition("?d=")[2] or _ADDRESS.sub(r"\1", plain)
    spelt = [image]
    for text in (plain, plain.replace("+", " ")):
        while text not in spelt[1:]:
            spelt += [text, re.sub(r"(^|[/\\])[0-9a-f]{8}-(?=[^/\\]*$)", r"\1", text)]
            text = unquote(text)
    return spelt


_ADDRESS = re.compile(
    rf"(?i)((?:^\w\w+:/[^?]*|{'|'.join(map(re.escape, sorted(PHOTO_SUFFIXES)))}))[?#].*"
)
"""An address up to what is asked of it, or a name up to what follows its ending."""


def _weigh(
    files: DatasetFiles, photo: WrittenPhoto, named: list[Path], own: list[Path]
) -> tuple[list[Path], str]:
    """Of the photos that a file names and those that it is called after, the likelier ones."""

    def has_size(path: Path) -> bool:
        try:
            frame = read_frame(path)
        except PhotoError:
            return False
        return photo.size in (frame.size, turn_size(*frame.size, frame.orientation))

    def is_far(path: Path) -> int:
        first, second = (Counter(p.parent.relative_to(files.root).parts) for p in (path, home))
        return ((first - second) + (second - first)).total()

    home = photo.annotation
    fits = [any(map(has_size, side)) for side in (named, own)]
    if fits[0] == fits[1]:
        chosen = own if min(map(is_far, own)) <= min(map(is_far, named)) else named
    else:
        chosen = named if fits[0] else own
    shown = [files.relative(side[0]) for side in (named, own, chosen)]
    return chosen, (
        f"names the photo {shown[0]}, but is called after {shown[1]}; boxes are taken for "
        f"{shown[2]}. Correct the name in the file, or the file's."
    )


def _choose(
    files: DatasetFiles, photo: WrittenPhoto, options: Mapping[Path, tuple[str, ...]]
) -> list[Path]:
    if len(options) < 2:
        return list(options)
    folder = PhotoName.parse(files.relative(photo.annotation)).parts[:-1]
    parts, written = PhotoName.parse(photo.image).parts, PureWindowsPath(photo.image).parts
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
    """Find the annotated photo for every predicted one; names are distinct on both sides.

    Either may be spelt as `spell_names` says. By each level of `_LEVELS` in turn, for those not
    found yet; by the last two, of the file's name alone, only when no photo is found by the others
    before. An annotated photo is found once, by a name that fits it alone before others. Raises
    `AmbiguousPhotoError`: where a photo is found, it fits several photos, or several fit it.

    >>> match_names(["images/a.png", "images/b.png"], ["b.jpg", "c.jpg"]).found
    (1, None)
    """
    truths = _Names(_Names(map(PhotoName.parse, predicted)).read(annotated))
    names = [*truths.read(predicted)]
    found: dict[int, int] = {}
    counts = dict.fromkeys(_LEVELS, 0)
    for level in _LEVELS:
        if level == "name" and found:
            break
        waiting = [number for number in range(len(names)) if number not in found]
        free = {*range(len(annotated))} - {*found.values()}
        fits = [[place for place in truths.find(names[n], level) if place in free] for n in waiting]
        free -= {options[0] for options in fits if len(options) == 1}
        proposals: dict[int, int] = {}
        for number, own in zip(waiting, fits, strict=True):
            options = own if len(own) < 2 else [place for place in own if place in free] or own
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
