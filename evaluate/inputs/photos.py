"""Which photo of the predictions is which photo of the annotations."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from data_prep.base.errors import UserError
from data_prep.base.labels import Vocabulary
from data_prep.base.photo import PHOTO_SUFFIXES, Size, photo_size, upright_size
from data_prep.base.strict_csv import read_table
from data_prep.formats.input_files import InputError, list_files, walk_files
from data_prep.formats.voc import AnnotationError, read_voc
from evaluate.inputs.truth import FACES_FILE


class AmbiguousPhotoError(UserError, ValueError):
    """A photo name that fits several photos; the message says how to tell them apart."""


@dataclass(frozen=True)
class _Name:
    """A photo's path in comparable form: path, the same folded in case, and without ending."""

    path: str
    parts: tuple[str, ...]
    stems: tuple[str, ...]


@dataclass(frozen=True)
class NameMatch:
    """What was found.

    Attributes:
        found: For each predicted name the index of the annotated photo, or None.
        levels: How many were found at each level, the strictest first.
    """

    found: tuple[int | None, ...]
    levels: Mapping[str, int]


def match_names(annotated: Sequence[str], predicted: Sequence[str]) -> NameMatch:
    r"""Find the annotated photo for every predicted one.

    In turn, for those not found yet: the same relative path; one path ends with the other
    (`images/a.jpg`, `a.jpg`); the same, whatever the ending (`images/a.png`, `a.jpg`); the same
    file name in different folders; the same in name but for the ending. The last two are used only
    when no photo is found by the first three: otherwise the folders do correspond, and an equal
    name in another folder is another photo. An annotated photo is found once.

    Case does not matter from the second level on; `\` equals `/`, and equivalent ways to write an
    accented letter are the same.

    Args:
        annotated: Distinct photo names.
        predicted: Distinct photo names.

    Raises:
        AmbiguousPhotoError: At the level at which a photo is found, it fits several photos, or
            several fit it.

    >>> match_names(["images/a.png", "images/b.png"], ["b.jpg", "c.jpg"]).found
    (1, None)
    """
    truths = [_parse(name) for name in annotated]
    names = [_parse(name) for name in predicted]
    by_stem: dict[str, list[int]] = {}
    for index, truth in enumerate(truths):
        by_stem.setdefault(truth.stems[-1], []).append(index)
    found: dict[int, int] = {}
    counts: dict[str, int] = {}
    for level, (fits, needs_folders_apart) in _LEVELS.items():
        counts[level] = 0
        if needs_folders_apart and any(counts[name] for name in ("path", "suffix", "ending")):
            continue
        taken = set(found.values())
        proposals: dict[int, int] = {}
        for number, name in enumerate(names):
            if number in found:
                continue
            options = [
                index
                for index in by_stem.get(name.stems[-1], ())
                if index not in taken and fits(truths[index], name)
            ]
            if len(options) > 1:
                raise _ambiguous(predicted[number], [annotated[index] for index in options])
            if options and options[0] in proposals:
                rivals = [predicted[proposals[options[0]]], predicted[number]]
                raise _ambiguous(annotated[options[0]], rivals, annotated=True)
            if options:
                proposals[options[0]] = number
        found.update({number: index for index, number in proposals.items()})
        counts[level] = len(proposals)
    return NameMatch(tuple(found.get(number) for number in range(len(names))), counts)


def _parse(name: str) -> _Name:
    path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
    folded = PurePosixPath(str(path).casefold())
    # Only known endings: what follows a dot in `crowd.2` is part of the name.
    bare = folded.with_suffix("") if folded.suffix in PHOTO_SUFFIXES else folded
    return _Name(str(path), folded.parts, bare.parts)


def _ends_alike(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]


_LEVELS: dict[str, tuple[Callable[[_Name, _Name], bool], bool]] = {
    "path": (lambda truth, name: truth.path == name.path, False),
    "suffix": (lambda truth, name: _ends_alike(truth.parts, name.parts), False),
    "ending": (lambda truth, name: _ends_alike(truth.stems, name.stems), False),
    "name": (lambda truth, name: truth.parts[-1] == name.parts[-1], True),
    "stem": (lambda truth, name: truth.stems[-1] == name.stems[-1], True),
}
"""How two names may agree, and whether only when their folders do not correspond."""


def _ambiguous(
    name: str, options: Sequence[str], *, annotated: bool = False
) -> AmbiguousPhotoError:
    here, there = ("annotated", "predicted") if annotated else ("predicted", "annotated")
    return AmbiguousPhotoError(
        f"the {here} photo '{name}' could be any of the {there} {', '.join(options)}: give paths "
        "relative to the same folder in both, or evaluate one dataset at a time."
    )


