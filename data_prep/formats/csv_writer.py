"""CSV: one table, a row per face."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.boxes import write_number
from data_prep.files import write_atomically
from data_prep.formats.writer import Written
from data_prep.framed import FramedPhoto

TABLE = "annotations.csv"
COLUMNS: tuple[str, ...] = (
    *("image", "width", "height", "object", "label"),
    *("xmin", "ymin", "xmax", "ymax", "difficult"),
)
"""A photo without faces has a row with nothing from `object` on."""


class CsvWriter:
    """Writes `annotations.csv`; photos keep their place."""

    holds_photos = True

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Photos stay where they are; see `Writer`."""
        return {image: image for image in images}

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `Writer`."""
        write_atomically(folder / TABLE, tabulate(photos))
        return Written((TABLE,), {})


def tabulate(photos: Sequence[FramedPhoto], more: Sequence[Mapping[str, str]] = ()) -> str:
    """The table as text.

    Args:
        photos: In order.
        more: Values of further columns for each photo, all with the same columns.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(more[0] if more else ())])
    for photo, values in zip(photos, more or [{}] * len(photos), strict=True):
        start = (photo.image, photo.width, photo.height)
        for face in photo.faces:
            box = map(write_number, face.box)
            row = (*start, face.object, face.label, *box, int(face.difficult))
            writer.writerow([*row, *values.values()])
        if not photo.faces:
            writer.writerow([*start, *[""] * (len(COLUMNS) - len(start)), *values.values()])
    return text.getvalue()
