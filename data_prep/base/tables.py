"""`faces.csv`: one row per annotated face, the spine of every stage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.boxes import MIN_SIDE
from data_prep.base.files import write_atomically
from data_prep.base.labels import MASKS, Vocabulary
from data_prep.base.records import Box
from data_prep.base.strict_csv import TableError, read_table

COLUMNS: tuple[str, ...] = (
    "image",
    "width",
    "height",
    "object",
    "label",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "difficult",
    "source",
    "group",
    "split",
    "blur",
    "kept",
    "crop",
)
"""`image` is relative to the dataset root, `crop` to the prepared folder, boxes are pixels of the
stored photo clipped to it; (`source`, `image`, `object`) is the key."""

KEY: tuple[str, ...] = ("source", "image", "object")


def write_faces(path: Path, faces: pd.DataFrame) -> None:
    """Write the table, columns in order, numbers short enough to read.

    Raises:
        OutputError: The file can't be written.
    """
    table = faces.loc[:, list(COLUMNS)].copy()
    table["difficult"] = table["difficult"].astype(int)
    table["kept"] = table["kept"].astype(int)
    table["blur"] = table["blur"].round(3)
    write_atomically(path, table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))


def read_faces(
    path: Path, *, columns: Sequence[str] = COLUMNS, vocabulary: Vocabulary = MASKS
) -> pd.DataFrame:
    """Read the table and check it.

    Args:
        path: The file, or the prepared folder that holds it.
        columns: Those to read; a key, a label and a box with its photo's size are among them.
        vocabulary: The classes there are.

    Returns:
        The table with these columns; `difficult` and `kept` are bool, boxes clipped to the photo,
        `blur` is NaN where it is not told.

    Raises:
        TableError: The file is missing, lacks columns, or a row has an unknown class, a box that is
            none, or the key of another row; the message names file and line.
    """
    file = path / "faces.csv" if path.is_dir() else path
    if not file.is_file():
        raise TableError(f"{file}: no such file; make it with: python -m data_prep build.")
    table = read_table(file, columns, written_by="python -m data_prep build")
    values: dict[str, Any] = {name: table.columns[name] for name in columns}
    values["label"] = [vocabulary.classes[index] for index in table.labels(vocabulary)]
    values["image"] = table.names("image")
    for name in {"width", "height", "object"} & values.keys():
        values[name] = table.integers(name)
    for name in {"difficult", "kept"} & values.keys():
        values[name] = table.flags(name)
    if "blur" in values:
        values["blur"] = table.numbers("blur", empty=math.nan)
    boxes = table.boxes()
    limits = np.stack([values["width"], values["height"]] * 2, axis=1)
    clipped = np.clip(boxes, 0, limits)
    for row in np.flatnonzero((clipped[:, 2:] - clipped[:, :2] < MIN_SIDE).any(axis=1))[:1]:
        raise table.error(
            row,
            f"box {tuple(boxes[row].tolist())} lies outside the photo ({limits[row, 0]} × "
            f"{limits[row, 1]}) or under one pixel in it; correct box, width or height.",
        )
    values |= zip(Box._fields, clipped.T, strict=True)
    faces = pd.DataFrame(values)
    for row in np.flatnonzero(faces.duplicated(list(KEY)))[:1]:
        source, image, number = faces.loc[row, list(KEY)]
        photo = f"{source}/{image}" if source else image
        raise table.error(row, f"object {number} of {photo} is there twice; remove one row.")
    return faces


def select_sources(faces: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rows of some datasets; all when none is named.

    Raises:
        TableError: A dataset is not there; the message names those that are.
    """
    there = sorted(set(faces["source"]))
    unknown = [name for name in names if name not in there]
    if unknown:
        raise TableError(f"no face of a dataset '{unknown[0]}'; there are: {', '.join(there)}.")
    return faces[faces["source"].isin(names)] if names else faces


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; cells are written as they are.

    >>> print(markdown_table(["", "faces"], [["found", 3]]))
    | | faces |
    |---|---|
    | found | 3 |
    """

    def line(cells: Sequence[object]) -> str:
        return "|" + "".join(f" {cell} |" if str(cell) else " |" for cell in cells)

    return "\n".join([line(heads), "|---" * len(heads) + "|", *map(line, rows)])
