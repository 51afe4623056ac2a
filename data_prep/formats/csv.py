"""Datasets of photos and tables: a face per row."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from data_prep.base.boxes import write_number
from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically
from data_prep.base.progress import show_progress
from data_prep.base.records import Dataset, Face, Finding, note_unread
from data_prep.formats.contracts import DatasetFormat, Faults, ReadOptions, Written
from data_prep.formats.csv_columns import (
    ColumnLayout,
    ViaLayout,
    check_columns,
    find_columns,
    find_layout,
    find_via_layout,
    list_missing,
)
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.formats.input_files import InputError, read_bytes
from data_prep.formats.photo_match import DatasetFiles, WrittenPhoto, place_photos

TABLE = "annotations.csv"
COLUMNS: tuple[str, ...] = (
    *("image", "width", "height", "object", "label"),
    *("xmin", "ymin", "xmax", "ymax", "difficult"),
)
"""A photo without faces has a row with nothing from `object` on."""

TABLES = frozenset({".csv", ".tsv"})
"""Endings of tables."""

Layout = ColumnLayout | ViaLayout

_SNIFFED = 1 << 16
"""Bytes that are enough for the first row."""


class CsvRow(NamedTuple):
    """A row: file and line it starts on, cells without the blanks around them, or a fault."""

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
    for separator in ",;\t|" if line else "":
        row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        starts[separator] = [cell.strip() for cell in row]
    return starts


def decode_csv(path: Path, name: str) -> str:
    """Text of a file in UTF-8, or in UTF-16 with a byte order mark; else an `InputError`."""
    data = read_bytes(path, name)
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


class CsvFormat(DatasetFormat):
    """All tables of faces below a folder, written to `annotations.csv`; others are passed over.

    Known are our own, TensorFlow's, makesense.ai's and VIA's, and any with a header that names
    photo, class and box; see `csv_columns.FIELDS`. A row with a photo alone is a photo without
    faces.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first table of faces."""
        return next((path for path, *_ in _sniff_tables(files, options.columns)), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `DatasetFormat`."""
        known = list(_sniff_tables(files, options.columns))
        if not known:
            raise DatasetError(explain_tables(files, options.columns))
        findings: list[Finding] = []
        broken: list[Finding] = []
        written: list[WrittenPhoto] = []
        for path, separator, layout in known:
            name = files.call(path)
            try:
                text = decode_csv(path, name)
            except InputError as error:
                broken.append(Finding(name, "broken-csv", str(error), dropped=True))
                continue
            findings += note_unread(name, layout.unread)
            faults = Faults(name, findings=findings)
            written += _read_table(path, text, separator, layout, options, faults)
        if len(broken) == len(known):
            raise DatasetError(" ".join(finding.message for finding in broken[:3]))
        return place_photos(files, written, [*broken, *findings])

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `DatasetFormat`."""
        write_atomically(folder / TABLE, tabulate(photos))
        return Written((TABLE,), {})


def _read_table(
    path: Path, text: str, separator: str, layout: Layout, options: ReadOptions, faults: Faults
) -> list[WrittenPhoto]:
    photos: dict[str, WrittenPhoto] = {}
    faces: dict[str, list[Face]] = {}
    objects: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    rows = list_rows(text, separator, faults.file)
    shown = show_progress(rows, text.count("\n"), f"reading {faults.file}")
    for number, (where, cells, fault) in enumerate(shown):
        if number == 0 and layout.has_header:
            continue
        if fault or len(cells) != layout.cells:
            fault = fault or f"{len(cells)} cells instead of {layout.cells}"
            faults.leave_out("bad-row", f"{where}: {fault}; repair the row.")
            continue
        row = layout.parse(cells, where)
        image = row.image
        if not image:
            faults.leave_out("unnamed-photo", f"{where}: the row names no photo.")
            continue
        photos.setdefault(image, WrittenPhoto(path, image, where, row.size, ()))
        if row.box is None and not row.label and not row.fault:
            continue
        # Faults keep their number, so that keys of faces are stable.
        counts[image] += 1
        if row.fault:
            faults.leave_out("bad-box", row.fault, " The face is left out.")
        elif row.box is None:
            faults.leave_out("no-box", f"{where}: class '{row.label}' without a box.")
        elif not row.label:
            faults.leave_out("unnamed-object", f"{where}: a box without a class.")
        else:
            label = options.label(row.label, where)
            face = Face(counts[image] - 1, label, row.box, row.difficult)
            faces.setdefault(image, []).append(face)
            objects.setdefault(image, []).append(row.object)
    return [
        replace(photo, faces=_number(faces[image], objects[image])) if image in faces else photo
        for image, photo in photos.items()
    ]


def _number(faces: Sequence[Face], objects: Sequence[str]) -> tuple[Face, ...]:
    """The faces, numbered as written where every face has a number of its own."""
    numbers = [int(text) for text in objects if text.isdecimal() and len(text) < 10]
    if len(set(numbers)) != len(faces):
        return tuple(faces)
    return tuple(replace(face, object=n) for n, face in zip(numbers, faces, strict=True))


def _sniff_tables(
    files: DatasetFiles, columns: Mapping[str, str]
) -> Iterator[tuple[Path, str, Layout]]:
    """Tables of faces, each with the separator by which its first row makes sense, and layout."""
    check_columns(columns)
    for path in files.by_suffix(TABLES):
        for separator, start in read_start(path).items():
            if layout := find_via_layout(start, columns) or find_layout(start, columns):
                yield path, separator, layout
                break


def explain_tables(files: DatasetFiles, columns: Mapping[str, str]) -> str:
    """Why no table can be used, and what to do."""
    tables = files.by_suffix(TABLES)
    if not tables:
        return f"{files.root}: no table of faces (*.csv) in this folder or below it."
    try:
        decode_csv(tables[0], files.call(tables[0]))
    except InputError as error:
        return str(error)
    header = max(read_start(tables[0]).values(), key=len)
    missing = list_missing(find_columns(header, columns))
    return (
        f"{files.call(tables[0])}:1: no column for {', '.join(missing)} (found: "
        f"{', '.join(header)[:200]}); name them with --columns "
        f"{','.join(f'{name}=COLUMN' for name in missing)}."
    )


def tabulate(photos: Sequence[FramedPhoto], more: Sequence[Mapping[str, str]] = ()) -> str:
    """The table as text, with the values of further columns for each photo, by their names."""
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
