"""The table of predicted faces, and its place among the annotated photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.labels import MASKS, Vocabulary
from data_prep.records import Box
from evaluate.formats.doubts import find_doubts
from evaluate.formats.photo_names import match_names
from evaluate.formats.table import TableError, read_table
from evaluate.records import Detections, GroundTruth

PREDICTION_COLUMNS = ("image", *Box._fields, "label", "score", "detection")
"""Columns that must be there."""


@dataclass(frozen=True)
class Predictions:
    """A table of predictions.

    Attributes:
        path: The file.
        images: Distinct photo names in order of appearance.
        detections: The rows; `photo` is an index into `images`.
        warnings: What is doubtful about the table, for a person.
    """

    path: Path
    images: tuple[str, ...]
    detections: Detections
    warnings: tuple[str, ...] = ()


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
    return Predictions(path, tuple(numbers), detections)


def place_predictions(predictions: Predictions, truth: GroundTruth) -> Placed:
    """Keep the rows on annotated photos, and sort them by photo.

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
    warnings += find_doubts(predictions.path, placed, truth)
    return Placed(placed, left_out, tuple(warnings))
