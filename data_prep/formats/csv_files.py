"""Datasets of photos and tables: a face per row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.errors import DatasetError
from data_prep.formats.csv_columns import (
    ColumnLayout,
    FaceRow,
    check_columns,
    find_columns,
    find_layout,
    list_missing,
)
from data_prep.formats.csv_rows import decode_csv, list_rows, read_start
from data_prep.formats.dataset_files import DatasetFiles
from data_prep.formats.input_files import InputError
from data_prep.formats.reader import ReadOptions
from data_prep.formats.unread import note_unread
from data_prep.formats.via_regions import ViaLayout, find_via_layout
from data_prep.formats.written_photos import WrittenPhoto, place_photos
from data_prep.labels import UnknownLabelError
from data_prep.progress import show_progress
from data_prep.records import Dataset, Face, Finding

TABLES = frozenset({".csv", ".tsv"})
"""Endings of tables."""


class CsvReader:
    """Reads all tables of faces below a folder; other tables are passed over.

    Known are our own, TensorFlow's, makesense.ai's and VIA's, and any with a header that names
    photo, class and box; see `csv_columns.FIELDS`. A row with a photo alone is a photo without
    faces.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first table of faces."""
        check_columns(options.columns)
        tables = files.by_suffix(TABLES)
        return next((path for path in tables if _sniff(read_start(path), options.columns)), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `Reader`."""
        check_columns(options.columns)
        tables = files.by_suffix(TABLES)
        sniffed = {path: _sniff(read_start(path), options.columns) for path in tables}
        known = {path: found for path, found in sniffed.items() if found is not None}
        if not known:
            raise DatasetError(explain_tables(files, options.columns))
        findings: list[Finding] = []
        broken: list[Finding] = []
        written: list[WrittenPhoto] = []
        for path, (separator, layout) in known.items():
            name = files.call(path)
            try:
                text = decode_csv(path, name)
            except InputError as error:
                broken.append(Finding(name, "broken-csv", str(error), dropped=True))
                continue
            findings += note_unread(name, layout.unread)
            reader = _TableReader(path, name, options, separator, layout, findings)
            written.extend(reader.read(text))
        if len(broken) == len(known):
            raise DatasetError(" ".join(finding.message for finding in broken[:3]))
        return place_photos(files, written, [*broken, *findings])


@dataclass
class _Photo:
    where: str
    width: int | None
    height: int | None
    faces: list[Face] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    rows: int = 0

    def number_faces(self) -> tuple[Face, ...]:
        """The faces, numbered as written where every face has a number of its own."""
        numbers = [int(text) for text in self.objects if text.isdecimal() and len(text) < 10]
        if len(set(numbers)) != len(self.faces):
            return tuple(self.faces)
        return tuple(
            Face(number, face.label, face.box, face.difficult)
            for number, face in zip(numbers, self.faces, strict=True)
        )


@dataclass
class _TableReader:
    """Reads one table; faults go to a list of findings."""

    path: Path
    name: str
    options: ReadOptions
    separator: str
    layout: ColumnLayout | ViaLayout
    findings: list[Finding]
    labels: dict[str, str] = field(default_factory=dict)

    def read(self, text: str) -> list[WrittenPhoto]:
        photos: dict[str, _Photo] = {}
        rows = list_rows(text, self.separator, self.name)
        layout = self.layout
        for number, row in enumerate(show_progress(rows, text.count("\n"), f"reading {self.name}")):
            if number == 0 and layout.has_header:
                continue
            if row.fault or len(row.cells) != layout.cells:
                fault = row.fault or f"{len(row.cells)} cells instead of {layout.cells}"
                self._leave_out("bad-row", f"{row.where}: {fault}; repair the row.")
                continue
            self._add(photos, layout.parse(row.cells, row.where), row.where)
        return [
            WrittenPhoto(
                self.path, image, photo.where, photo.width, photo.height, photo.number_faces()
            )
            for image, photo in photos.items()
        ]

    def _add(self, photos: dict[str, _Photo], row: FaceRow, where: str) -> None:
        if not row.image:
            self._leave_out("unnamed-photo", f"{where}: the row names no photo.")
            return
        photo = photos.setdefault(row.image, _Photo(where, row.width, row.height))
        if row.box is None and not row.label and not row.fault:
            return
        # Faults keep their number, so that keys of faces are stable.
        number, photo.rows = photo.rows, photo.rows + 1
        if row.fault:
            self._leave_out("bad-box", f"{row.fault} The face is left out.")
        elif row.box is None:
            self._leave_out("no-box", f"{where}: class '{row.label}' without a box.")
        elif not row.label:
            self._leave_out("unnamed-object", f"{where}: a box without a class.")
        else:
            face = Face(number, self._find_label(row.label, where), row.box, row.difficult)
            photo.faces.append(face)
            photo.objects.append(row.object)

    def _find_label(self, written: str, where: str) -> str:
        if written not in self.labels:
            try:
                self.labels[written] = self.options.label(written)
            except UnknownLabelError as error:
                raise UnknownLabelError(f"{where}: {error}") from error
        return self.labels[written]

    def _leave_out(self, kind: str, message: str) -> None:
        self.findings.append(Finding(self.name, kind, message, dropped=True))


def _sniff(
    starts: Mapping[str, list[str]], columns: Mapping[str, str]
) -> tuple[str, ColumnLayout | ViaLayout] | None:
    """The separator with which the first row makes sense, and the layout it shows."""
    for separator, start in starts.items():
        layout = find_via_layout(start, columns) or find_layout(start, columns)
        if layout is not None:
            return separator, layout
    return None


def explain_tables(files: DatasetFiles, columns: Mapping[str, str]) -> str:
    """Why no table can be used, and what to do."""
    tables = files.by_suffix(TABLES)
    if not tables:
        return f"{files.root}: no table of faces (*.csv) in this folder or below it."
    try:
        decode_csv(tables[0], files.call(tables[0]))
    except InputError as error:
        return str(error)
    starts = read_start(tables[0]).values()
    header = max(starts, key=len)
    missing = list_missing(find_columns(header, columns))
    return (
        f"{files.call(tables[0])}:1: no column for {', '.join(missing)} (found: "
        f"{', '.join(header)[:200]}); name them with --columns "
        f"{','.join(f'{name}=COLUMN' for name in missing)}."
    )
