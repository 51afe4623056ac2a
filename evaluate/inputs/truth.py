"""Annotated faces of any known format as the arrays that are measured against."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep.base.boxes import DegenerateBoxError, clip_box
from data_prep.base.labels import MASKS, Vocabulary
from data_prep.base.photo import upright_size
from data_prep.base.progress import tell
from data_prep.base.records import DOUBTS, Box, Face, Finding
from data_prep.base.tables import COLUMNS, read_faces
from data_prep.formats import label_files
from data_prep.formats.coco import read_coco
from data_prep.formats.contracts import Faults, ReadOptions
from data_prep.formats.exif_frame import fit_photo, frame_photos, refuse_doubtful, tell_frame
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import ClassNames
from data_prep.formats.photo_match import WrittenPhoto, list_dataset
from data_prep.formats.plausible import Order
from data_prep.formats.registry import read_dataset
from data_prep.formats.text import RELATIVE, TextFormat, guess_layout, read_text_boxes
from data_prep.formats.voc import read_voc_truth
from data_prep.formats.yolo import describe_unlabelled, find_landmarks, read_labels
from evaluate.arrays import GroundTruth
from evaluate.inputs.photos import SizeSource, find_photos
from evaluate.inputs.recognise import Format, read_options, recognise_truth
from evaluate.options import EvaluateOptions

DEFAULT_OPTIONS = EvaluateOptions()

FACES_COLUMNS = tuple(name for name in COLUMNS if name not in {"group", "blur", "kept", "crop"})
"""The columns of faces.csv that are read here."""

_NO_LIMIT = (2**31, 2**31)  # Stands for the size of a photo when it is unknown.

_VISIBLE = 0.1
"""Pixels: relative coordinates of few decimals reach over the border by less than this."""


def read_truth(path: Path, options: EvaluateOptions = DEFAULT_OPTIONS) -> GroundTruth:
    """Read annotated faces from a file or folder in any known format.

    A photo in a faces.csv is called `source/image`; photos without a face have no row there. Raises
    `UserError`: there is nothing that can be used, or no row of this split and source.
    """
    found, place = recognise_truth(path, options)
    if found is Format.TABLE:
        return take_faces(_choose_rows(place, options), options.vocabulary)
    if options.split is not None or options.source is not None:
        hint = f"--split and --source choose rows of a faces.csv, but these are {found}."
        raise InputError(f"{path}: {hint}")
    how = read_options(options.vocabulary)
    read = _READERS[found](place, options, how)
    read = replace(read, warnings=[*read.warnings, *how.check_labels()])
    truth = build_truth(read, options.vocabulary)
    if not read.photos:
        raise InputError(f"{path}: {next(iter(truth.warnings), 'no photo that can be used.')}")
    return truth


@dataclass(frozen=True)
class Annotations:
    """Annotated photos, with distinct names, as a reader gives them."""

    photos: Sequence[WrittenPhoto]
    findings: Sequence[Finding] = ()
    warnings: Sequence[str] = ()
    upright: bool = False  # See `GroundTruth`.
    order: Order | None = None  # As what boxes were read, where that may be doubted.


def build_truth(read: Annotations, vocabulary: Vocabulary) -> GroundTruth:
    """Make arrays of photos, boxes clipped where the size is known.

    Photos none of whose faces can be used are not those without a face: they are left out. In VOC
    files annotators reach over the border as a habit, of which nothing is said.
    """
    photos, findings = read.photos, read.findings
    if read.order is not None:
        name = photos[0].annotation if photos else Path()
        findings = [*refuse_doubtful(name, photos, read.order), *findings]
    lost = [finding.message for finding in findings if finding.dropped]
    barren = [photo for photo in photos if photo.left_out and not photo.faces]
    if barren and len(barren) == len(photos):
        raise InputError(f"{photos[0].annotation}: no face that can be used. {' '.join(lost[:3])}")
    if barren:
        lost.append(f"{barren[0].where}: none of its faces can be used.")
    photos = sorted((p for p in photos if p.faces or not p.left_out), key=attrgetter("image"))
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
    messages = list(read.warnings)
    for kind in DOUBTS:
        some = [f.message for f in findings if f.kind == kind and not f.dropped]
        more = f" And {len(some) - 1} more of this kind." if len(some) > 1 else ""
        messages += [f"{message}{more}" for message in some[:1]]
    if lost and photos and not kept and any(photo.faces for photo in photos):
        raise InputError(f"{photos[0].annotation}: no face that can be used. {' '.join(lost[:3])}")
    if clipped and read.order != "corners":
        messages.append(
            f"{tell(len(clipped), 'annotated box', 'reaches/reach')} over the border of the photo "
            f"and {'is' if len(clipped) == 1 else 'are'} clipped, the first: {clipped[0]}"
        )
    if lost:
        counted = len(lost) + max(len(barren) - 1, 0)
        what = f"files or faces that can't be used, the first: {lost[0]}"
        messages.append(f"{tell(counted, 'annotation', 'is/are')} left out, {what}")
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
        upright=read.upright,
    )


def _choose_rows(table: Path, options: EvaluateOptions) -> pd.DataFrame:
    header = table.read_bytes()[:999].split(b"\n")[0]
    if b"detection" in header and b"difficult" not in header:
        raise InputError(f"{table}: predictions; the order looks turned: annotations come first.")
    faces = read_faces(table, columns=FACES_COLUMNS, vocabulary=options.vocabulary)
    for name, wanted in (("source", options.source), ("split", options.split)):
        if wanted is not None:
            there = ", ".join(sorted(set(faces[name]) - {""})) or "none"
            faces = faces[faces[name] == wanted]
            if faces.empty:
                raise InputError(f"{table}: no rows with {name} '{wanted}'; in the file: {there}.")
    if faces.empty:
        raise InputError(f"{table}: no faces below the header; nothing to measure against.")
    return faces


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


def _read_dataset(path: Path, _: EvaluateOptions, how: ReadOptions) -> Annotations:
    """A dataset in a format that only `data_prep` tells apart, with its photos."""
    dataset = read_dataset(path, how)
    framed, findings = frame_photos(dataset.photos)
    photos = [
        WrittenPhoto(path / p.photo.annotation, p.photo.image, p.annotation, p.size, p.faces)
        for p in framed
    ]
    return Annotations(photos, [*dataset.findings, *findings])


def _read_text(path: Path, options: EvaluateOptions, how: ReadOptions) -> Annotations:
    layout = guess_layout(path, options.truth_boxes, scored=False)
    upright = layout in RELATIVE
    find = partial(SizeSource(options.size, options.photos).find, upright=upright)
    form = TextFormat(layout, find_class_names(options, [path]), how)
    return Annotations(read_text_boxes(path, form, find), upright=upright)


def find_class_names(options: EvaluateOptions, folders: Sequence[Path]) -> ClassNames:
    """Class names as given, else those found first."""
    known = read_options(options.vocabulary)
    return ClassNames.read(options.names or label_files.find_names_file(folders, known))


def _read_yolo(folder: Path, options: EvaluateOptions, how: ReadOptions) -> Annotations:
    """A YOLO dataset or part of one; photos without a label file have no face, and are counted."""
    files, pairs = label_files.list_labels(folder)
    known = SizeSource(options.size, options.photos).find(list(pairs))
    landmarks = find_landmarks(files, (path for path, _ in pairs.values() if path is not None))
    written: list[WrittenPhoto] = []
    findings: list[Finding] = []
    classes: dict[Path, ClassNames] = {}
    for name, (path, photo) in pairs.items():
        size = known.get(name) or (None if photo is None else upright_size(photo))
        if path is None:
            written.append(WrittenPhoto(folder, name, name, size, ()))
            continue
        if path.parent not in classes:
            near = label_files.find_names(files, path, how)
            above = label_files.list_names_folders(folder)
            source = options.names or near or label_files.find_names_file(above, how)
            classes[path.parent] = ClassNames.read(source)
        faults = Faults(str(path), findings=findings)
        written.append(read_labels(path, name, size, classes[path.parent], how, faults, landmarks))
    if options.names is None:
        label_files.check_names(files, classes.values(), how)
    unlabelled = [name for name, (path, _) in pairs.items() if path is None]
    warnings = [describe_unlabelled(unlabelled)] if unlabelled else []
    return Annotations(written, findings, warnings, upright=True, order="centred")


def _read_coco(path: Path, options: EvaluateOptions, how: ReadOptions) -> Annotations:
    """COCO annotations, boxes scaled where a photo that is there was resized."""
    faults = Faults(str(path))
    written = read_coco(path, faults, how)
    if not written:
        raise InputError(f"{path}: no photo in 'images' that can be used.")
    there = find_photos([photo.image for photo in written], path, options.photos)
    others = tell_frame((photo, there[photo.image]) for photo in written if photo.image in there)
    photos: dict[str, WrittenPhoto] = {}
    for photo in written:
        if photo.image in photos:
            faults.leave_out("second-id", f"{photo.where}: {photo.image} is there twice.")
            continue
        if photo.image in there:
            photo, findings = fit_photo(photo, there[photo.image], str(path), others=others)
            faults.findings += findings
            if any(finding.dropped for finding in findings):
                continue
        photos[photo.image] = replace(photo, size=photo.size or photo.file_size)
    return Annotations([*photos.values()], faults.findings, order="sized")


_READERS: Mapping[Format, Callable[[Path, EvaluateOptions, ReadOptions], Annotations]] = {
    Format.VOC: lambda path, _, how: Annotations(
        *read_voc_truth(list_dataset(path), how), order="corners"
    ),
    Format.DATASET: _read_dataset,
    Format.TEXT: _read_text,
    Format.YOLO: _read_yolo,
    Format.COCO: _read_coco,
}
