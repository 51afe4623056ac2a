"""Rows of a CSV file: its encoding, its separator, and the line of each row."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.formats.input_files import InputError, check_length

SEPARATORS = ",;\t|"

_SNIFFED = 1 << 16
"""Bytes that are enough for the first row."""


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row.

    Attributes:
        where: File and line it starts on.
        cells: Its cells without the blanks around them.
        fault: Why it can't be used, or "".
    """

    where: str
    cells: list[str]
    fault: str = ""


def read_start(path: Path) -> dict[str, list[str]]:
    """The cells of the first row that is not blank, by separator; none if there is no such row."""
    try:
        with path.open("rb") as file:
            data = file.read(_SNIFFED)
    except OSError:
        return {}
    # Half a character at the end, or another encoding further down, is no matter here.
    text = _blank_separator(data.decode(_find_encoding(data), errors="replace"))
    line = next((line for line in text.splitlines() if line.strip()), "")
    starts = {}
    for separator in SEPARATORS if line else "":
        row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        starts[separator] = [cell.strip() for cell in row]
    return starts


def decode_csv(path: Path, name: str) -> str:
    """Text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        InputError: It can't be read, is empty, or is in another encoding; the message names the
            first line that shows it.
    """
    try:
        check_length(path)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: can't be read ({error.strerror or error}).") from error
    try:
        text = data.decode(_find_encoding(data))
        wrong = text.index("\0") if "\0" in text else None
    except UnicodeDecodeError as error:
        text, wrong = data[: error.start].decode("latin-1"), error.start
    if wrong is not None:
        line = text[:wrong].count("\n") + 1
        raise InputError(
            f"{name}:{line}: not text in UTF-8; save the file again as CSV in UTF-8 (in a "
            "spreadsheet: Save as, CSV UTF-8)."
        )
    text = _blank_separator(text)
    if not text.strip():
        raise InputError(f"{name}: the file is empty; restore it or remove it.")
    return text


def list_rows(text: str, separator: str, name: str) -> Iterator[CsvRow]:
    """All rows that are not blank, those with a wrong quote among them."""
    # Line by line: io.StringIO would hold the text again, four bytes to a letter.
    lines = (match[0] for match in re.finditer(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", text))
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        where = f"{name}:{line}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            yield CsvRow(where, [], f"not CSV ({error}), down to line {reader.line_num}")
            continue
        if any("\n" in cell for cell in cells):
            fault = f"a quote is not closed before line {reader.line_num}"
            yield CsvRow(where, cells, fault)
        elif any(cells):
            yield CsvRow(where, cells)


def _blank_separator(text: str) -> str:
    """Without the line by which Excel is told the separator; lines keep their number."""
    return re.sub(r"\Asep=.(?=\r?\n)", "", text)


def _find_encoding(data: bytes) -> str:
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf16 else "utf-8-sig"
