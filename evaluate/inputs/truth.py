"""Annotated faces as the arrays that are measured against, and the photos they are on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep.base.boxes import DegenerateBoxError, clip_box
from data_prep.base.labels import MASKS, Vocabulary
from data_prep.base.photo import PHOTO_SUFFIXES, Size, photo_size, upright_size
from data_prep.base.records import DOUBTS, Box, Face, Finding
from data_prep.base.tables import read_faces
from data_prep.formats.coco import read_coco
from data_prep.formats.contracts import Faults, ReadOptions
from data_prep.formats.exif_frame import fit_photo, frame_photos, refuse_doubtful
from data_prep.formats.input_files import InputError, list_files
from data_prep.formats.label_files import (
    ClassNames,
    find_landmarks,
    find_names,
    find_names_file,
    list_labels,
    list_names_folders,
)
from data_prep.formats.photo_match import (
    AmbiguousPhotoError,
    WrittenPhoto,
    list_dataset,
    match_names,
)
from data_prep.formats.plausible import Order
from data_prep.formats.registry import read_dataset
from data_prep.formats.voc import read_voc_truth
from data_prep.formats.yolo import describe_unlabelled, read_labels
from evaluate.arrays import GroundTruth

FACES_FILE = "faces.csv"
MANIFEST = "manifest.json"  # Beside a faces.csv: names the folder of each source.


@dataclass(frozen=True)
class SizeSource:
    """Where sizes of photos are looked up, in this order."""

    fixed: Size | None = None  # One for every photo.
    photos: Path | None = None  # Their folder.
    known: Mapping[str, Size] = field(default_factory=dict)  # By photo name.

    def find(self, names: Sequence[str], *, upright: bool = True) -> dict[str, Size]:
        """Sizes by photo name, of those photos whose size can be told.

        Of the upright photos, to which relative coordinates refer, or of the stored ones.

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
            files = _list_photos(self.photos)
            matched = _match(str(self.photos), list(files), names)
            measure = upright_size if upright else photo_size
            found = {name: measure(files[file]) for name, file in matched.items()}
        rest = [name for name in names if name not in found]
        matched = _match("sizes in the annotations", list(self.known), rest)
        return found | {name: self.known[key] for name, key in matched.items()}


NO_SIZES = SizeSource()


def _list_photos(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path for path in list_files(folder, PHOTO_SUFFIXES)
    }


