"""From photos as annotation files write them to the photos on disk."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from data_prep.boxes import look_relative
from data_prep.errors import DatasetError
from data_prep.formats.dataset_files import DatasetFiles
from data_prep.records import AnnotatedPhoto, Dataset, Face, Finding


@dataclass(frozen=True)
class WrittenPhoto:
    """A photo and its faces as one annotation file has them.

    Attributes:
        annotation: The file.
        image: The photo's path as written.
        where: File and line, or index, for messages.
        width, height: Stated size in pixels, or None.
        faces: The faces, boxes not yet clipped.
    """

    annotation: Path
    image: str
    where: str
    width: int | None
    height: int | None
    faces: tuple[Face, ...]


def place_photos(
    files: DatasetFiles, written: Sequence[WrittenPhoto], findings: Sequence[Finding]
) -> Dataset:
    """Make a dataset of photos that several annotation files may name.

    A photo that is not there, that can't be told from others, or that is annotated already, is
    left out with a finding.

    Args:
        files: What is in the folder.
        written: The photos; of two for one file the first counts.
        findings: What is wrong already.

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
        photos[image] = AnnotatedPhoto(
            files.source, files.root, image, relative, photo.width, photo.height, photo.faces
        )
    found.extend(files.unused_photos(photos))
    return Dataset(
        files.source, files.root, tuple(photos[image] for image in sorted(photos)), tuple(found)
    )


def match_photos(files: DatasetFiles, written: Sequence[WrittenPhoto]) -> list[list[Path]]:
    """The photos on disk that each written one may be: one as a rule, none, or several.

    In turn: one path ends with the other; the same, whatever the ending; and, only where an
    annotation file has found no photo so, the same file name or stem in any folder. Otherwise the
    folders do correspond, and an equal name in another one is another photo. Of several the one
    nearest to the annotation file counts, then the one in a folder that the file is called after
    (`train` for `instances_train.json`). Case and the form of accents matter only where they tell
    photos apart.
    """
    index = _Index(files)
    found = [index.find_by_path(photo) for photo in written]
    placed = {photo.annotation for photo, options in zip(written, found, strict=True) if options}
    return [
        index.choose(photo, options or index.find_by_name(photo))
        if options or photo.annotation not in placed
        else []
        for photo, options in zip(written, found, strict=True)
    ]


class _Index:
    """Photos by every end of their path, with the file's ending and without."""

    def __init__(self, files: DatasetFiles) -> None:
        self._files = files
        self._parts = {path: _split(files.relative(path)) for path in files.photos}
        self._by_end: dict[tuple[str, ...], list[Path]] = {}
        for path, parts in self._parts.items():
            for whole in (parts, _strip(parts)):
                for end in _ends(whole):
                    self._by_end.setdefault(end, []).append(path)

    def find_by_path(self, photo: WrittenPhoto) -> list[Path]:
        parts = _split(photo.image)
        for whole in (parts, _strip(parts)):
            options = self._by_end.get(whole, [])
            # Or the written path ends with the photo's: it starts above the dataset.
            for end in () if options else _ends(whole):
                options = [
                    path for path in self._by_end.get(end, ()) if len(self._parts[path]) == len(end)
                ]
                if options:
                    break
            if options:
                return options
        return []

    def find_by_name(self, photo: WrittenPhoto) -> list[Path]:
        parts = _split(photo.image)
        return self._by_end.get(parts[-1:]) or self._by_end.get(_strip(parts)[-1:]) or []

    def choose(self, photo: WrittenPhoto, options: list[Path]) -> list[Path]:
        if len(options) < 2:
            return options
        folder = _split(self._files.relative(photo.annotation))[:-1]
        parts = _split(photo.image)
        words = set(re.split(r"[^0-9a-z]+", photo.annotation.stem.lower()))

        written = PureWindowsPath(photo.image).parts

        def rank(path: Path) -> tuple[bool, int, bool, int]:
            there = self._parts[path]
            shared = 0
            while shared < min(len(folder), len(there) - 1) and folder[shared] == there[shared]:
                shared += 1
            alike = sum(map(str.__eq__, reversed(path.parts), reversed(written)))
            return (
                *(there in (parts, folder + parts), shared),
                *(not words.isdisjoint(there[:-1]), alike),
            )

        ranks = [rank(path) for path in options]
        best = max(ranks)
        return [path for path, value in zip(options, ranks, strict=True) if value == best]


def _split(path: str) -> tuple[str, ...]:
    """Folded parts of a path, also of one written on Windows."""
    text = unicodedata.normalize("NFC", path).lower().replace("\\", "/")
    return tuple(part for part in text.split("/") if part not in ("", ".", ".."))


def _strip(parts: tuple[str, ...]) -> tuple[str, ...]:
    return (*parts[:-1], PurePosixPath(parts[-1]).stem) if parts else parts


def _ends(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (parts[start:] for start in range(len(parts)))
