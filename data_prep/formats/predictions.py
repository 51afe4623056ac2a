"""`predictions.csv`, a row per predicted face, and `photos.csv`, a row per photo: `run.py`'s."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.base.boxes import ORIENTATIONS, UPRIGHT
from data_prep.base.labels import CLASSES, MASKS, Vocabulary
from data_prep.base.records import Box
from data_prep.base.tables import FloatArray, IntArray, TableError, read_table, write_csv
from data_prep.formats.plausible import doubt_boxes

if TYPE_CHECKING:
    import pandas as pd

FILE, PHOTOS_FILE = "predictions.csv", "photos.csv"
ORIENTATION = "orientation"
"""The photo's EXIF value; boxes are pixels of the photo turned upright by it."""

REQUIRED = ("image", *Box._fields, "label", "score", "detection")
"""Columns that must be there; other tools may leave out the rest."""

COLUMNS: tuple[str, ...] = (*REQUIRED, *(f"p_{name}" for name in CLASSES), ORIENTATION)

VIDEO_COLUMNS = ("frame", "time_s", "track")  # Further columns of videos.


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One predicted face."""

    image: str  # Name of the photo or video, with forward slashes.
    box: Box  # Pixels of the photo turned upright by `orientation`.
    label: str
    score: float  # Detection score × probability of the class.
    detection: float  # The detector's score, 0 to 1.
    probabilities: tuple[float, ...]  # Of each class, in the order of `CLASSES`.
    orientation: int = UPRIGHT  # EXIF's, 1 to 8.
    frame: int | None = None  # Index of the frame of a video, from 0.
    time_s: float | None = None  # Its time from the start.
    track: int | None = None  # The number by which a person is followed from frame to frame.
    unsure: str | None = None  # Classes it may be of, `a|b`, or `none`; empty if sure.


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """One photo that was run, whether faces were found or not."""

    image: str  # As in `predictions.csv`.
    width: int  # Pixels of the photo turned upright by `orientation`; 0 if it can't be read.
    height: int
    orientation: int = UPRIGHT  # EXIF's, 1 to 8.
    faces: int = 0  # Rows in `predictions.csv`.
    learnt: str = ""  # Whether the weights learnt from it: one of `LEARNT`.
    reason: str = ""  # Why it can't be read.
    salvaged: int = 0  # Stored rows that are there of a photo that lacks its end; 0 if it is whole.


LEARNT = ("", "exact", "near")
"""Not that it is known; from this very file; from one that looks the same."""


def write_photos(path: Path, rows: Iterable[PhotoRow], *, spreadsheet: bool = False) -> None:
    """Write `photos.csv`, columns as the fields of `PhotoRow`; `spreadsheet` as of `write_csv`."""
    names = [field.name for field in fields(PhotoRow)]
    write_csv(path, [names, *map(astuple, rows)], spreadsheet=spreadsheet)


def read_photos(path: Path) -> tuple[PhotoRow, ...]:
    """Read `photos.csv` as `write_photos` writes it.

    Raises `TableError`: the table is not as it should be; the message names file and line.
    """
    *names, added = (field.name for field in fields(PhotoRow))  # What runs before had no word of.
    table = read_table(path, names, written_by="run.py")
    for row, told in enumerate(table.columns["learnt"]):
        if told not in LEARNT:
            raise table.error(row, f"learnt is '{told}'; use exact, near or nothing.")
    numbers = [table.integers(name).tolist() for name in names[1:5]]
    rows = table.integers(added).tolist() if added in table.columns else [0] * len(numbers[0])
    columns = [table.names("image"), *numbers, *(table.columns[n] for n in names[5:]), rows]
    return tuple(PhotoRow(*cells) for cells in zip(*columns, strict=True))


@dataclass(frozen=True)
class AlarmRule:
    """From which score on a face raises the alarm "not properly masked".

    The score is the sum of the probabilities of `classes` as a share of those `of`.
    """

    threshold: float
    classes: tuple[str, ...]
    of: tuple[str, ...] = CLASSES
    thresh: float = 0.0  # Detection score under which a face raises none.
    nets: Mapping[str, str] | None = None  # Hashes of those it was measured with, where known.

    def score(self, probabilities: FloatArray) -> FloatArray:
        """(N,) alarm scores, 0 to 1, from probabilities (N, 3) in the order of `CLASSES`."""
        columns = ([name in some for name in CLASSES] for some in (self.classes, self.of))
        part, whole = (probabilities[:, own].sum(axis=1) for own in columns)
        if self.of == CLASSES:  # Of 1, but for what rounding did.
            return part
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    @classmethod
    def read(cls, path: Path) -> AlarmRule:
        """Read the alarm.json of `evaluate --false-alarms`.

        Raises `TableError`: it is none.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            classes, of = tuple(told["classes"]), tuple(told["of"])
            nets = told.get("nets")
            rule = cls(float(told["threshold"]), classes, of, float(told["thresh"]), nets)
            if not {*classes, *of} <= {*CLASSES} or not (0 <= rule.threshold <= 1):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
            what = "can't be read" if isinstance(error, OSError) else "no rule of an alarm"
            message = f"{path}: {what}; give the alarm.json of evaluate --false-alarms."
            raise TableError(message) from error
        return rule