def _match(where: str, there: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    try:
        found = match_names(there, names).found
    except AmbiguousPhotoError as error:
        raise InputError(f"looking for photo sizes, {where}: {error}") from error
    return {
        name: there[place] for name, place in zip(names, found, strict=True) if place is not None
    }


def find_photos(
    names: Sequence[str], ground_truth: Path, photos: Path | None = None
) -> dict[str, Path]:
    """Files of annotated photos by name, as far as they are found.

    Looked for in `photos` when given; else, for a faces.csv, in the folders its manifest names;
    else below the ground truth itself.
    """
    table = ground_truth / FACES_FILE if ground_truth.is_dir() else ground_truth
    if photos is None and table.suffix == ".csv" and table.is_file():
        roots = _read_roots(table.parent / MANIFEST)
        parts = ((name, *name.partition("/")[::2]) for name in names)
        places = ((name, roots[source] / image) for name, source, image in parts if source in roots)
        return {name: path for name, path in places if path.is_file()}
    folder = photos or (ground_truth if ground_truth.is_dir() else ground_truth.parent)
    if not folder.is_dir():
        return {}
    files = _list_photos(folder)
    try:
        matched = _match("", list(files), names)
    except InputError:
        # Pictures are an extra: what can't be told apart by name is looked up by its exact path.
        return {name: files[name] for name in names if name in files}
    return {name: files[file] for name, file in matched.items()}


def _read_roots(manifest: Path) -> dict[str, Path]:
    """Folder of each source; none without a manifest that can be read."""
    try:
        datasets = json.loads(manifest.read_text(encoding="utf-8"))["datasets"]
        return {str(entry["source"]): Path(entry["root"]) for entry in datasets}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


FACES_COLUMNS = (
    *("image", "width", "height", "object", "label", "xmin", "ymin", "xmax", "ymax"),
    *("difficult", "source", "split"),
)
"""The columns of faces.csv that are read here."""

_NO_LIMIT = (2**31, 2**31)  # Stands for the size of a photo when it is unknown.

_VISIBLE = 0.1
"""Pixels: relative coordinates of few decimals reach over the border by less than this."""


def read_options(vocabulary: Vocabulary) -> ReadOptions:
    """How the formats are told what classes there are."""
    return ReadOptions(vocabulary.aliases, vocabulary.classes)


def build_truth(
    photos: Sequence[WrittenPhoto],
    vocabulary: Vocabulary,
    warnings: Sequence[str] = (),
    *,
    upright: bool = False,
    findings: Sequence[Finding] = (),
    order: Order | None = None,
) -> GroundTruth:
    """Make arrays of photos with distinct names, boxes clipped where the size is known.

    Photos none of whose faces can be used are not those without a face: they are left out. As what
    boxes were read is `order`, for a doubt; in VOC files annotators reach over the border as a
    habit, of which nothing is said.
    """
    if order is not None:
        refuse_doubtful(photos[0].annotation if photos else Path(), photos, order)
    lost = [finding.message for finding in findings if finding.dropped]
    barren = [photo for photo in photos if photo.left_out and not photo.faces]
    if barren and len(barren) == len(photos):
        raise InputError(f"{photos[0].annotation}: no face that can be used. {' '.join(lost[:3])}")
    if barren:
        lost.append(f"{barren[0].where}: none of its faces can be used.")
    photos = sorted(
        (photo for photo in photos if photo.faces or not photo.left_out), key=attrgetter("image")
    )
    kept: list[tuple[int, Face]] = []
    clipped: list[str] = []
    for place, photo in enumerate(photos):
        for number, face in enumerate(photo.faces):
            where = photo.places[number] if photo.places else f"{photo.where}: object {face.object}"
            try:
                box, _ = clip_box(face.box, *(photo.size or _NO_LIMIT))
            except DegenerateBoxError as error:
                lost.append(f"{where}: {error}.")
                continue
            if any(abs(new - old) > _VISIBLE for new, old in zip(box, face.box, strict=True)):
                clipped.append(where)
            kept.append((place, replace(face, box=box)))
    messages = list(warnings)
    for kind in DOUBTS:
        some = [
            finding.message for finding in findings if finding.kind == kind and not finding.dropped
        ]
        more = f" And {len(some) - 1} more of this kind." if len(some) > 1 else ""
        messages += [f"{message}{more}" for message in some[:1]]
    if clipped and order != "corners":
        messages.append(
            f"{len(clipped)} annotated boxes reach over the border of their photo and are clipped, "
            f"the first: {clipped[0]}"
        )
    if lost:
        counted = len(lost) + max(len(barren) - 1, 0)
        messages.append(
            f"{counted} annotation files or faces can't be used and are left out, the first: "
            f"{lost[0]}"
        )
    sizes = [photo.size or (math.nan, math.nan) for photo in photos]
    index = vocabulary.classes.index
    return GroundTruth(
        photos=tuple(photo.image for photo in photos),
        photo=np.array([place for place, _ in kept], dtype=np.int64),
        boxes=np.array([face.box for _, face in kept], dtype=np.float64).reshape(-1, 4),
        labels=np.array([index(face.label) for _, face in kept], dtype=np.int64),
        difficult=np.array([face.difficult for _, face in kept], dtype=np.bool_),
        warnings=tuple(messages),
        classes=vocabulary.classes,
        sizes=np.array(sizes, dtype=np.float64).reshape(-1, 2),
        upright=upright,
    )


def read_ground_truth(
    path: Path,
    *,
    split: str | None = None,
    source: str | None = None,
    vocabulary: Vocabulary = MASKS,
) -> GroundTruth:
    """Read a folder with VOC files below it, or a faces.csv, for which its folder stands, too.

    A photo in a faces.csv is called `source/image`; photos without a face have no row there.

    Raises:
        UserError: There is nothing that can be used, or no row of this split and source.
    """
    table = path / FACES_FILE if (path / FACES_FILE).is_file() else path
    if table.is_dir():
        options = read_options(vocabulary)
        photos, findings = read_voc_truth(list_dataset(path), options)
        notes = options.check_labels()
        return build_truth(photos, vocabulary, notes, findings=findings, order="corners")
    header = table.read_bytes()[:999].split(b"\n")[0] if table.is_file() else b""
    if b"detection" in header and b"difficult" not in header:
        raise InputError(f"{table}: predictions; the order looks turned: annotations come first.")
    faces = read_faces(table, columns=FACES_COLUMNS, vocabulary=vocabulary)
    for column, wanted in (("source", source), ("split", split)):
        if wanted is not None:
            there = ", ".join(sorted(set(faces[column]) - {""})) or "none"
            faces = faces[faces[column] == wanted]
            if faces.empty:
                raise InputError(
                    f"{table}: no rows with {column} '{wanted}'; in the file: {there}."
                )
    if faces.empty:
        raise InputError(f"{table}: no faces below the header; nothing to measure against.")
    return take_faces(faces, vocabulary)


def take_faces(faces: pd.DataFrame, vocabulary: Vocabulary = MASKS) -> GroundTruth:
    """Rows of a `faces.csv` as arrays; a photo is called `source/image`."""
    names = [f"{s}/{i}" if s else i for s, i in zip(faces["source"], faces["image"], strict=True)]
    photos, photo = np.unique(np.array(names, dtype=object), return_inverse=True)
    order = np.argsort(photo, kind="stable")
    sizes = np.empty((len(photos), 2))
    sizes[photo] = faces[["width", "height"]].to_numpy(float)
    return GroundTruth(
        photos=tuple(photos.tolist()),
        photo=photo[order].astype(np.int64),
        boxes=faces[list(Box._fields)].to_numpy(float)[order],
        labels=np.array([*map(vocabulary.classes.index, faces["label"])], dtype=np.int64)[order],
        difficult=faces["difficult"].to_numpy(bool)[order],
        classes=vocabulary.classes,
        sizes=sizes,
    )


def read_dataset_truth(root: Path, vocabulary: Vocabulary) -> GroundTruth:
    """Read a dataset in a format that only `data_prep` tells apart, with its photos."""
    dataset = read_dataset(root, read_options(vocabulary))
    framed, findings = frame_photos(dataset.photos)
    photos = [
        WrittenPhoto(
            *(root / one.photo.annotation, one.photo.image, one.annotation),
            *((one.width, one.height), one.faces),
        )
        for one in framed
    ]
    return build_truth(photos, vocabulary, findings=[*dataset.findings, *findings])


def read_yolo_truth(
    folder: Path, names: Path | None, vocabulary: Vocabulary, sizes: SizeSource = NO_SIZES
) -> GroundTruth:
    """Read a YOLO dataset, or a part of one such as `valid` or `labels/val`.

    Photos without a label file are photos without a face; a warning counts them.
    """
    files, pairs = list_labels(folder)
    known = sizes.find(list(pairs))
    options = read_options(vocabulary)
    landmarks = find_landmarks(path for path, _ in pairs.values() if path is not None)
    written: list[WrittenPhoto] = []
    findings: list[Finding] = []
    classes: dict[Path, ClassNames] = {}
    for name, (path, photo) in pairs.items():
        if path is not None and path.parent not in classes:
            near = find_names(files, path, options)
            source = names or near or find_names_file(list_names_folders(folder), options)
            classes[path.parent] = ClassNames.read(source)
        size = known.get(name) or (None if photo is None else upright_size(photo))
        if path is None:
            written.append(WrittenPhoto(folder, name, name, size, ()))
        else:
            faults = Faults(str(path), findings=findings)
            written.append(
                read_labels(path, name, size, classes[path.parent], options, faults, landmarks)
            )
    unlabelled = [name for name, (path, _) in pairs.items() if path is None]
    warnings = [describe_unlabelled(unlabelled)] if unlabelled else []
    warnings += options.check_labels()
    return build_truth(
        written, vocabulary, warnings, upright=True, findings=findings, order="centred"
    )


def read_coco_truth(path: Path, vocabulary: Vocabulary, files: SizeSource) -> GroundTruth:
    """Read COCO annotations, boxes scaled where a photo that is there was resized."""
    faults, options = Faults(str(path)), read_options(vocabulary)
    written = read_coco(path, faults, options)
    notes = options.check_labels()
    if not written:
        raise InputError(f"{path}: no photo in 'images' that can be used.")
    there = find_photos([photo.image for photo in written], path, files.photos)
    photos: dict[str, WrittenPhoto] = {}
    for photo in written:
        if photo.image in photos:
            faults.leave_out("second-id", f"{photo.where}: {photo.image} is there twice.")
            continue
        if photo.image in there:
            photo, findings = fit_photo(photo, there[photo.image], str(path))
            faults.findings += findings
            if any(finding.dropped for finding in findings):
                continue
        photos[photo.image] = replace(photo, size=photo.size or photo.file_size)
    found = faults.findings
    return build_truth([*photos.values()], vocabulary, notes, findings=found, order="sized")
