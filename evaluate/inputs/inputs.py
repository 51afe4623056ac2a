"""Ground truth and predictions of any known format, recognised by what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from data_prep.base.errors import DatasetError
from data_prep.base.labels import MASKS, Vocabulary
from data_prep.base.photo import Size
from data_prep.base.records import Box, Face
from data_prep.base.tables import read_faces
from data_prep.formats import text
from data_prep.formats.coco import read_coco, read_coco_index, read_coco_results
from data_prep.formats.contracts import Faults, ReadOptions
from data_prep.formats.input_files import InputError, walk_files
from data_prep.formats.label_files import (
    CLASSES_FILE,
    ClassNames,
    find_label_folders,
    find_names_file,
    is_yolo,
    list_names_folders,
)
from data_prep.formats.photo_match import WrittenPhoto, list_dataset
from data_prep.formats.predictions import FILE
from data_prep.formats.registry import recognise
from data_prep.formats.text import (
    DETECTIONS_FOLDER,
    RELATIVE,
    TRUTH_FOLDER,
    Layout,
    TextFormat,
    looks_like_boxes,
    read_text_boxes,
)
from data_prep.formats.voc import read_voc_predictions
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
    read_dataset_truth,
    read_ground_truth,
    read_options,
    read_yolo_truth,
    take_faces,
)

_EXPECTED_TRUTH = (
    "a folder of VOC XML files, a faces.csv, COCO annotations (.json), a YOLO dataset (labels/ "
    "beside images/), or a folder of text files with 'class x y width height' per line"
)
_EXPECTED_PREDICTIONS = (
    "a table as run.py writes it (.csv), COCO results (.json), a folder of VOC XML files with "
    "scores, a folder labels/ with 'id x y width height score' per line, or a folder of text files "
    "with 'class score x y width height' per line"
)


class Format(StrEnum):
    """The formats, by the words for them in messages."""

    TABLE = "a table"
    COCO = "COCO JSON"
    VOC = "VOC XML files"
    YOLO = "YOLO labels"
    TEXT = "text files of boxes"
    DATASET = "a dataset with its photos"


def recognise_truth(path: Path, layout: Layout | None = None) -> Format:
    """Which format annotations are in; layouts of pixels make plain text files of YOLO labels."""
    plain = layout in ("xywh", "xyxy")
    return _recognise(path, FACES_FILE, plain=plain, expected=_EXPECTED_TRUTH, datasets=True)


def recognise_predictions(path: Path, layout: Layout | None = None) -> Format:
    """Which format predictions are in; layouts with the score first make text of YOLO labels."""
    plain = layout in ("xywh", "xyxy", "yolo")
    return _recognise(path, FILE, plain=plain, expected=_EXPECTED_PREDICTIONS)


def _recognise(
    path: Path, table: str, *, plain: bool, expected: str, datasets: bool = False
) -> Format:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give {expected}.")
    if not path.is_dir():
        if path.suffix.lower() == ".json":
            return Format.COCO
        if path.suffix.lower() in {".xml", ".txt"}:
            raise InputError(f"{path}: a single {path.suffix} file; give the folder it is in.")
        return Format.TABLE
    if (path / table).is_file():
        return Format.TABLE
    files = walk_files(path)
    found = _find_formats(path, files, plain=plain)
    if len(found) > 1:
        places = ", ".join(f"{name} ({example})" for name, example in found.items())
        raise InputError(f"{path}: several formats: {places}; give the folder or file of one.")
    if found:
        return next(iter(found))
    with suppress(DatasetError):
        # COCO's JSON is told apart by its ids, which need the file itself.
        if datasets and recognise(list_dataset(path), ReadOptions()) != "coco":
            return Format.DATASET
    if any(file.suffix.lower() == ".json" for file in files):
        raise InputError(f"{path}: no boxes but JSON files; give the file itself.")
    raise InputError(f"{path}: nothing that is known here or below; expected is {expected}.")


def _find_formats(path: Path, files: list[Path], *, plain: bool) -> dict[Format, Path]:
    """Formats in a folder, each with a file or folder of it."""
    found: dict[Format, Path] = {}
    annotations = [file for file in files if file.suffix.lower() == ".xml"]
    if annotations:
        found[Format.VOC] = annotations[0]
    if not plain and is_yolo(path):
        # Text files around the labels are notes, or the names of the classes.
        found[Format.YOLO] = path
        return found
    texts = [file for file in files if file.suffix.lower() == ".txt" and file.name != CLASSES_FILE]
    boxes = next((file for file in texts if looks_like_boxes(file)), None)
    if boxes is not None:
        found[Format.TEXT] = boxes
        tops = {file.relative_to(path).parts[0] for file in texts if file.parent != path}
        sides = sorted(tops & {TRUTH_FOLDER, DETECTIONS_FOLDER})
        if len(sides) > 1:
            raise InputError(
                f"{path}: annotations and predictions; give {path / sides[1]} or {path / sides[0]}."
            )
    elif texts and not found:
        # Empty files are photos without a face; what else is wrong, the reader says.
        found[Format.TEXT] = texts[0]
    return found


@dataclass(frozen=True)
class InputOptions:
    """What can't be told from the files.

    Attributes:
        truth_boxes: Layout of the numbers in text files of annotations. None: xywh, and in a YOLO
            dataset that of YOLO; `xywh` or `xyxy` make plain text files of a folder `labels`.
        predicted_boxes: The same for predictions, where `yolo` has the score before the box and
            `ultralytics` behind it, as in a folder `labels` when None.
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
    found, vocabulary = recognise_truth(path, options.truth_boxes), options.vocabulary
    chosen = {"split": options.split, "source": options.source}
    if found is not Format.TABLE and chosen != {"split": None, "source": None}:
        raise InputError(
            f"{path}: --split and --source choose rows of a faces.csv, but these are {found}."
        )
    if found is Format.TABLE or found is Format.VOC:
        return read_ground_truth(path, **chosen, vocabulary=vocabulary)
    sizes = SizeSource(options.image_size, options.photos)
    if found is Format.COCO:
        faults = Faults(str(path), strict=True)
        return build_truth(read_coco(path, faults, read_options(vocabulary)), vocabulary)
    if found is Format.DATASET:
        return read_dataset_truth(path, vocabulary)
    if found is Format.YOLO:
        names = _find_names(options, list_names_folders(path))
        return read_yolo_truth(path, names, vocabulary, sizes)
    names = _find_names(options, [path])
    form = TextFormat(options.truth_boxes or "xywh", names, read_options(vocabulary))
    upright = form.layout in RELATIVE
    boxes = read_text_boxes(path, form, partial(sizes.find, upright=upright))
    return build_truth(boxes, vocabulary, upright=upright)


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
    path: Path,
    found: Format,
    truth: GroundTruth,
    options: InputOptions,
    truth_path: Path | None,
) -> Predictions:
    vocabulary = options.vocabulary
    if found is Format.TABLE:
        table = path / FILE if path.is_dir() else path
        return read_predictions(table, probabilities=options.probabilities, vocabulary=vocabulary)
    how = read_options(vocabulary)
    if found is Format.VOC:
        return build_predictions(path, read_voc_predictions(path, how, truth.photos), vocabulary)
    truth_format = None if truth_path is None else recognise_truth(truth_path, options.truth_boxes)
    if found is Format.COCO:
        is_coco = truth_path is not None and truth_format is Format.COCO
        index = read_coco_index(truth_path) if truth_path is not None and is_coco else None
        results = read_coco_results(path, how, index=index, photos=truth.photos)
        return build_predictions(path, results, vocabulary)
    beyond = []
    if truth_path is not None and truth_format is Format.YOLO:
        beyond = list_names_folders(truth_path)
    folder, near, layout = path, [path], options.predicted_boxes or "xywh"
    if found is Format.YOLO:
        folders = find_label_folders(path)
        if len(folders) != 1:
            raise InputError(
                f"{path}: {len(folders)} folders 'labels' here or below; give one of them."
            )
        folder, near, layout = folders[0], list_names_folders(path), "ultralytics"
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
    return build_predictions(path, read_text_boxes(folder, form, find), vocabulary)


def _find_names(options: InputOptions, folders: Sequence[Path]) -> ClassNames:
    """Class names as given, else those found first."""
    return ClassNames.read(options.names or find_names_file(folders))


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
