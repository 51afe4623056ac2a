"""Tables in CSV files, read strictly, and `faces.csv`, the spine of every stage."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.base.boxes import MIN_SIDE, show_box
from data_prep.base.command import spell
from data_prep.base.errors import UserError
from data_prep.base.files import decode_text, open_atomically, write_atomically
from data_prep.base.labels import MASKS, Vocabulary, explain_unknown, knows_label
from data_prep.base.records import Box

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_DELIMITERS = ",;\t"
_ROUNDING = 1e-6  # How far above 1 a written probability may lie.


class TableError(UserError, ValueError):
    """A table that can't be used; the message names file and line and says what to do."""


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file as text, by column; `lines` tells on which line each row ends.

    What is wrong with a column is a `TableError` that names the file and the line.
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def error(self, row: int, message: str) -> TableError:
        """An error that names the file and the line of a row."""
        return TableError(f"{self.path}, line {self.lines[row]}: {message}")

    def refuse(self, wrong: ArrayLike, tell: Callable[[int], str]) -> None:
        """Raise an error about the first row that is wrong, (N,), if there is any."""
        for row in np.flatnonzero(wrong)[:1].tolist():
            raise self.error(row, tell(row))

    def numbers(self, name: str, *, empty: float | None = None) -> FloatArray:
        """A column as finite numbers, (N,); an empty cell stands for `empty` if that is given."""
        values = np.empty(len(self))
        for row, cell in enumerate(self.columns[name]):
            try:
                values[row] = empty if empty is not None and not cell else float(cell)
            except ValueError:
                hint = "; write a point, not a comma, in decimals" if "," in cell else ""
                raise self.error(row, f"'{cell[:40]}' for {name} is not a number{hint}.") from None
            if cell and not math.isfinite(values[row]):
                raise self.error(row, f"{name} is {cell[:40]}; leave the row out or repair it.")
        return values

    def integers(self, name: str) -> IntArray:
        """A column as whole numbers, (N,)."""
        values = self.numbers(name)
        wrong = (values % 1 != 0) | (np.abs(values) >= 2**53)
        self.refuse(wrong, lambda row: f"{name} is {values[row]:g}, not a whole number.")
        return values.astype(np.int64)

    def fractions(self, name: str) -> FloatArray:
        """A column of scores or probabilities, (N,)."""
        values = self.numbers(name)
        why = "scores and probabilities lie between 0 and 1."
        wrong = (values < 0) | (values > 1 + _ROUNDING)
        self.refuse(wrong, lambda row: f"{name} is {values[row]:g}; {why}")
        return values

    def boxes(self) -> FloatArray:
        """The columns of a box, (N, 4). An empty box is let through: it overlaps nothing."""
        boxes = np.stack([self.numbers(name) for name in Box._fields], axis=1)
        why = "is inverted; the order is xmin, ymin, xmax, ymax, "
        why += "and neither xmax may be under xmin nor ymax under ymin."
        inverted = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
        self.refuse(inverted, lambda row: f"box {show_box(boxes[row])} {why}")
        return boxes

    def labels(self, vocabulary: Vocabulary) -> IntArray:
        """The column `label` as indices into the vocabulary's classes, (N,)."""
        cells, named = self.columns["label"], (vocabulary.aliases, vocabulary.classes)
        counts = Counter(cells)
        unknown = {name: n for name, n in counts.items() if not knows_label(name, *named)}
        for first in unknown:
            raise self.error(cells.index(first), explain_unknown(unknown, *named))
        known = {cell: vocabulary.index(cell) for cell in counts}
        return np.array([known[cell] for cell in cells], dtype=np.int64)

    def names(self, name: str) -> Sequence[str]:
        """A column of texts that must not be empty."""
        self.refuse([not cell for cell in self.columns[name]], lambda _: f"{name} is empty.")
        return self.columns[name]

    def flags(self, name: str) -> BoolArray:
        """A column of 0/1 or true/false, (N,); an empty cell is false."""
        told = self.columns[name]
        cells = [cell.lower() for cell in told]
        wrong = ~np.isin(cells, ["1", "true", "0", "false", ""])
        self.refuse(wrong, lambda row: f"'{told[row]}' for {name} is neither 0 nor 1.")
        return np.isin(cells, ["1", "true"])


_FORMULA = re.compile(r"[=+@\t\r]|-(?!\d+(\.\d+)?$)")  # At the start of a cell.


def write_csv(path: Path, rows: Iterable[Iterable[object]], *, spreadsheet: bool = False) -> None:
    """Write rows as CSV: commas, line feeds, cells quoted where a reader might take them amiss.

    That keeps every name as it is, but does not keep a spreadsheet from running a cell that begins
    like a formula; with `spreadsheet` such texts begin with an apostrophe. Raises `OutputError`: it
    can't be written.
    """

    def show(cell: object) -> str:
        text = str(cell)
        formula = _FORMULA.match(text)
        if formula and spreadsheet:
            text = f"'{text}"
        quoted = formula or not {*',"\r\n'}.isdisjoint(text)
        return '"' + text.replace('"', '""') + '"' if quoted else text

    with open_atomically(path) as file:  # Row by row: a long video has millions.
        file.writelines(",".join(map(show, row)) + "\n" for row in rows)


