"""Ground truth and predictions of any known format, recognised by what is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from data_prep.base.labels import MASKS, Vocabulary
from data_prep.base.photo import Size
from data_prep.base.records import Box, Face
from data_prep.base.tables import read_faces
from data_prep.formats import text
from data_prep.formats.coco import COCO, read_coco_index, read_coco_results
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import (
    CLASSES_FILE,
    ClassNames,
    find_label_folders,
    find_names_file,
    is_yolo,
    list_names_folders,
)
from data_prep.formats.photo_match import WrittenPhoto, find_keys, list_dataset
from data_prep.formats.predictions import FILE
from data_prep.formats.registry import LOOKED_FOR, NothingKnownError, hint_at, recognise
from data_prep.formats.text import (
    DETECTIONS_FOLDER,
    RELATIVE,
    TRUTH_FOLDER,
    Layout,
    TextFormat,
    guess_layout,
    looks_like_boxes,
    read_text_boxes,
)
from data_prep.formats.voc import VOC, read_voc_predictions
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import (
    Placed,
    Predictions,
    build_predictions,
    place_predictions,
    read_predictions,
)
from evaluate.inputs.truth import (
    FACES_COLUMNS,
    FACES_FILE,
    NO_SIZES,
    SizeSource,
    build_truth,
    find_photos,
    read_coco_truth,
    read_dataset_truth,
    read_ground_truth,
    read_options,
    read_yolo_truth,
    take_faces,
)

_TEXTS = "a folder of text files with '{} x y width height' per line"
_EXPECTED_TRUTH = f"a faces.csv, {LOOKED_FOR}, or {_TEXTS.format('class')}"
_EXPECTED_PREDICTIONS = (
    "a table as run.py writes it (.csv), COCO results (.json), a folder of VOC XML files with "
    "scores, a folder labels/ with 'id x y width height score' per line, or "
    f"{_TEXTS.format('class score')}"
)


class Format(StrEnum):
    """The formats, by the words for them in messages."""

    TABLE = "a table"
    COCO = "COCO JSON"
    VOC = "VOC XML files"
    YOLO = "YOLO labels"
    TEXT = "text files of boxes"
    DATASET = "a dataset with its photos"


_MEASURED = {"voc": Format.VOC, "yolo": Format.YOLO, "coco": Format.COCO}
"""Datasets that are measured without their photos, too."""


def recognise_truth(
    path: Path, layout: Layout | None = None, vocabulary: Vocabulary = MASKS
) -> Format:
    """Which format annotations are in; layouts of pixels make plain text files of YOLO labels."""
    plain = layout in ("xywh", "xyxy")
    _check_path(path, {".json", ".csv", ".tsv"}, _EXPECTED_TRUTH)
    if (path / FACES_FILE).is_file() or path.suffix.lower() in {".csv", ".tsv"}:
        return Format.TABLE
    if path.is_file():
        keys = find_keys(path)
        return Format.COCO if not keys or COCO.keys <= keys else Format.DATASET
    form = None if plain else _recognise_dataset(path, vocabulary)
    if form is Format.COCO and find_coco(path) is None:
        return Format.DATASET  # Several files.
    if form is not None and form is not Format.VOC:
        return form
    hint = hint_at(list_dataset(path), ReadOptions())
    return _find_formats(path, f"{_EXPECTED_TRUTH}.{hint}", plain=plain)


def _check_path(path: Path, alone: Collection[str], expected: str) -> None:
    """Refuse what isn't there, and files that are not given alone."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give {expected}.")
    if path.is_file() and path.suffix.lower() not in alone:
        raise InputError(f"{path}: a single {path.suffix} file; give the folder it is in.")


def _recognise_dataset(path: Path, vocabulary: Vocabulary) -> Format | None:
    try:
        form = recognise(list_dataset(path), read_options(vocabulary))
    except NothingKnownError:
        return None
    return _MEASURED.get(form, Format.DATASET)


def find_coco(path: Path) -> Path | None:
    """The file of COCO annotations that is given, or the only one in a folder."""
    if path.is_file():
        return path
    found = COCO.list_files(list_dataset(path))
    return found[0] if len(found) == 1 else None


