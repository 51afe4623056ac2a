"""A folder of photos and VOC files: which photo belongs to which annotation."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from data_prep.errors import UserError
from data_prep.labels import ALIASES, CLASSES
from data_prep.photo import PHOTO_SUFFIXES
from data_prep.records import AnnotatedPhoto, Finding
from data_prep.voc import AnnotationError, read_voc


class DatasetError(UserError, ValueError):
    """A folder that can't be used as a dataset; the message says what to do."""


@dataclass(frozen=True)
class Dataset:
    """What was found in one dataset folder, sorted by photo.

    Attributes:
        source: Its name: the folder's name.
        root: The folder.
        photos: Photos with their annotated faces.
        findings: Files and objects that were left out or are doubtful, with reasons.
    """

    source: str
    root: Path
    photos: tuple[AnnotatedPhoto, ...]
    findings: tuple[Finding, ...]


def read_datasets(roots: Sequence[Path], *, aliases: Mapping[str, str] = ALIASES) -> list[Dataset]:
    """Read several dataset folders whose names become the sources.

    Raises:
        DatasetError: A folder is missing or empty, or two folders share a name.
        UnknownLabelError: An annotation uses an unknown class name.
    """
    sources = [root.resolve().name for root in roots]
    for source in sources:
        if sources.count(source) > 1:
            raise DatasetError(
                f"two datasets are called '{source}': rename one folder, or link it under another "
                "name, since (source, image, object) is the key of a face."
            )
    return [read_dataset(root, aliases=aliases) for root in roots]


def read_dataset(
    root: Path, *, aliases: Mapping[str, str] = ALIASES, classes: Sequence[str] = CLASSES
) -> Dataset:
    """Read every VOC file below a folder and find its photo.

    A photo is found by the `<filename>` in the XML, else by that name's stem, else by the XML's
    own stem; anywhere below the folder.

    Raises:
        DatasetError: The folder is missing, or holds no annotation or no photo.
        UnknownLabelError: An annotation uses an unknown class name; reading stops there, since
            leaving such faces out would quietly change the data.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder.")
    source = root.resolve().name
    findings: list[Finding] = []
    files: list[Path] = []
    for path in sorted(_walk(root)):
        if _is_writable_as_text(path.relative_to(root)):
            files.append(path)
        elif path.suffix.lower() in {".xml", *PHOTO_SUFFIXES}:
            name = f"{source}/" + os.fsencode(path.relative_to(root)).decode(errors="replace")
            message = f"{name}: the file's name is not valid UTF-8; rename it."
            findings.append(Finding(name, "bad-name", message, dropped=True))
    annotations = [file for file in files if file.suffix.lower() == ".xml"]
    finder = _PhotoFinder(root, [file for file in files if file.suffix.lower() in PHOTO_SUFFIXES])
    if not annotations or not finder.photos:
        missing = "VOC annotation (*.xml)" if not annotations else "photo"
        raise DatasetError(f"{root}: no {missing} in this folder or below it.")
    photos: dict[str, AnnotatedPhoto] = {}
    for path in annotations:
        relative = path.relative_to(root).as_posix()
        name = f"{source}/{relative}"
        try:
            voc = read_voc(path, name=name, aliases=aliases, classes=classes)
        except AnnotationError as error:
            findings.append(Finding(name, "broken-xml", str(error), dropped=True))
            continue
        findings.extend(voc.findings)
        photo = finder.find(path, voc.filename)
        if photo is None:
            message = f"{name}: its photo '{voc.filename or path.stem}' is not in the folder."
            findings.append(Finding(name, "missing-photo", message, dropped=True))
            continue
        image = photo.relative_to(root).as_posix()
        if image in photos:
            message = f"{name}: {image} is already annotated by {photos[image].annotation}."
            findings.append(Finding(name, "second-annotation", message, dropped=True))
            continue
        photos[image] = AnnotatedPhoto(
            source, root, image, relative, voc.width, voc.height, voc.faces
        )
    for photo in finder.photos:
        image = photo.relative_to(root).as_posix()
        if image not in photos:
            name = f"{source}/{image}"
            message = f"{name}: no annotation names this photo; it is not used."
            # A note, no fault: folders often hold photos that nobody has annotated yet.
            findings.append(Finding(name, "photo-without-annotation", message, dropped=False))
    return Dataset(source, root, tuple(photos[image] for image in sorted(photos)), tuple(findings))


def _walk(root: Path) -> Iterator[Path]:
    """Files below a folder; names starting with a dot are the system's, not the user's."""
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and path.is_file():
            yield path


def _is_writable_as_text(path: Path) -> bool:
    """Whether a table can hold the name; names from old archives may be in another encoding."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _fold(name: str) -> str:
    """One form of a name, whatever its case and however the system composes its accents."""
    return unicodedata.normalize("NFC", name).lower()


class _PhotoFinder:
    """Finds photos by name, then by stem; of several, the one nearest to the annotation."""

    def __init__(self, root: Path, photos: Sequence[Path]) -> None:
        self.photos = photos
        self._root = root
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for photo in photos:
            self._by_name.setdefault(_fold(photo.name), []).append(photo)
            self._by_stem.setdefault(_fold(photo.stem), []).append(photo)

    def find(self, annotation: Path, filename: str) -> Path | None:
        # Exporters on Windows write whole paths; only the last part can be of use here.
        name = _fold(PureWindowsPath(filename).name)
        candidates = (
            self._by_name.get(name)
            or self._by_stem.get(PureWindowsPath(name).stem)
            or self._by_stem.get(_fold(annotation.stem))
        )
        if not candidates:
            return None
        own_stem = [photo for photo in candidates if photo.stem == annotation.stem]
        return min(own_stem or candidates, key=lambda photo: (len(photo.parts), photo))