def read_table(
    path: Path, required: Sequence[str], *, written_by: str, text: str | None = None
) -> Table:
    """Read a CSV file, or a text called like one, that has the required columns, and maybe others.

    A byte order mark is skipped; the delimiter (comma, semicolon or tab) is the one the header
    uses; blank lines are passed over; blanks around cells do not count. `written_by` is the command
    that writes such files, for the messages. Raises `TableError`: the file can't be read or is
    empty, a column is missing or there twice, or a row has more or fewer cells than the header.
    """
    try:
        text = decode_text(path.read_bytes()) if text is None else text
    except OSError as error:
        raise TableError(f"{path}: can't be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not text in UTF-8; save it as CSV in UTF-8.") from error
    # Only the header is looked at: file names and numbers further down may hold any of these.
    header_line = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        stripped = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
        rows = [(line, cells) for line, cells in stripped if any(cells)]
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: not CSV ({error}).") from error
    if not rows:
        raise TableError(f"{path}: the file is empty; write it again with {written_by}.")
    (_, header), *rows = rows
    if missing := [name for name in required if name not in header]:
        why = f"no column {', '.join(missing)} (found: {', '.join(header)})"
        raise TableError(f"{path}, line 1: {why}; expected is a table as written by {written_by}.")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise TableError(f"{path}, line 1: column {', '.join(twice)} is there more than once.")
    for line, cells in rows:
        if len(cells) != len(header):
            hint = " (decimals take points, texts with a comma quotes)"
            hint = hint if len(cells) > len(header) and delimiter == "," else ""
            raise TableError(
                f"{path}, line {line}: {len(cells)} cells where the header has {len(header)}; "
                f"repair the row{hint} or write the file again with {written_by}."
            )
    columns = {name: [cells[index] for _, cells in rows] for index, name in enumerate(header)}
    return Table(path, columns, [line for line, _ in rows])


COLUMNS: tuple[str, ...] = (
    *("image", "width", "height", "object", "label", "xmin", "ymin", "xmax", "ymax"),
    *("difficult", "source", "group", "split", "blur", "kept", "crop"),
)
"""`image` is relative to the dataset root, `crop` to the prepared folder, boxes are pixels of the
stored photo clipped to it; (`source`, `image`, `object`) is the key."""

KEY: tuple[str, ...] = ("source", "image", "object")


def write_faces(path: Path, faces: pd.DataFrame) -> None:
    """Write the table, columns in order, numbers short enough to read.

    A last column `salvaged` has the rows there are of photos that lack their end, if any does.
    """
    salvaged = "salvaged" in faces and faces["salvaged"].any()
    table = faces.loc[:, [*COLUMNS, *["salvaged"] * int(salvaged)]].copy()
    table["difficult"] = table["difficult"].astype(int)
    table["kept"] = table["kept"].astype(int)
    table["blur"] = table["blur"].round(3)
    write_atomically(path, table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))


def read_faces(
    path: Path, *, columns: Sequence[str] = COLUMNS, vocabulary: Vocabulary = MASKS
) -> pd.DataFrame:
    """Read `faces.csv`, or that of a prepared folder, and check it.

    `columns` are those to read; a key, a label and a box with its photo's size are among them.
    `difficult` and `kept` become bool, boxes are clipped to the photo, `blur` is NaN where it is
    not told. Raises `TableError`: the file is missing, lacks columns, or a row has an unknown
    class, a box that is none, or the key of another row; the message names file and line.
    """
    file = path / "faces.csv" if path.is_dir() else path
    if not file.is_file():
        raise TableError(f"{file}: no such file; make it with: {spell('build')}.")
    table = read_table(file, columns, written_by=spell("build"))
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
    table.refuse(
        (clipped[:, 2:] - clipped[:, :2] < MIN_SIDE).any(axis=1),
        lambda row: (
            f"box {tuple(boxes[row].tolist())} lies outside the photo ({limits[row, 0]} × "
            f"{limits[row, 1]}) or under one pixel in it; correct box, width or height."
        ),
    )
    values |= zip(Box._fields, clipped.T, strict=True)
    import pandas as pd  # Here, for `import trimask` to be quick.

    faces = pd.DataFrame(values)
    photos = [f"{one}/{two}" for one, two in zip(values["source"], values["image"], strict=True)]
    table.refuse(
        faces.duplicated(list(KEY)),
        lambda row: (
            f"object {values['object'][row]} of {photos[row].removeprefix('/')} is there "
            "twice; remove one row."
        ),
    )
    return faces


def select_sources(faces: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rows of some datasets; all when none is named. `TableError` if a dataset is not there."""
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