def recognise_predictions(path: Path, layout: Layout | None = None) -> Format:
    """Which format predictions are in; layouts with the score first make text of YOLO labels."""
    plain = layout in ("xywh", "xyxy", "yolo")
    _check_path(path, {".json", path.suffix.lower()} - {".xml", ".txt"}, _EXPECTED_PREDICTIONS)
    if path.is_file() or (path / FILE).is_file():
        return Format.COCO if path.suffix.lower() == ".json" else Format.TABLE
    hint = " There are JSON files: give the file itself."
    has_json = list_dataset(path).by_suffix({".json"})
    return _find_formats(path, f"{_EXPECTED_PREDICTIONS}.{hint if has_json else ''}", plain=plain)


def _find_formats(path: Path, expected: str, *, plain: bool) -> Format:
    """The format of a folder, whether with photos or without."""
    files = list_dataset(path)
    voc = VOC.recognise(files, ReadOptions())
    texts = [file for file in files.by_suffix({".txt"}) if file.name != CLASSES_FILE]
    if voc is not None:  # Others are notes and lists.
        stems = {file.stem for file in files.by_suffix({".xml"})}
        texts = [file for file in texts if file.stem in stems]
    boxes = next((file for file in texts if looks_like_boxes(file)), None)
    # Text files around YOLO's labels are notes, or the names of the classes.
    other = (Format.YOLO, path) if not plain and is_yolo(path) else (Format.TEXT, boxes)
    if voc is not None and other[1] is not None:
        raise InputError(
            f"{path}: several formats: {Format.VOC} ({voc}), {other[0]} ({other[1]}); give the "
            "folder or file of one."
        )
    if voc is not None:
        return Format.VOC
    if boxes is not None and other[0] is Format.TEXT:
        tops = {file.relative_to(path).parts[0] for file in texts if file.parent != path}
        sides = sorted(tops & {TRUTH_FOLDER, DETECTIONS_FOLDER})
        if len(sides) > 1:
            raise InputError(
                f"{path}: annotations and predictions; give {path / sides[1]} or {path / sides[0]}."
            )
    if other[1] is not None:
        return other[0]
    # Empty files are photos without a face; what else is wrong, the reader says.
    if texts and {*texts} == {*files.files}:
        return Format.TEXT
    raise InputError(f"{path}: nothing that is known here or below; expected is {expected}")


@dataclass(frozen=True)
class InputOptions:
    """What can't be told from the files.

    Layouts are those of the numbers in text files, told by them when None. `xywh` and `xyxy`, of
    predictions `yolo`, too, make plain text files of a folder `labels`.
    """

    vocabulary: Vocabulary = MASKS
    split: str | None = None  # Only rows of this split; of a faces.csv.
    source: str | None = None  # Only rows of this dataset; the same.
    truth_boxes: Layout | None = None
    predicted_boxes: Layout | None = None
    image_size: Size | None = None  # In pixels, of every photo.
    names: Path | None = None  # File of class names, for ids; see `read_class_names`.
    photos: Path | None = None  # Their folder, for sizes.
    probabilities: bool = False  # Predictions must be a table with those of the classes.


DEFAULT_OPTIONS = InputOptions()


def read_truth(path: Path, options: InputOptions = DEFAULT_OPTIONS) -> GroundTruth:
    """Read annotated faces from a file or folder in any known format."""
    vocabulary = options.vocabulary
    found = recognise_truth(path, options.truth_boxes, vocabulary)
    chosen = {"split": options.split, "source": options.source}
    if found is not Format.TABLE and chosen != {"split": None, "source": None}:
        raise InputError(
            f"{path}: --split and --source choose rows of a faces.csv, but these are {found}."
        )
    if found is Format.TABLE or found is Format.VOC:
        return read_ground_truth(path, **chosen, vocabulary=vocabulary)
    sizes = SizeSource(options.image_size, options.photos)
    if found is Format.COCO:
        return read_coco_truth(find_coco(path) or path, vocabulary, sizes)
    if found is Format.DATASET:
        return read_dataset_truth(path, vocabulary)
    if found is Format.YOLO:
        return read_yolo_truth(path, options.names, vocabulary, sizes)
    names = _find_names(options, [path])
    layout = guess_layout(path, options.truth_boxes, scored=False)
    form = TextFormat(layout, names, read_options(vocabulary))
    upright = layout in RELATIVE
    boxes = read_text_boxes(path, form, partial(sizes.find, upright=upright))
    return build_truth(boxes, vocabulary, form.options.check_labels(), upright=upright)


