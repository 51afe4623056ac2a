"""Annotated faces to measure against, from a folder of VOC files or a faces.csv."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from data_prep.base.boxes import DegenerateBoxError, clip_box
from data_prep.base.errors import DatasetError, UserError
from data_prep.base.labels import ALIASES, CLASSES, MASKS, Vocabulary
from data_prep.base.records import Box, Face
from data_prep.base.strict_csv import Table, read_table
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import read_dataset
from data_prep.formats.voc import AnnotationError, read_voc
from evaluate.arrays import GroundTruth

_NO_LIMIT = 2**31
"""Stands for the size of a photo whose annotation states none."""


@dataclass
class Annotations:
    """Faces as they are read.

    Attributes:
        faces: Faces of every photo, by the photo's name; boxes clipped where the size is known.
        left_out: A message for every file or face that can't be used.
        sizes: Width and height of every photo in pixels, NaN where the file states none.
    """

    faces: dict[str, list[Face]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, photo: str, faces: Iterable[Face], width: int | None, height: int | None) -> None:
        """Add a photo and its faces, leaving out those without a usable box."""
        kept = self.faces.setdefault(photo, [])
        self.sizes[photo] = (width or math.nan, height or math.nan)
        for face in faces:
            try:
                box, _ = clip_box(face.box, width or _NO_LIMIT, height or _NO_LIMIT)
            except DegenerateBoxError as error:
                self.left_out.append(f"{photo}: object {face.object}: {error}.")
                continue
            kept.append(Face(face.object, face.label, box, face.difficult))


def read_annotations(
    root: Path, *, aliases: Mapping[str, str] = ALIASES, classes: Sequence[str] = CLASSES
) -> Annotations:
    """Read every VOC file below a folder.

    A photo is called by its path below the folder when it is there, else by the path of the XML
    with the file name that is written in it.

    Args:
        root: An existing folder.
        aliases: Other names of classes.
        classes: The classes there are.

    Raises:
        UnknownLabelError: An annotation uses an unknown class name.
    """
    result = Annotations()
    options = ReadOptions(aliases, classes, Format.VOC)
    try:
        dataset = read_dataset(root, options)
    except DatasetError:
        # Photos or annotations are missing altogether; photos are not needed here.
        without_photo = _list_annotations(root, result)
    else:
        prefix = f"{dataset.source}/"
        missing = {finding.file for finding in dataset.findings if finding.kind == "missing-photo"}
        without_photo = sorted(file.removeprefix(prefix) for file in missing)
        result.left_out.extend(
            finding.message
            for finding in dataset.findings
            # Annotations without their photo are read below, with whatever is wrong in them.
            if finding.dropped and finding.file not in missing
        )
        for photo in dataset.photos:
            result.add(photo.image, photo.faces, photo.width, photo.height)
    for name in without_photo:
        _add_without_photo(result, root, name, options)
    return result


def _list_annotations(root: Path, result: Annotations) -> list[str]:
    """XML files below a folder; names starting with a dot are the system's, not the user's."""
    names: list[str] = []
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if name.suffix.lower() != ".xml" or any(part.startswith(".") for part in name.parts):
            continue
        if not path.is_file():
            continue
        try:
            name.as_posix().encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode(errors="replace")
            result.left_out.append(f"{shown}: the file's name is not valid UTF-8; rename it.")
            continue
        names.append(name.as_posix())
    return sorted(names)


def _add_without_photo(
    result: Annotations,
    root: Path,
    name: str,
    options: ReadOptions,
) -> None:
    shown = f"{root.resolve().name}/{name}"
    try:
        voc = read_voc(root / name, name=shown, label_of=options.label)
    except AnnotationError as error:
        result.left_out.append(str(error))
        return
    result.left_out.extend(finding.message for finding in voc.findings)
    annotation = PurePosixPath(name)
    # Exporters on Windows write whole paths; only the last part can be of use here.
    filename = PureWindowsPath(voc.filename).name or annotation.stem
    photo = str(annotation.with_name(filename))
    if photo in result.faces:
        # A name copied from another file by mistake; the XML's own name tells the photos apart.
        photo = str(annotation.with_suffix(PurePosixPath(filename).suffix))
    if photo in result.faces:
        result.left_out.append(f"{shown}: {photo} is already annotated by another file.")
        return
    result.add(photo, voc.faces, voc.width, voc.height)


FACES_FILE = "faces.csv"
"""Name of data_prep's table in its output folder."""

FACES_COLUMNS = (
    *("image", "width", "height", "object", "label", "xmin", "ymin", "xmax", "ymax"),
    *("difficult", "source", "split"),
)
"""The columns of faces.csv that are read here."""


class GroundTruthError(UserError, ValueError):
    """A ground truth that can't be used; the message says what to do."""


