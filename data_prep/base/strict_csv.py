"""Tables in CSV files, read strictly: whatever is wrong is named by file and line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.base.errors import UserError
from data_prep.base.labels import UnknownLabelError, Vocabulary
from data_prep.base.records import Box

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_DELIMITERS = ",;\t"
_ROUNDING = 1e-6
"""How far above 1 a written probability may lie."""


class TableError(UserError, ValueError):
    """A table that can't be used; the message names file and line and says what to do."""


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file as text.

    Attributes:
        path: The file.
        columns: Cells of every column, by its name.
        lines: Line of the file each row ends on; the header is line 1.
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def error(self, row: int, message: str) -> TableError:
        """An error that names the file and the line of a row."""
        return TableError(f"{self.path}, line {self.lines[row]}: {message}")

    def numbers(self, name: str, *, empty: float | None = None) -> FloatArray:
        """A column as finite numbers, (N,).

        Args:
            name: The column.
            empty: What an empty cell stands for; None if it must not be.

        Raises:
            TableError: A cell is not a number, infinite or NaN.
        """
        values = np.empty(len(self))
        for row, cell in enumerate(self.columns[name]):
            if empty is not None and not cell:
                values[row] = empty
                continue
            try:
                values[row] = float(cell)
            except ValueError:
                hint = "; write a point, not a comma, in decimals" if "," in cell else ""
                raise self.error(row, f"'{cell}' for {name} is not a number{hint}.") from None
            if not math.isfinite(values[row]):
                raise self.error(row, f"{name} is {cell}; leave the row out or repair it.")
        return values

    def integers(self, name: str) -> IntArray:
        """A column as whole numbers, (N,).

        Raises:
            TableError: A cell is none.
        """
        values = self.numbers(name)
        row = _find_first(values % 1 != 0)
        if row is not None:
            raise self.error(row, f"{name} is {values[row]:g}, not a whole number.")
        return values.astype(np.int64)

    def fractions(self, name: str) -> FloatArray:
        """A column of scores or probabilities, (N,).

        Raises:
            TableError: A cell is no number from 0 to 1.
        """
        values = self.numbers(name)
        row = _find_first((values < 0) | (values > 1 + _ROUNDING))
        if row is not None:
            raise self.error(
                row, f"{name} is {values[row]:g}; scores and probabilities lie between 0 and 1."
            )
        return values

    def boxes(self) -> FloatArray:
        """The columns of a box, (N, 4).

        Raises:
            TableError: A cell is not a finite number, or a box is inverted. An empty box is let
                through: it overlaps nothing.
        """
        boxes = np.stack([self.numbers(name) for name in Box._fields], axis=1)
        row = _find_first((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]))
        if row is not None:
            shown = ", ".join(f"{value:g}" for value in boxes[row])
            raise self.error(
                row,
                f"box ({shown}) is inverted; the order is xmin, ymin, xmax, ymax, and neither xmax "
                "may be under xmin nor ymax under ymin.",
            )
        return boxes

    def labels(self, vocabulary: Vocabulary) -> IntArray:
        """The column `label` as indices into the vocabulary's classes, (N,).

        Raises:
            TableError: A class is not known; the message suggests the nearest known one.
        """
        known: dict[str, int] = {}
        cells = self.columns["label"]
        for row, cell in enumerate(cells):
            if cell not in known:
                try:
                    known[cell] = vocabulary.index(cell)
                except UnknownLabelError as error:
                    raise self.error(row, str(error)) from error
        return np.array([known[cell] for cell in cells], dtype=np.int64)

    def names(self, name: str) -> Sequence[str]:
        """A column of texts that must not be empty.

        Raises:
            TableError: A cell is empty.
        """
        for row, cell in enumerate(self.columns[name]):
            if not cell:
                raise self.error(row, f"{name} is empty.")
        return self.columns[name]

    def flags(self, name: str) -> BoolArray:
        """A column of 0/1 or true/false, (N,); an empty cell is false.

        Raises:
            TableError: A cell is something else.
        """
        meaning = {"1": True, "true": True, "0": False, "false": False, "": False}
        values = np.empty(len(self), dtype=np.bool_)
        for row, cell in enumerate(self.columns[name]):
            if cell.lower() not in meaning:
                raise self.error(row, f"'{cell}' for {name} is neither 0 nor 1.")
            values[row] = meaning[cell.lower()]
        return values


def read_table(path: Path, required: Sequence[str], *, written_by: str) -> Table:
    """Read a CSV file.

    A byte order mark is skipped; the delimiter (comma, semicolon or tab) is the one the header
    uses; blank lines are passed over; blanks around cells do not count.

    Args:
        path: The file.
        required: Columns that must be there; others may be.
        written_by: The command that writes such files, for the messages.

    Raises:
        TableError: The file can't be read or is empty, a column is missing or there twice, or a
            row has more or fewer cells than the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TableError(f"{path}: can't be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not text in UTF-8; save it as CSV in UTF-8.") from error
    if not text.strip():
        raise TableError(f"{path}: the file is empty; write it again with {written_by}.")
    # Only the header is looked at: file names and numbers further down may hold any of these.
    header_line = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append([cell.strip() for cell in cells])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: not CSV ({error}).") from error
    header, rows, lines = rows[0], rows[1:], lines[1:]
    _check_header(path, header, required, written_by)
    for cells, line in zip(rows, lines, strict=True):
        if len(cells) != len(header):
            raise TableError(
                f"{path}, line {line}: {len(cells)} cells where the header has {len(header)}; "
                f"repair the row or write the file again with {written_by}."
            )
    columns = {name: [cells[index] for cells in rows] for index, name in enumerate(header)}
    return Table(path, columns, lines)


def _find_first(wrong: BoolArray) -> int | None:
    return int(wrong.argmax()) if wrong.any() else None


def _check_header(
    path: Path, header: Sequence[str], required: Sequence[str], written_by: str
) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise TableError(
            f"{path}, line 1: no column {', '.join(missing)} (found: {', '.join(header)}); "
            f"expected is a table as written by {written_by}."
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TableError(f"{path}, line 1: column {', '.join(twice)} is there more than once.")
