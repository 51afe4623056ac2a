"""`faces.csv`: one row per annotated face, the spine of every stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from data_prep.base.errors import UserError
from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES

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

_TEXT_COLUMNS = ("image", "label", "source", "group", "split", "crop")
_TYPES: dict[str, type] = {
    **dict.fromkeys(_TEXT_COLUMNS, str),
    **dict.fromkeys(("width", "height", "object", "difficult", "kept"), int),
    **dict.fromkeys(("xmin", "ymin", "xmax", "ymax", "blur"), float),
}

KEY: tuple[str, ...] = ("source", "image", "object")


class FacesError(UserError, ValueError):
    """A `faces.csv` that can't be used; the message names the file and what to do."""


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


def read_faces(path: Path) -> pd.DataFrame:
    """Read the table and check it.

    Args:
        path: The file, or the prepared folder that holds it.

    Returns:
        The table with the columns of `COLUMNS`; `difficult` and `kept` are bool.

    Raises:
        FacesError: The file is missing, lacks columns, or has an unknown class or a double key.
    """
    file = path / "faces.csv" if path.is_dir() else path
    if not file.is_file():
        raise FacesError(f"{file}: no such file; make it with: python -m data_prep build.")
    try:
        # A photo may be called "NA" or "null": only empty fields are missing values.
        # Nor is a folder called "007" a number.
        table = pd.read_csv(file, keep_default_na=False, na_values=[""], dtype=_TYPES)
    except ValueError as error:  # Of parsing, of decoding, or of text in place of a number.
        raise FacesError(f"{file}: not a readable table ({error}).") from error
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise FacesError(f"{file}: column {', '.join(missing)} is missing; build it again.")
    unknown = sorted(set(table["label"]) - set(CLASSES))
    if unknown:
        raise FacesError(f"{file}: unknown class {unknown[0]!r}; known: {', '.join(CLASSES)}.")
    if table.duplicated(list(KEY)).any():
        row = int(table.duplicated(list(KEY)).to_numpy().argmax()) + 2
        raise FacesError(f"{file}:{row}: the key (source, image, object) stands there twice.")
    table["difficult"] = table["difficult"].astype(bool)
    table["kept"] = table["kept"].astype(bool)
    for column in _TEXT_COLUMNS:
        table[column] = table[column].fillna("")
    return table


def select_sources(faces: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rows of some datasets; all when none is named.

    Raises:
        FacesError: A dataset is not there; the message names those that are.
    """
    there = sorted(set(faces["source"]))
    unknown = [name for name in names if name not in there]
    if unknown:
        raise FacesError(f"no face of a dataset '{unknown[0]}'; there are: {', '.join(there)}.")
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