def read_ground_truth(
    path: Path,
    *,
    split: str | None = None,
    source: str | None = None,
    vocabulary: Vocabulary = MASKS,
) -> GroundTruth:
    """Read a folder with VOC files below it, with or without the photos, or a faces.csv.

    A folder with a faces.csv in it, as data_prep writes it, stands for that file. A photo in a
    faces.csv is called by its source and image, `source/image`. Photos without a face are known
    from VOC files only: in a faces.csv they have no row.

    Args:
        path: The folder or file.
        split: Only rows of this split; for a faces.csv.
        source: Only rows of this dataset; for a faces.csv.
        vocabulary: The classes there are.

    Raises:
        GroundTruthError: Nothing is there, or nothing that can be used, or `split` or `source`
            do not apply.
        TableError: The faces.csv is not as it should be.
        UnknownLabelError: An annotation uses an unknown class name.
    """
    if (path / FACES_FILE).is_file():
        return _read_faces(path / FACES_FILE, split, source, vocabulary)
    if path.is_dir():
        if split is not None or source is not None:
            raise GroundTruthError(
                f"{path}: --split and --source choose rows of a faces.csv, but this is a folder."
            )
        return _read_folder(path, vocabulary)
    if not path.exists():
        raise GroundTruthError(
            f"{path}: no such file or folder; give a folder of VOC XML files or a faces.csv."
        )
    if path.suffix.lower() == ".xml":
        raise GroundTruthError(f"{path}: a single XML file; give the folder it is in.")
    return _read_faces(path, split, source, vocabulary)


def _read_folder(root: Path, vocabulary: Vocabulary) -> GroundTruth:
    annotations = read_annotations(root, aliases=vocabulary.aliases, classes=vocabulary.classes)
    warnings: tuple[str, ...] = ()
    if annotations.left_out:
        warnings = (
            f"{len(annotations.left_out)} annotation files or faces can't be used and are left "
            f"out, the first: {annotations.left_out[0]}",
        )
    if not annotations.faces:
        reason = warnings[0] if warnings else "no VOC annotation (*.xml) here or below."
        raise GroundTruthError(f"{root}: {reason}")
    return _to_arrays(annotations.faces, annotations.sizes, warnings, vocabulary)


def _read_faces(
    path: Path, split: str | None, source: str | None, vocabulary: Vocabulary
) -> GroundTruth:
    table = read_table(path, FACES_COLUMNS, written_by="python -m data_prep")
    for column, wanted in (("source", source), ("split", split)):
        if wanted is not None:
            table = _only(table, column, wanted)
    if not len(table):
        raise GroundTruthError(f"{path}: no faces below the header; nothing to measure against.")
    boxes, labels, difficult = table.boxes(), table.labels(vocabulary), table.flags("difficult")
    widths, heights = table.numbers("width"), table.numbers("height")
    folders, images = table.columns["source"], table.names("image")
    faces: dict[str, list[Face]] = {}
    sizes: dict[str, tuple[float, float]] = {}
    seen: set[tuple[str, str]] = set()
    for row, number in enumerate(table.columns["object"]):
        photo = f"{folders[row]}/{images[row]}" if folders[row] else images[row]
        if (photo, number) in seen:
            raise table.error(row, f"object {number} of {photo} is there twice; remove one row.")
        seen.add((photo, number))
        try:
            box, _ = clip_box(Box(*boxes[row]), int(widths[row]), int(heights[row]))
        except DegenerateBoxError as error:
            raise table.error(row, f"{error}; correct box, width or height.") from error
        face = Face(row, vocabulary.classes[labels[row]], box, bool(difficult[row]))
        faces.setdefault(photo, []).append(face)
        sizes[photo] = (widths[row], heights[row])
    return _to_arrays(faces, sizes, (), vocabulary)


def _only(table: Table, column: str, wanted: str) -> Table:
    rows = [row for row, cell in enumerate(table.columns[column]) if cell == wanted]
    if not rows:
        there = ", ".join(sorted(set(table.columns[column]) - {""})) or "none"
        raise GroundTruthError(
            f"{table.path}: no rows with {column} '{wanted}'; in the file: {there}."
        )
    return table.select(rows)


def _to_arrays(
    faces: Mapping[str, list[Face]],
    sizes: Mapping[str, tuple[float, float]],
    warnings: tuple[str, ...],
    vocabulary: Vocabulary,
) -> GroundTruth:
    photos = tuple(sorted(faces))
    flat = [(index, face) for index, photo in enumerate(photos) for face in faces[photo]]
    return GroundTruth(
        photos=photos,
        photo=np.array([index for index, _ in flat], dtype=np.int64),
        boxes=np.array([face.box for _, face in flat], dtype=np.float64).reshape(-1, 4),
        labels=np.array([vocabulary.classes.index(face.label) for _, face in flat], dtype=np.int64),
        difficult=np.array([face.difficult for _, face in flat], dtype=np.bool_),
        warnings=warnings,
        classes=vocabulary.classes,
        sizes=np.array([sizes[photo] for photo in photos], dtype=np.float64).reshape(-1, 2),
    )
