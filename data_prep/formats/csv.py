"""Datasets of photos and tables: a face per row."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.base.boxes import write_number
from data_prep.base.errors import DatasetError, OptionError
from data_prep.base.files import write_atomically
from data_prep.base.photo import PHOTO_SUFFIXES, Size
from data_prep.base.progress import show_progress
from data_prep.base.records import Box, Dataset, Face, note_unread
from data_prep.formats import contracts
from data_prep.formats import input_files as raw
from data_prep.formats.contracts import FaceReader, Faults, ReadOptions, Written
from data_prep.formats.exif_frame import FramedPhoto, place_photos
from data_prep.formats.input_files import InputError
from data_prep.formats.photo_match import DatasetFiles, WrittenPhoto
from data_prep.formats.plausible import Order, doubt_boxes
from data_prep.formats.tools import enclose_region, find_class

TABLE = "annotations.csv"
COLUMNS = ("image", "width", "height", "object", "label", *Box._fields, "difficult")
"""A photo without faces has a row with nothing from `object` on."""

TABLES = frozenset({".csv", ".tsv"})  # Endings of tables.

FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "filename", "file_name", "image_name", "image_path", "file", "path"),
        *("img", "photo", "image_id", "name"),
    ),
    "label": ("label", "class", "label_name", "class_name", "classname", "category"),
    "xmin": ("xmin", "x_min", "x1", "left", "bbox_x", "x"),
    "ymin": ("ymin", "y_min", "y1", "top", "bbox_y", "y"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
    "centre_x": ("centre_x", "center_x", "x_center", "x_centre", "xc", "cx"),
    "centre_y": ("centre_y", "center_y", "y_center", "y_centre", "yc", "cy"),
    "box_width": ("box_width", "bbox_width", "bbox_w", "w"),
    "box_height": ("box_height", "bbox_height", "bbox_h", "h"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "object": ("object",),
    "difficult": ("difficult", "iscrowd", "ignore"),
}
"""What can be told of a face, and the names of columns that are known for it, the surest first."""

_KNOWN = frozenset(name for names in FIELDS.values() for name in names)

_HEADERLESS = (
    ("label", "xmin", "ymin", "box_width", "box_height", "image", "width", "height"),
    ("image", "xmin", "ymin", "xmax", "ymax", "label"),
)
"""Columns of tables without a header: of makesense.ai's older exports, and of Keras RetinaNet's."""

_HINT = (
    "neither xmax may be under xmin nor ymax under ymin; if these are width and height, say so "
    "with --columns box_width=...,box_height=..."
)


@dataclass(frozen=True, slots=True)
class FaceRow:
    """What a row tells, as written; `size` is the photo's."""

    image: str
    label: str
    box: Box | None
    fault: str = ""  # Why the face can't be used.
    size: Size | None = None
    object: str = ""
    difficult: bool = False


_SHAPE, _ATTRIBUTES = "region_shape_attributes", "region_attributes"


@dataclass(frozen=True)
class Layout:
    """A table with a column for each field, or of VIA with a region per row in JSON."""

    cells: int  # Of every row.
    places: Mapping[str, int]  # Index of each field's column.
    has_header: bool = True
    unread: tuple[str, ...] = ()  # Names of columns that tell something else.
    header: tuple[str, ...] = ()
    attribute: str | None = None  # Of VIA's that holds the class; the only one there is when None.

    @property
    def order(self) -> Order:
        """How boxes are written."""
        if "centre_x" in self.places and "xmin" not in self.places:
            return "centred"
        return "sized" if self.places.keys() & {"box_width", _SHAPE} else "corners"

    def parse(self, cells: Sequence[str], where: str) -> FaceRow:
        """What a row tells; `where` is its file and line."""
        found = {field: cells[place] for field, place in self.places.items()}
        label, box, fault = found.get("label", ""), None, ""
        try:
            if _SHAPE in found:
                shape, told = (_load(found[name], name, where) for name in (_SHAPE, _ATTRIBUTES))
                label = find_class(told, self.attribute, where)
                box = enclose_region(shape, where) if shape else None
            else:
                box = self._read_box(found, where)
                if box is not None:
                    raw.check_box(box, where, _HINT)
        except InputError as error:
            fault = str(error)
        size = raw.read_size(found.get("width", ""), found.get("height", ""))
        difficult = found.get("difficult", "").lower() in {"1", "true", "yes"}
        return FaceRow(found["image"], label, box, fault, size, found.get("object", ""), difficult)

    def _read_box(self, found: Mapping[str, str], where: str) -> Box | None:
        near = ("centre_x", "centre_y") if self.order == "centred" else ("xmin", "ymin")
        far = ("xmax", "ymax") if self.order == "corners" else ("box_width", "box_height")
        if not any(found[side] for side in near + far):
            return None
        x, y, right, bottom = (raw.read_number(found[side], side, where) for side in near + far)
        if self.order == "centred":
            x, y = x - right / 2, y - bottom / 2
        return Box(x, y, right, bottom) if far[0] == "xmax" else Box(x, y, x + right, y + bottom)


