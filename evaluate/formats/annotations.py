"""Annotated faces from VOC files below a folder, with or without the photos."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from data_prep.boxes import DegenerateBoxError, clip_box
from data_prep.dataset import read_dataset
from data_prep.errors import DatasetError
from data_prep.formats.reader import Format, ReadOptions
from data_prep.labels import ALIASES, CLASSES
from data_prep.records import Face
from data_prep.voc import AnnotationError, read_voc

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