def write_predictions(
    path: Path,
    rows: Iterable[PredictionRow],
    *,
    video: bool = False,
    unsure: bool = False,
    spreadsheet: bool = False,
) -> None:
    """Write the table: pixels with 2 decimals, scores and probabilities with 5.

    A video's has `VIDEO_COLUMNS`, too, and last `unsure` if asked for; what is not known stays
    empty. `spreadsheet` as of `write_csv`.
    """

    def tell(row: PredictionRow) -> list[str]:
        cells = [row.image, *(f"{value:.2f}" for value in row.box), row.label]
        shares = (row.score, row.detection, *row.probabilities)
        cells += [*(f"{share:.5f}" for share in shares), str(row.orientation)]
        if video:
            time = None if row.time_s is None else f"{row.time_s:.3f}"
            cells += ["" if value is None else str(value) for value in (row.frame, time, row.track)]
        return [*cells, row.unsure or ""] if unsure else cells

    head = [*COLUMNS, *(VIDEO_COLUMNS if video else ()), *(["unsure"] if unsure else ())]
    write_csv(path, chain([head], map(tell, rows)), spreadsheet=spreadsheet)


@dataclass(frozen=True)
class PredictionTable:
    """Predicted faces, column by column; see `PredictionRow`."""

    images: tuple[str, ...]
    boxes: FloatArray  # (N, 4) xmin, ymin, xmax, ymax.
    labels: IntArray  # (N,) index into the classes.
    scores: FloatArray  # (N,)
    detection: FloatArray  # (N,)
    probabilities: FloatArray | None = None  # (N, C) in the order of the classes.
    orientation: IntArray | None = None  # (N,)


def tabulate_predictions(rows: Iterable[PredictionRow]) -> PredictionTable:
    """The table that `write_predictions` and `read_prediction_table` make, without the file.

    Numbers are rounded as in the file, so that figures do not depend on the way they come.
    """
    rows = list(rows)
    shares = np.array(
        [[round(share, 5) for share in (r.score, r.detection, *r.probabilities)] for r in rows],
        dtype=np.float64,
    ).reshape(-1, 2 + len(CLASSES))
    boxes = [[round(value, 2) for value in map(float, row.box)] for row in rows]
    return PredictionTable(
        images=tuple(row.image for row in rows),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array([MASKS.index(row.label) for row in rows], dtype=np.int64),
        scores=shares[:, 0],
        detection=shares[:, 1],
        probabilities=shares[:, 2:],
        orientation=np.array([row.orientation for row in rows], dtype=np.int64),
    )


def read_prediction_table(
    path: Path,
    *,
    frame: pd.DataFrame | None = None,
    probabilities: bool = False,
    vocabulary: Vocabulary = MASKS,
) -> PredictionTable:
    """Read a table as `run.py` writes it; a header without rows is a table without faces.

    It is the file's, or a frame with such columns, rounded as in the file and called by `path`.

    The columns of class probabilities, `p_` and the class, may be there, or must be. Raises
    `TableError`: the table is not as it should be; the message names file and line.
    """
    columns = [f"p_{name}" for name in vocabulary.classes]
    wanted, text = [*REQUIRED, *(columns if probabilities else ())], None
    if frame is not None:
        decimals = dict.fromkeys(Box._fields, 2)
        text = frame.round(decimals).to_csv(index=False, float_format="%.5f")
    table = read_table(path, wanted, written_by="run.py", text=text)
    there = [name for name in columns if name in table.columns]
    if there and len(there) < len(columns):
        missing = sorted(set(columns) - set(there))
        why = f"{', '.join(there)} but no {', '.join(missing)}; write all of these columns or none."
        raise TableError(f"{path}, line 1: {why}")
    corners = np.stack([table.numbers(name) for name in Box._fields], axis=1)
    inverted = (corners[:, 2:] < corners[:, :2]).any()
    # Of a whole table in another order the reading that fits is told, not its first row.
    if inverted and (doubt := doubt_boxes(corners, [None] * len(corners), "corners")):
        raise TableError(f"{path}: {doubt} The columns are {', '.join(Box._fields)}.")
    read = PredictionTable(
        images=tuple(table.names("image")),
        boxes=table.boxes(),
        labels=table.labels(vocabulary),
        scores=table.fractions("score"),
        detection=table.fractions("detection"),
        probabilities=np.stack([*map(table.fractions, there)], axis=1) if there else None,
    )
    if ORIENTATION not in table.columns:
        return read
    turns, known = table.numbers(ORIENTATION), "EXIF knows 1 (stored upright) to 8."
    odd = ~np.isin(turns, ORIENTATIONS)
    table.refuse(odd, lambda row: f"{ORIENTATION} is {turns[row]:g}; {known}")
    return replace(read, orientation=turns.astype(np.int64))
