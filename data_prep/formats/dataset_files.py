"""The files of a dataset folder, listed once for all readers, and photos found by name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PureWindowsPath

from data_prep.errors import DatasetError
from data_prep.formats.input_files import is_text, walk_files
from data_prep.photo import PHOTO_SUFFIXES
from data_prep.records import Finding


@dataclass(frozen=True)
class DatasetFiles:
    """Files below a dataset's folder.

    Attributes:
        source: Name of the dataset: the folder's name.
        root: The folder.
        files: Sorted; names starting with a dot are the system's, not the user's, and left out.
        findings: Files whose names can't be written in UTF-8.
    """

    source: str
    root: Path
    files: tuple[Path, ...]
    findings: tuple[Finding, ...]

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
        """A note, no fault, for photos that nobody has annotated yet, as folders often hold.

        Args:
            used: Photos in use, relative to the root.
        """
        names = [self.call(path) for path in self.photos if self.relative(path) not in used]
        return [
            Finding(
                name,
                "photo-without-annotation",
                f"{name}: no annotation names this photo; it is not used.",
                dropped=False,
            )
            for name in names
        ]


ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
"""Endings of files that have to be unpacked first."""

ANNOTATIONS = frozenset({".xml", ".txt", ".json", ".csv", ".tsv", ".yaml", ".yml"})
"""Endings of files that may tell of faces."""

_ALONE = frozenset({".json", ".csv", ".tsv"})
"""Endings of files that annotate many photos and can be given instead of their folder."""


def list_dataset(root: Path) -> DatasetFiles:
    """List the files below a dataset's folder.

    Args:
        root: The folder; or one table or JSON file in it, and the other annotations are not there.

    Raises:
        DatasetError: The folder is missing, or is a file that can't stand for it.
    """
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
    """The folder of a dataset that is given as one of its files, or the folder itself.

    Raises:
        DatasetError: It is a file that can't stand for its folder.
    """
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
    for path in walk_files(root, lambda error: findings.append(_describe_unread(source, error))):
        if is_text(str(path.relative_to(root))):
            files.append(path)
        elif path.suffix.lower() in ANNOTATIONS | PHOTO_SUFFIXES:
            name = f"{source}/" + os.fsencode(path.relative_to(root)).decode(errors="replace")
            message = f"{name}: the file's name is not valid UTF-8; rename it."
            findings.append(Finding(name, "bad-name", message, dropped=True))
    return DatasetFiles(source, root, tuple(files), tuple(findings))


class PhotoFinder:
    """Finds photos by name, then by stem.

    Of several, the one whose folders are those written before the name, if any are; then the one
    with the name's case; then the one nearest to the annotation, as where parts of a dataset
    number their photos alike; then the one with the annotation's stem; then the one with the
    shortest path.
    """

    def __init__(self, photos: Sequence[Path]) -> None:
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for photo in photos:
            self._by_name.setdefault(_fold(photo.name), []).append(photo)
            self._by_stem.setdefault(_fold(photo.stem), []).append(photo)

    def find(self, annotation: Path, filename: str) -> Path | None:
        """The photo that an annotation file of its own is about.

        Args:
            annotation: The file; its stem is looked for last.
            filename: The photo as written in it, or "".
        """
        # Exporters on Windows write whole paths; only the last part can be of use here.
        written = PureWindowsPath(filename).name
        name = _fold(written)
        candidates = (
            self._by_name.get(name)
            or self._by_stem.get(PureWindowsPath(name).stem)
            or self._by_stem.get(_fold(annotation.stem))
        )
        if not candidates:
            return None

        def rank(photo: Path) -> tuple[int | bool, ...]:
            return (
                -_count_shared_ends(photo, filename),
                photo.name != written,
                -len(Path(os.path.commonpath([photo.parent, annotation.parent])).parts),
                photo.stem != annotation.stem,
                len(photo.parts),
            )

        return min(candidates, key=lambda photo: (rank(photo), photo))


def _describe_unread(source: str, error: OSError) -> Finding:
    name = os.fsencode(error.filename).decode(errors="replace")
    message = f"{name}: the folder can't be read ({error.strerror}); what is in it is left out."
    return Finding(source, "unreadable-folder", message, dropped=True)


def _count_shared_ends(photo: Path, written: str) -> int:
    """How many parts, from the last on, a photo's path and one written elsewhere have alike."""
    count = 0
    parts = zip(reversed(photo.parts), reversed(PureWindowsPath(written).parts), strict=False)
    for one, other in parts:
        if _fold(one) != _fold(other):
            break
        count += 1
    return count


def _fold(name: str) -> str:
    """One form of a name, whatever its case and however the system composes its accents."""
    return unicodedata.normalize("NFC", name).lower()
