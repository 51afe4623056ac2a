"""Ground truth and predictions of any known format, recognised by what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from data_prep.base.labels import MASKS, Vocabulary
from data_prep.base.photo import Size
from data_prep.formats.class_names import (
    CLASSES_FILE,
    ClassNames,
    find_names_file,
    read_class_names,
)
from data_prep.formats.input_files import InputError, walk_files
from evaluate.arrays import GroundTruth
from evaluate.inputs.coco import read_coco_index, read_coco_results, read_coco_truth
from evaluate.inputs.photos import SizeSource, find_photos, read_table_sizes, read_voc_sizes
from evaluate.inputs.predictions import Placed, Predictions, place_predictions, read_predictions
from evaluate.inputs.text import (
    DETECTIONS_FOLDER,
    RELATIVE,
    TRUTH_FOLDER,
    Layout,
    TextFormat,
    looks_like_boxes,
    read_text_predictions,
    read_text_truth,
)
from evaluate.inputs.truth import FACES_FILE, read_ground_truth
from evaluate.inputs.voc import read_voc_predictions
from evaluate.inputs.yolo import (
    is_yolo,
    list_names_folders,
    read_yolo_predictions,
    read_yolo_sizes,
    read_yolo_truth,
)

PREDICTIONS_FILE = "predictions.csv"
"""Name of run.py's table in its output folder."""

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


def recognise_truth(path: Path, layout: Layout | None = None) -> Format:
    """Which format annotations are in.

    Args:
        path: File or folder.
        layout: `xywh` or `xyxy` make plain text files of YOLO labels.

    Raises:
        InputError: None that is known, or several.
    """
    plain = layout in ("xywh", "xyxy")
    return _recognise(path, FACES_FILE, plain=plain, expected=_EXPECTED_TRUTH)


def recognise_predictions(path: Path, layout: Layout | None = None) -> Format:
    """Which format predictions are in.

    Args:
        path: File or folder.
        layout: `xywh`, `xyxy` or `yolo`, with the score before the box, make plain text files of
            YOLO labels.

    Raises:
        InputError: None that is known, or several.
    """
    plain = layout in ("xywh", "xyxy", "yolo")
    return _recognise(path, PREDICTIONS_FILE, plain=plain, expected=_EXPECTED_PREDICTIONS)


def _recognise(path: Path, table: str, *, plain: bool, expected: str) -> Format:
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
        vocabulary: The classes there are.
        split: Only rows of this split; of a faces.csv.
        source: Only rows of this dataset; of a faces.csv.
        truth_boxes: Layout of the numbers in text files of annotations. None: xywh, and in a YOLO
            dataset that of YOLO; `xywh` or `xyxy` make plain text files of a folder `labels`.
        predicted_boxes: The same for predictions, where `yolo` has the score before the box and
            `ultralytics` behind it, as in a folder `labels` when None.
        image_size: Width and height in pixels of every photo.
        names: File of class names, for ids; see `data_prep.formats.class_names.read_class_names`.
        photos: Folder of the photos, for their sizes.
        probabilities: A table of predictions must have the class probabilities; no other format
            has them.
    """

    vocabulary: Vocabulary = MASKS
    split: str | None = None
    source: str | None = None
    truth_boxes: Layout | None = None
    predicted_boxes: Layout | None = None
    image_size: Size | None = None
    names: Path | None = None
    photos: Path | None = None
    probabilities: bool = False


DEFAULT_OPTIONS = InputOptions()
"""The mask classes, and the usual layouts."""


def read_truth(path: Path, options: InputOptions = DEFAULT_OPTIONS) -> GroundTruth:
    """Read annotated faces.

    Args:
        path: A file or folder in one of the formats of `Format`.
        options: What can't be told from the files.

    Raises:
        UserError: Nothing is there, nothing that can be used, or several formats; the message says
            what to do.
    """
    found = recognise_truth(path, options.truth_boxes)
    if found is Format.TABLE or found is Format.VOC:
        return read_ground_truth(
            path, split=options.split, source=options.source, vocabulary=options.vocabulary
        )
    if options.split is not None or options.source is not None:
        raise InputError(
            f"{path}: --split and --source choose rows of a faces.csv, but these are {found}."
        )
    sizes = SizeSource(options.image_size, options.photos)
    if found is Format.COCO:
        return read_coco_truth(path, options.vocabulary)
    if found is Format.YOLO:
        return read_yolo_truth(path, _find_names(options, list_names_folders(path)), sizes)
    layout = options.truth_boxes or "xywh"
    return read_text_truth(path, TextFormat(layout, _find_names(options, [path]), sizes))


def read_predicted(
    path: Path,
    truth: GroundTruth,
    options: InputOptions = DEFAULT_OPTIONS,
    *,
    truth_path: Path | None = None,
) -> Placed:
    """Read predicted faces and place them on the annotated photos.

    Args:
        path: A file or folder in one of the formats of `Format`.
        truth: Annotated faces.
        options: What can't be told from the files.
        truth_path: Where `truth` is from. Ids in COCO results are those of COCO annotations there;
            photo sizes for relative coordinates, names for class ids and photos turned by EXIF are
            looked up there when the options do not give them.

    Raises:
        UserError: Nothing is there, nothing that can be used, several formats, or nothing on an
            annotated photo; the message says what to do.
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
        table = path / PREDICTIONS_FILE if path.is_dir() else path
        return read_predictions(table, probabilities=options.probabilities, vocabulary=vocabulary)
    if found is Format.VOC:
        return read_voc_predictions(path, vocabulary, photos=truth.photos)
    truth_format = None if truth_path is None else recognise_truth(truth_path, options.truth_boxes)
    if found is Format.COCO:
        index = (
            read_coco_index(truth_path)
            if truth_path is not None and truth_format is Format.COCO
            else None
        )
        return read_coco_results(path, vocabulary, index=index, photos=truth.photos)
    layout = options.predicted_boxes or "xywh"
    known: Mapping[str, Size] = {}
    if found is Format.YOLO or layout in RELATIVE:
        known = _read_known_sizes(truth_path, truth_format, options)
    sizes = SizeSource(options.image_size, options.photos, known)
    beyond = (
        list_names_folders(truth_path)
        if truth_path is not None and truth_format is Format.YOLO
        else []
    )
    if found is Format.YOLO:
        names = _find_names(options, [*list_names_folders(path), *beyond])
        return read_yolo_predictions(path, names, sizes)
    names = _find_names(options, [path, *beyond])
    return read_text_predictions(path, TextFormat(layout, names, sizes))


def _find_names(options: InputOptions, folders: Sequence[Path]) -> ClassNames:
    """Class names as given, else those found first."""
    source = options.names or find_names_file(folders)
    names = None if source is None else read_class_names(source)
    return ClassNames(options.vocabulary, names, source)


def _read_known_sizes(
    path: Path | None, found: Format | None, options: InputOptions
) -> Mapping[str, Size]:
    """Sizes that the annotations state, when the options give none."""
    if path is None or options.image_size is not None or options.photos is not None:
        return {}
    if found is Format.VOC:
        return read_voc_sizes(path, options.vocabulary)
    if found is Format.TABLE:
        return read_table_sizes(path / FACES_FILE if path.is_dir() else path)
    if found is Format.COCO:
        return read_coco_index(path).sizes
    if found is Format.YOLO:
        return read_yolo_sizes(path)
    return {}
