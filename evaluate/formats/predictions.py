"""The table of predicted faces, and its place among the annotated photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.labels import MASKS, Vocabulary
from data_prep.records import Box
from data_prep.turns import ORIENTATIONS, UPRIGHT
from evaluate.formats.doubts import find_doubts
from evaluate.formats.frames import turn_detections_back
from evaluate.formats.photo_names import match_names
from evaluate.formats.table import Table, TableError, read_table
from evaluate.records import Detections, GroundTruth, IntArray

PREDICTION_COLUMNS = ("image", *Box._fields, "label", "score", "detection")
"""Columns that must be there."""

ORIENTATION = "orientation"
"""Column of the EXIF orientation that the photo was turned upright by; 1 for all without it."""


@dataclass(frozen=True)
class Predictions:
    """A table of predictions.

    Attributes:
        path: The file.
        images: Distinct photo names in order of appearance.
        detections: The rows; `photo` is an index into `images`.
        warnings: What is doubtful about the table, for a person.
        orientation: EXIF orientation by which the photo of each row was turned upright before boxes
            were found; None when boxes are in the frame of the annotations.
    """

    path: Path
    images: tuple[str, ...]
    detections: Detections
    warnings: tuple[str, ...] = ()
    orientation: IntArray | None = None

    @property
    def turned(self) -> bool:
        """Whether any box has to be turned back, for which sizes or files of photos are needed."""
        return self.orientation is not None and bool((self.orientation != UPRIGHT).any())


@dataclass(frozen=True)
class Placed:
    """Predictions on annotated photos.

    Attributes:
        detections: Rows on annotated photos, sorted by photo and then as in the table; `photo` is
            an index into the photos of the ground truth.
        left_out: Number of rows on other photos.
        warnings: What was left out or is doubtful, for a person.
    """

    detections: Detections
    left_out: int
    warnings: tuple[str, ...]


def read_predictions(
    path: Path, *, probabilities: bool = False, vocabulary: Vocabulary = MASKS
) -> Predictions:
    """Read a table as `run.py` writes it; a header without rows is a table without faces.

    Args:
        path: The CSV file.
        probabilities: The columns of class probabilities, `p_` and the class, must be there.
        vocabulary: The classes there are.

    Raises:
        TableError: The table is not as it should be; the message names file and line.
    """
    columns = [f"p_{name}" for name in vocabulary.classes]
    required = [*PREDICTION_COLUMNS, *(columns if probabilities else ())]
    table = read_table(path, required, written_by="run.py")
    there = [name for name in columns if name in table.columns]
    if there and len(there) < len(columns):
        missing = sorted(set(columns) - set(there))
        raise TableError(
            f"{path}, line 1: {', '.join(there)} but no {', '.join(missing)}; write all of these "
            "columns or none."
        )
    names = table.names("image")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    detections = Detections(
        photo=np.array([numbers[name] for name in names], dtype=np.int64),
        boxes=table.boxes(),
        labels=table.labels(vocabulary),
        scores=table.fractions("score"),
        detection=table.fractions("detection"),
        probabilities=np.stack([table.fractions(name) for name in there], axis=1)
        if there
        else None,
    )
    orientation = _read_orientation(table) if ORIENTATION in table.columns else None
    return Predictions(path, tuple(numbers), detections, orientation=orientation)


def _read_orientation(table: Table) -> IntArray:
    values = table.numbers(ORIENTATION)
    for row, value in enumerate(values):
        if value not in ORIENTATIONS:
            raise table.error(
                row, f"{ORIENTATION} is {value:g}; EXIF knows 1 (stored upright) to 8."
            )
    return values.astype(np.int64)


def place_predictions(
    predictions: Predictions, truth: GroundTruth, files: Mapping[str, Path] | None = None
) -> Placed:
    """Keep the rows on annotated photos, in the frame of the annotations, and sort them by photo.

    Args:
        predictions: As read.
        truth: Annotated faces.
        files: Photos by name; tell in doubt which frame the annotations of turned photos are in.

    Raises:
        AmbiguousPhotoError: A photo name fits several photos.
        TableError: There are predictions, but none on an annotated photo.
    """
    match = match_names(truth.photos, predictions.images)
    rows = predictions.detections
    # -1 for photos that are not annotated; the empty table has no photo to look up.
    places = np.array([-1 if place is None else place for place in match.found], dtype=np.int64)
    photo = places[rows.photo]
    warnings = list(predictions.warnings)
    strangers = [
        name for name, place in zip(predictions.images, match.found, strict=True) if place is None
    ]
    if strangers and len(strangers) == len(predictions.images):
        raise TableError(
            f"{predictions.path}: none of its {len(strangers)} photos is annotated: it has "
            f"'{strangers[0]}', the ground truth '{truth.photos[0]}'. Check that they belong "
            "together."
        )
    left_out = int((photo < 0).sum())
    if strangers:
        warnings.append(
            f"{left_out} predictions on {len(strangers)} photos that are not among those measured "
            f"are left out, the first: {strangers[0]}"
        )
    by_name = match.levels["name"] + match.levels["stem"]
    if by_name:
        warnings.append(
            f"{by_name} photos are found by their file name alone, since the folders in the two "
            "tables differ."
        )
    order = np.argsort(photo, kind="stable")
    order = order[photo[order] >= 0]
    placed = rows.take(order, photo[order])
    if predictions.orientation is not None and predictions.turned:
        placed, told = turn_detections_back(
            placed, predictions.orientation[order], truth, files or {}
        )
        # Before all else: without these photos the figures mean less than they seem to.
        warnings = told + warnings
    warnings += find_doubts(predictions.path, placed, truth)
    return Placed(placed, left_out, tuple(warnings))
