"""Which format a file or folder of boxes is in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from data_prep.formats.class_names import CLASSES_FILE
from data_prep.formats.input_files import InputError, walk_files
from evaluate.formats.box_text import Layout, looks_like_boxes
from evaluate.formats.box_text_writer import DETECTIONS_FOLDER, TRUTH_FOLDER
from evaluate.formats.ground_truth import FACES_FILE
from evaluate.formats.yolo import is_yolo

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