def _load(text: str, name: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {name} is broken JSON ({error}).") from error
    return raw.json_object(value, f"{where}: {name}")


def find_columns(header: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Index of the column of each field that a header has, whatever its case.

    `width` and `height` are those of the box where nothing else can be. For some fields `columns`
    gives the name.
    """
    names = [_normalise(cell) for cell in header]
    places: dict[str, int] = {}
    for field, known in FIELDS.items():
        wanted = (_normalise(columns[field]),) if field in columns else known
        place = next((names.index(name) for name in wanted if name in names), None)
        if place is not None:
            places[field] = place
    if not {"xmax", "ymax"} <= places.keys() and not {"box_width", "box_height"} & places.keys():
        for side in ("width", "height"):
            if side in places:
                places[f"box_{side}"] = places.pop(side)
    return places


def list_missing(places: Mapping[str, int]) -> list[str]:
    """Fields without which a table does not annotate faces."""
    near = () if {"centre_x", "centre_y"} <= places.keys() else ("xmin", "ymin")
    missing = [field for field in ("image", "label", *near) if field not in places]
    if not {"xmax", "ymax"} <= places.keys() and not {"box_width", "box_height"} <= places.keys():
        missing += ["xmax", "ymax"]
    return missing


def find_layout(start: Sequence[str], columns: Mapping[str, str]) -> Layout | None:
    """The layout of a table by its first row, or None when it does not annotate faces."""
    names = {"image": "filename", _SHAPE: _SHAPE, _ATTRIBUTES: _ATTRIBUTES}  # VIA's.
    if set(names.values()) <= {*start}:
        places = {field: start.index(name) for field, name in names.items()}
        return Layout(len(start), places, attribute=columns.get("label"))
    places = find_columns(start, columns)
    if not list_missing(places):
        # Far corners go before width and height, unless these were asked for.
        if {"xmax", "ymax"} <= places.keys() and "box_width" not in columns:
            places = {f: place for f, place in places.items() if not f.startswith("box_")}
        used = {start[place] for place in places.values()}
        unread = [name for name in start if name and _normalise(name) not in _KNOWN]
        unused = tuple(name for name in unread if name not in used)
        return Layout(len(start), places, True, unused, tuple(start))
    for fields in () if columns else _HEADERLESS:
        if len(start) != len(fields):
            continue
        places = {field: place for place, field in enumerate(fields)}
        suffix = PurePosixPath(start[places["image"]]).suffix.lower()
        numbers = [start[at] for field, at in places.items() if field not in ("label", "image")]
        if suffix in PHOTO_SUFFIXES and all(map(raw.is_number, numbers)):
            return Layout(len(start), places, False, header=tuple(start))
    return None


def parse_columns(text: str) -> dict[str, str]:
    """Read `--columns image=file,label=class`; an `OptionError` says what can't be understood.

    >>> parse_columns("image=file, xmin=x")
    {'image': 'file', 'xmin': 'x'}
    """
    columns = {}
    for part in text.split(",") if text.strip() else ():
        field, equals, column = (word.strip() for word in part.partition("="))
        if not equals or not column:
            raise OptionError(f"--columns {text}: '{part}' is not FIELD=COLUMN.")
        columns[field] = column
    for field in columns:
        if field not in FIELDS:
            raise OptionError(f"--columns {field}=...: fields are {', '.join(FIELDS)}.")
    return columns


def _normalise(name: str) -> str:
    return "_".join(name.replace("-", " ").replace("_", " ").lower().split())


class CsvFormat(contracts.DatasetFormat):
    """All tables of faces below a folder, written to `annotations.csv`; others are passed over.

    They are VIA's, or any whose columns are known, see `FIELDS`; a row with a photo alone is a
    photo without faces.
    """

    looks = "table (*.csv) with columns for photo, class and box"

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first table of faces."""
        return next((path for path, *_ in _sniff(files, options.columns)), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `DatasetFormat`."""
        known = list(_sniff(files, options.columns))
        if not known:
            raise DatasetError(explain_tables(files, options.columns))
        layouts = {path: (separator, layout) for path, separator, layout in known}
        read = partial(_read_table, layouts=layouts)
        orders = {layout.order for _, layout in layouts.values()}
        order: Order = orders.pop() if len(orders) == 1 else "corners"
        told = contracts.read_each(files, [*layouts], "broken-csv", "table (*.csv)", read, options)
        return place_photos(files, *told, order)

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `DatasetFormat`."""
        write_atomically(folder / TABLE, tabulate(photos))
        return Written((TABLE,), {})


def _read_table(
    path: Path, faults: Faults, options: ReadOptions, layouts: Mapping[Path, tuple[str, Layout]]
) -> list[WrittenPhoto]:
    separator, layout = layouts[path]
    text = raw.decode_csv(path, faults.file)
    used = [layout.header[place] for place in layout.places.values() if layout.header]
    if layout.has_header and (twice := [name for name in used if layout.header.count(name) > 1]):
        raise InputError(f"{faults.file}:1: column {twice[0]} is there more than once; keep one.")
    faults.findings += note_unread(faults.file, layout.unread)
    photos: dict[str, tuple[str, Size | None, FaceReader]] = {}
    objects: dict[str, list[str]] = {}
    boxes: list[Box] = []
    rows = raw.list_rows(text, separator, faults.file)
    shown = show_progress(rows, text.count("\n"), f"reading {faults.file}")
    for number, (where, cells, fault) in enumerate(shown):
        if number == 0 and layout.has_header:
            continue
        if fault or len(cells) != layout.cells:
            hint = ": decimals take points, texts with a comma quotes"
            hint = hint if len(cells) > layout.cells and separator == "," else ""
            fault = fault or f"{len(cells)} cells instead of {layout.cells}"
            faults.leave_out("bad-row", f"{where}: {fault}; repair the row{hint}.")
            continue
        row = layout.parse(cells, where)
        if not row.image:
            faults.leave_out("unnamed-photo", f"{where}: the row names no photo.")
            continue
        if row.image not in photos:
            photos[row.image] = where, row.size, FaceReader(faults, options)
        reader = photos[row.image][-1]
        boxes += [row.box] if row.box is not None else []
        if row.fault:
            reader.leave_out("bad-box", row.fault)
            reader.wrong += [row.box] if row.box is not None else []
        elif row.box is not None:
            if reader.add(where, row.label, partial(Box, *row.box), difficult=row.difficult):
                objects.setdefault(row.image, []).append(row.object)
        elif row.label:
            reader.leave_out("no-box", f"{where}: class '{row.label}' without a box.")
    if doubt := doubt_boxes(boxes, [None] * len(boxes), layout.order):
        raise DatasetError(f"{faults.file}: {doubt} {_propose_columns(layout, doubt)}")
    written = []
    for image, (where, size, reader) in photos.items():
        reader.faces[:] = _number(reader.faces, objects.get(image, ()))
        written.append(reader.finish(path, image, where, size))
    return written


def _propose_columns(layout: Layout, doubt: str) -> str:
    """What to write where the columns of corners are mislabelled, if another order fits."""
    asked = re.search(r"Are they (xm.*|ym.*)\?", doubt)
    if asked is None or layout.order != "corners":
        return "Correct the table, or name its columns with --columns."
    columns = [layout.header[layout.places[side]] for side in Box._fields]
    pairs = zip(asked[1].split(", "), columns, strict=True)
    named = ",".join(f"{side}={column}" for side, column in pairs)
    return f"Then its columns are mislabelled: correct the header, or give --columns {named}."


def _number(faces: Sequence[Face], objects: Sequence[str]) -> Sequence[Face]:
    """The faces, numbered as written where every face has a number of its own."""
    numbers = [int(text) for text in objects if text.isdecimal() and len(text) < 10]
    if len(set(numbers)) != len(faces):
        return faces
    return [replace(face, object=n) for n, face in zip(numbers, faces, strict=True)]


def _sniff(files: DatasetFiles, columns: Mapping[str, str]) -> Iterator[tuple[Path, str, Layout]]:
    """Tables of faces, each with the separator by which its first row makes sense, and layout."""
    for path in files.by_suffix(TABLES):
        for separator, start in raw.read_start(path).items():
            if layout := find_layout(start, columns):
                yield path, separator, layout
                break


def explain_tables(files: DatasetFiles, columns: Mapping[str, str]) -> str:
    """Why no table can be used, and what to do."""
    tables = files.by_suffix(TABLES)
    if not tables:
        return f"{files.root}: no table of faces (*.csv) in this folder or below it."
    try:
        raw.decode_csv(tables[0], files.call(tables[0]))
    except InputError as error:
        return str(error)
    header = max(raw.read_start(tables[0]).values(), key=len)
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
        start = (photo.image, *photo.size)
        for face in photo.faces:
            box = map(write_number, face.box)
            row = (*start, face.object, face.label, *box, int(face.difficult))
            writer.writerow([*row, *values.values()])
        if not photo.faces:
            writer.writerow([*start, *[""] * (len(COLUMNS) - len(start)), *values.values()])
    return text.getvalue()
