"""Which format annotations and predictions are in, by what is there."""

from collections.abc import Callable, Collection
from enum import StrEnum
from functools import partial
from pathlib import Path

from data_prep.base.labels import Vocabulary
from data_prep.formats.coco import COCO
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.input_files import InputError, read_start
from data_prep.formats.label_files import CLASSES_FILE, is_yolo
from data_prep.formats.photo_match import find_keys, list_dataset
from data_prep.formats.predictions import FILE
from data_prep.formats.registry import LOOKED_FOR, NothingKnownError, hint_at, recognise
from data_prep.formats.text import DETECTIONS_FOLDER, TRUTH_FOLDER, looks_like_boxes
from data_prep.formats.voc import VOC
from evaluate.inputs.photos import FACES_FILE
from evaluate.options import EvaluateOptions

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


def read_options(vocabulary: Vocabulary) -> ReadOptions:
    """How the formats are told what classes there are."""
    return ReadOptions(vocabulary.aliases, vocabulary.classes)


def recognise_truth(path: Path, options: EvaluateOptions) -> tuple[Format, Path]:
    """Which format annotations are in, and the file or folder that has them.

    Layouts of pixels make plain text files of YOLO labels.
    """
    plain = options.truth_boxes in ("xywh", "xyxy")
    _check_path(path, {".json", ".csv", ".tsv"}, _EXPECTED_TRUTH)
    if (path / FACES_FILE).is_file():
        return Format.TABLE, path / FACES_FILE
    if path.suffix.lower() in {".csv", ".tsv"}:
        header = {*max(read_start(path).values(), key=len, default=())}
        is_own = {"object", "source", "split"} <= header or "detection" in header
        return Format.TABLE if path.name == FACES_FILE or is_own else Format.DATASET, path
    if path.is_file():
        keys = find_keys(path)
        return Format.COCO if not keys or COCO.keys <= keys else Format.DATASET, path
    files = list_dataset(path)
    if not plain:
        try:
            found = recognise(files, read_options(options.vocabulary))
        except NothingKnownError:
            found = None
        own = COCO.list_files(files) if found == "coco" else []
        form = None if found is None else _MEASURED.get(found, Format.DATASET)
        if form is Format.COCO:
            return (Format.DATASET, path) if len(own) > 1 else (form, own[0])
        if form is not None and form is not Format.VOC:
            return form, path
    hint = partial(hint_at, files, ReadOptions())
    return _find_formats(path, _EXPECTED_TRUTH, hint, plain=plain), path


def recognise_predictions(path: Path, options: EvaluateOptions) -> tuple[Format, Path]:
    """Which format predictions are in, and the file or folder that has them.

    Layouts with the score first make text of YOLO labels.
    """
    plain = options.pred_boxes in ("xywh", "xyxy", "yolo")
    _check_path(path, {".json", path.suffix.lower()} - {".xml", ".txt"}, _EXPECTED_PREDICTIONS)
    if path.is_file():
        return Format.COCO if path.suffix.lower() == ".json" else Format.TABLE, path
    if (path / FILE).is_file():
        return Format.TABLE, path / FILE
    has_json = list_dataset(path).by_suffix({".json"})
    hint = " There are JSON files: give the file itself." if has_json else ""
    return _find_formats(path, _EXPECTED_PREDICTIONS, lambda: hint, plain=plain), path


def _check_path(path: Path, alone: Collection[str], expected: str) -> None:
    """Refuse what isn't there, and files that are not given alone."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give {expected}.")
    if path.is_file() and path.suffix.lower() not in alone:
        raise InputError(f"{path}: a single {path.suffix} file; give the folder it is in.")


def _find_formats(path: Path, expected: str, hint: Callable[[], str], *, plain: bool) -> Format:
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
        why = f"{Format.VOC} ({voc}), {other[0]} ({other[1]}); give the folder or file of one."
        raise InputError(f"{path}: several formats: {why}")
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
    expected = f"{expected}.{hint()}"
    raise InputError(f"{path}: nothing that is known here or below; expected is {expected}")