def read_predicted(
    path: Path,
    truth: GroundTruth,
    options: InputOptions = DEFAULT_OPTIONS,
    *,
    truth_path: Path | None = None,
) -> Placed:
    """Read predicted faces and place them on the annotated photos.

    Ids in COCO results are those of COCO annotations at `truth_path`, which `truth` is from; photo
    sizes for relative coordinates, names for class ids and photos turned by EXIF are looked up
    there when the options do not give them.
    """
    found = recognise_predictions(path, options.predicted_boxes)
    if options.probabilities and found is not Format.TABLE:
        raise InputError(
            f"{path}: class probabilities are in a table only, but these are {found}; give a table "
            "as run.py writes it, or measure by the score alone."
        )
    predictions = _read_predictions(path, found, truth, options, truth_path)
    files: Mapping[str, Path] = {}
    if predictions.turned and (truth_path is not None or options.photos is not None):
        files = find_photos(truth.photos, truth_path or path, options.photos)
    return place_predictions(predictions, truth, files)


def _read_predictions(
    path: Path, found: Format, truth: GroundTruth, options: InputOptions, truth_path: Path | None
) -> Predictions:
    vocabulary = options.vocabulary
    if found is Format.TABLE:
        table = path / FILE if path.is_dir() else path
        return read_predictions(table, probabilities=options.probabilities, vocabulary=vocabulary)
    how = read_options(vocabulary)
    if found is Format.VOC:
        return build_predictions(path, read_voc_predictions(path, how, truth.photos), how)
    truth_format = (
        None if truth_path is None else recognise_truth(truth_path, options.truth_boxes, vocabulary)
    )
    if found is Format.COCO:
        is_coco = truth_path is not None and truth_format is Format.COCO
        index = None
        if truth_path is not None and is_coco:
            index = read_coco_index(find_coco(truth_path) or truth_path)
        results = read_coco_results(path, how, index=index, photos=truth.photos)
        return build_predictions(path, results, how)
    beyond = []
    if truth_path is not None and truth_format is Format.YOLO:
        beyond = list_names_folders(truth_path)
    folder, near, asked = path, [path], options.predicted_boxes
    if found is Format.YOLO:
        folders = find_label_folders(path)
        if len(folders) != 1:
            raise InputError(
                f"{path}: {len(folders)} folders 'labels' here or below; give one of them."
            )
        folder, near, asked = folders[0], list_names_folders(path), "ultralytics"
    layout = guess_layout(folder, asked, scored=True)
    form = TextFormat(layout, _find_names(options, [*near, *beyond]), how, scored=True)
    known: Mapping[str, Size] = {}
    if layout in RELATIVE and options.image_size is None and options.photos is None:
        if truth_path is not None and truth_format is Format.TABLE:
            # Those of the photos of all splits: predictions may be on any.
            faces = read_faces(truth_path, columns=FACES_COLUMNS, vocabulary=vocabulary)
            known = _list_sizes(take_faces(faces, vocabulary))
        else:
            known = _list_sizes(truth)
    sizes = SizeSource(options.image_size, options.photos, known)
    find = sizes.find if layout in RELATIVE else NO_SIZES.find
    return build_predictions(path, read_text_boxes(folder, form, find), how)


def _find_names(options: InputOptions, folders: Sequence[Path]) -> ClassNames:
    """Class names as given, else those found first."""
    known = read_options(options.vocabulary)
    return ClassNames.read(options.names or find_names_file(folders, known))


def _list_sizes(truth: GroundTruth) -> Mapping[str, Size]:
    sizes = zip(truth.photos, map(truth.find_size, range(len(truth.photos))), strict=True)
    return {name: size for name, size in sizes if size is not None}


def write_text_boxes(truth: GroundTruth, detections: Detections, folder: Path) -> tuple[str, ...]:
    """Write both sides as text files; see `data_prep.formats.text.write_text_boxes`."""
    return text.write_text_boxes(_list_photos(truth), _list_photos(truth, detections), folder)


def _list_photos(truth: GroundTruth, detections: Detections | None = None) -> list[WrittenPhoto]:
    side = truth if detections is None else detections
    difficult = truth.difficult if detections is None else [False] * len(detections)
    rows: list[list[int]] = [[] for _ in truth.photos]
    for row, photo in enumerate(side.photo):
        rows[photo].append(row)
    return [
        WrittenPhoto(
            Path(name),
            name,
            name,
            truth.find_size(place),
            tuple(
                Face(row, truth.classes[side.labels[row]], Box(*side.boxes[row]), difficult[row])
                for row in rows[place]
            ),
            () if detections is None else tuple(detections.scores[rows[place]].tolist()),
        )
        for place, name in enumerate(truth.photos)
    ]