@dataclass(frozen=True)
class SizeSource:
    """Where sizes are looked up.

    Attributes:
        fixed: One size for every photo; the rest is not asked then.
        photos: Folder of the photos.
        known: Sizes by photo name, asked for what is not among the photos.
    """

    fixed: Size | None = None
    photos: Path | None = None
    known: Mapping[str, Size] = field(default_factory=dict)

    def find(self, names: Sequence[str], *, upright: bool = True) -> dict[str, Size]:
        """Sizes by photo name, of those photos whose size can be told.

        Args:
            names: Distinct photo names; matched with files as `match_names` does.
            upright: Of the photos turned by EXIF, to which relative coordinates refer; otherwise
                of the photos as stored, to which pixels refer.

        Raises:
            InputError: The folder does not exist, or a name fits several photos.
            PhotoError: A photo can't be read.
        """
        if self.fixed is not None:
            return dict.fromkeys(names, self.fixed)
        found: dict[str, Size] = {}
        if self.photos is not None:
            if not self.photos.is_dir():
                raise InputError(f"{self.photos}: no such folder of photos.")
            files = {
                path.relative_to(self.photos).as_posix(): path
                for path in list_files(self.photos, PHOTO_SUFFIXES)
            }
            matched = _match(str(self.photos), list(files), names)
            measure = upright_size if upright else photo_size
            found = {name: measure(files[file]) for name, file in matched.items()}
        rest = [name for name in names if name not in found]
        matched = _match("sizes in the annotations", list(self.known), rest)
        return found | {name: self.known[key] for name, key in matched.items()}


NO_SIZES = SizeSource()
"""No size is known."""


def read_voc_sizes(root: Path, vocabulary: Vocabulary) -> dict[str, Size]:
    """Sizes stated in the VOC files below a folder, by photo name.

    A photo is called by its file name as written in the XML, in the folder of the XML; where two
    files write the same, by the name of the XML. Files that can't be read are passed over.

    Raises:
        UnknownLabelError: An annotation uses an unknown class name.
    """
    sizes: dict[str, Size] = {}
    for path in walk_files(root):
        if path.suffix.lower() != ".xml":
            continue
        try:
            voc = read_voc(path, label_of=vocabulary.label)
        except AnnotationError:
            # The reader of the annotations has said so.
            continue
        if voc.width is None or voc.height is None:
            continue
        name = name_photo(path.relative_to(root).as_posix(), voc.filename, sizes)
        sizes.setdefault(name, (voc.width, voc.height))
    return sizes


def read_table_sizes(path: Path) -> dict[str, Size]:
    """Sizes from a faces.csv, by `source/image`.

    Raises:
        TableError: The table is not as it should be.
    """
    table = read_table(
        path, ("image", "width", "height", "source"), written_by="python -m data_prep"
    )
    columns = (table.columns["source"], table.names("image"))
    sides = zip(table.numbers("width"), table.numbers("height"), strict=True)
    return {
        f"{source}/{image}" if source else image: (int(width), int(height))
        for source, image, (width, height) in zip(*columns, sides, strict=True)
    }


def name_photo(annotation: str, filename: str, taken: Iterable[str]) -> str:
    """Name of the photo that a VOC file is about.

    Args:
        annotation: Path of the XML below its root, with forward slashes.
        filename: As written in the XML, or "".
        taken: Names of other photos (a set or mapping); the XML's own name serves then.
    """
    path = PurePosixPath(annotation)
    # Exporters on Windows write whole paths; only the last part can be of use here.
    name = PureWindowsPath(filename).name or path.stem
    photo = str(path.with_name(name))
    return str(path.with_suffix(PurePosixPath(name).suffix)) if photo in taken else photo


def _match(where: str, there: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    try:
        found = match_names(there, names).found
    except AmbiguousPhotoError as error:
        raise InputError(f"looking for photo sizes, {where}: {error}") from error
    return {
        name: there[place] for name, place in zip(names, found, strict=True) if place is not None
    }


MANIFEST = "manifest.json"
"""Beside a faces.csv: names the folder of each source."""


def find_photos(
    names: Sequence[str], ground_truth: Path, photos: Path | None = None
) -> dict[str, Path]:
    """Files of annotated photos, as far as they are found.

    Looked for in `photos` when given; else, for a faces.csv, in the folders its manifest names;
    else below the ground truth itself.

    Args:
        names: Photo names of the ground truth.
        ground_truth: What it was read from.
        photos: A folder with the photos.
    """
    table = ground_truth / FACES_FILE if ground_truth.is_dir() else ground_truth
    if photos is None and table.suffix == ".csv" and table.is_file():
        return _find_by_source(names, _read_roots(table.parent / MANIFEST))
    folder = photos or (ground_truth if ground_truth.is_dir() else ground_truth.parent)
    if not folder.is_dir():
        return {}
    files = {
        path.relative_to(folder).as_posix(): path for path in list_files(folder, PHOTO_SUFFIXES)
    }
    annotated = tuple(files)
    try:
        found = match_names(annotated, names).found
    except AmbiguousPhotoError:
        # Pictures are an extra: what can't be told apart by name is looked up by its exact path.
        return {name: files[name] for name in names if name in files}
    return {
        name: files[annotated[index]]
        for name, index in zip(names, found, strict=True)
        if index is not None
    }


def _read_roots(manifest: Path) -> dict[str, Path]:
    """Folder of each source; none without a manifest that can be read."""
    try:
        datasets = json.loads(manifest.read_text(encoding="utf-8"))["datasets"]
        return {str(entry["source"]): Path(entry["root"]) for entry in datasets}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _find_by_source(names: Sequence[str], roots: dict[str, Path]) -> dict[str, Path]:
    found = {}
    for name in names:
        source, _, image = name.partition("/")
        if source in roots and (roots[source] / image).is_file():
            found[name] = roots[source] / image
    return found
