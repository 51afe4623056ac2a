"""Boxes to text files, one file per photo, that other tools for average precision read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path, PurePosixPath

from data_prep.files import write_atomically
from data_prep.formats.class_names import CLASSES_FILE
from data_prep.photo import PHOTO_SUFFIXES
from evaluate.formats.box_text import EXACT
from evaluate.records import Detections, FloatArray, GroundTruth

TRUTH_FOLDER = "groundtruths"
"""Folder of the annotations, one file per photo."""

DETECTIONS_FOLDER = "detections"
"""Folder of the predictions, one file per photo."""

_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
"""Characters that some system does not allow in file names."""


def write_text_boxes(truth: GroundTruth, detections: Detections, folder: Path) -> tuple[str, ...]:
    """Write annotations and predictions as Padilla's Object-Detection-Metrics reads them unasked.

    `groundtruths/NAME.txt` holds lines `class x y width height`, `detections/NAME.txt` lines
    `class score x y width height`, NAME being the photo's. The numbers are absolute pixels: top
    left corner, and width and height as `xmax - xmin` and `ymax - ymin` of the far edges. That
    tool makes the far edge x + width again but counts both edge pixels in areas, so its figures
    are those with `inclusive` here. All digits are written, and `read_text_truth` and
    `read_text_predictions` get back the very same boxes and scores. The score is the one of the
    class; the detector's own and class probabilities have no place in the format.

    Blanks in class names become underscores. Photos in folders get one flat name each; the names
    may sort differently, which matters to the rank of equal scores only. A photo without a box
    gets an empty file. Files of these names are overwritten one by one, all others stay, so a
    folder for other photos should be a new one.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth`.
        folder: Gets the two folders; made when missing.

    Returns:
        Warnings about what the format can't hold.

    Raises:
        OutputError: A file can't be written.
    """
    names = flatten_names(truth.photos)
    called = ["_".join(name.split()) for name in truth.classes]
    annotated: list[list[str]] = [[] for _ in names]
    for photo, label, box in zip(truth.photo, truth.labels, truth.boxes, strict=True):
        annotated[photo].append(f"{called[label]} {_describe(box)}\n")
    predicted: list[list[str]] = [[] for _ in names]
    rows = zip(
        detections.photo, detections.labels, detections.scores, detections.boxes, strict=True
    )
    for photo, label, score, box in rows:
        predicted[photo].append(f"{called[label]} {float(score)!r} {_describe(box)}\n")
    for side, lines in ((TRUTH_FOLDER, annotated), (DETECTIONS_FOLDER, predicted)):
        for name, text in zip(names, lines, strict=True):
            write_atomically(folder / side / f"{name}.txt", "".join(text))
    difficult = int(truth.difficult.sum())
    if not difficult:
        return ()
    return (
        f"{difficult} difficult faces are written like all others, since the text format can't "
        "mark them: figures computed from these files count them.",
    )


def flatten_names(photos: Sequence[str]) -> tuple[str, ...]:
    """File names without ending for photos in folders, one each, whatever the case.

    >>> flatten_names(["a/1.jpg", "a/1.png", "b/1.jpg"])
    ('a_1', 'a_1-2', 'b_1')
    """
    # A file of class names would be taken for it, not for a photo's.
    taken = {Path(CLASSES_FILE).stem}
    names = []
    for photo in photos:
        path = PurePosixPath(photo.replace("\\", "/").lstrip("/"))
        bare = path.with_suffix("") if path.suffix.lower() in PHOTO_SUFFIXES else path
        flat = _NOT_IN_NAMES.sub("_", str(bare))
        # A leading dot hides a file.
        flat = f"_{flat}" if flat.startswith(".") else flat
        name, number = flat, 1
        while name.casefold() in taken:
            number += 1
            name = f"{flat}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)


def _describe(box: FloatArray) -> str:
    """Top left corner, width and height in decimals that add up to the far edges exactly."""
    xmin, ymin, xmax, ymax = (Decimal(repr(float(value))) for value in box)
    sides = (EXACT.subtract(xmax, xmin), EXACT.subtract(ymax, ymin))
    return " ".join(_show(value) for value in (xmin, ymin, *sides))


def _show(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
