"""Boxes in text files, one file per photo and one box per line.

The format is that of Padilla's tools (Padilla, Netto, da Silva, "A Survey on Performance Metrics
for Object-Detection Algorithms", IWSSIP 2020): `class x y width height` for annotations, `class
score x y width height` for predictions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from data_prep.base.labels import knows_label
from data_prep.base.photo import Size
from data_prep.base.records import Box
from data_prep.base.tables import FloatArray
from data_prep.formats import input_files as raw
from data_prep.formats.contracts import FaceReader, Faults, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import CLASSES_FILE, ClassNames, check_relative
from data_prep.formats.photo_match import WrittenPhoto
from data_prep.formats.plausible import look_relative
from data_prep.formats.yolo import from_centre

Layout = Literal["xywh", "xyxy", "yolo", "ultralytics"]
"""What the numbers of a line are: top left corner and size; top left and bottom right corner; or
centre and size as shares of the photo's, with the score before them or, as Ultralytics writes
predictions, behind them."""

RELATIVE: frozenset[Layout] = frozenset({"yolo", "ultralytics"})
"""Layouts that need the sizes of the photos."""

TRUTH_FOLDER = "groundtruths"
DETECTIONS_FOLDER = "detections"

_CENTRED = ("centre x", "centre y", "width", "height")
_NUMBERS: Mapping[Layout, tuple[str, ...]] = {
    "xywh": ("x", "y", "width", "height"),
    "xyxy": ("xmin", "ymin", "xmax", "ymax"),
    "yolo": _CENTRED,
    "ultralytics": _CENTRED,
}
_NEGATIVE = "width and height can't be negative"
_HINTS: Mapping[Layout, str] = {
    "xywh": f"{_NEGATIVE}. If they are corners, choose the layout xyxy",
    "xyxy": "the order is xmin, ymin, xmax, ymax. If the last two are width and height, choose "
    "the layout xywh",
}


@dataclass(frozen=True)
class TextFormat:
    """How lines are to be read."""

    layout: Layout
    names: ClassNames
    options: ReadOptions
    scored: bool = False  # Predictions, with a score per line.


def read_text_boxes(
    folder: Path, form: TextFormat, find_sizes: Callable[[Sequence[str]], Mapping[str, Size]]
) -> list[WrittenPhoto]:
    """Read annotations or predictions; nothing is left out.

    A photo is called by the path of its file below the folder, without `.txt`; an empty file is a
    photo without a face. The class, a name or an id, is all that comes before the numbers.
    """
    files = list_texts(folder)
    sizes = find_sizes(list(files))
    photos = [_read_file(path, name, form, sizes.get(name)) for name, path in files.items()]
    # Taken for pixels, relative coordinates would make boxes of less than one, all of them.
    boxes = [face.box for photo in photos for face in photo.faces]
    if form.layout not in RELATIVE and look_relative(boxes):
        hint = "so they are no pixels; for relative ones choose the layout yolo."
        raise InputError(f"{folder}: all coordinates lie between 0 and 1, {hint}")
    return photos


def guess_layout(folder: Path, asked: Layout | None, *, scored: bool) -> Layout:
    """The layout that the numbers of all files have, as far as they tell, or the one asked for.

    Numbers of predictions that all lie between 0 and 1 are shares with the score before or behind
    them: where it is can be told by the boxes, which lie in their photos. Raises `InputError`: they
    contradict the layout that is asked for, or none has the score where the numbers have it.
    """
    count = 5 if scored else 4
    paths = list_texts(folder).values()
    lines = (raw.split_line(line) for path in paths for line in raw.read_lines(path))
    found = [[*map(float, words[-count:])] for words in lines if _has_numbers(words, count)]
    rows = np.array(found).reshape(-1, count)
    default: Layout = asked or "xywh"
    if not len(rows):
        return default
    shares = (rows >= 0) & (rows <= 1)
    first, last = shares[:, 0], shares[:, -1]
    if not (shares.all() and (rows % 1).any()):
        if scored and (shares[:, 1:].all() or shares[:, :-1].all()):
            hint = "but scores are not between 0 and 1: divide percentages by 100."
            raise InputError(f"{folder}: boxes are shares of the photo, {hint}")
        if scored and last.all() and not first.any() and default != "ultralytics":
            raise InputError(
                f"{folder}: the last numbers lie between 0 and 1, the first don't: is the score "
                "last? In pixels it stands before the box: class, score, x, y, width, height."
            )
        return default
    if not scored:
        return asked or "yolo"
    fits = {"yolo": _share_inside(rows[:, 1:]), "ultralytics": _share_inside(rows[:, :4])}
    likely: Layout = "yolo" if fits["yolo"] >= fits["ultralytics"] else "ultralytics"
    corners = [(box[:, 2:] > box[:, :2]).all() for box in (rows[:, 1:], rows[:, :4])]
    if fits[likely] < 0.9 and any(corners):
        raise InputError(
            f"{folder}: {1 - fits[likely]:.0%} of the boxes lie outside their photos. Are they "
            "corners as shares of the photo? Write them in pixels, or by centre and size."
        )
    if asked in fits and fits[asked] < 0.9 and fits[likely] > 0.98:
        raise InputError(
            f"{folder}: read as {asked}, {1 - fits[asked]:.0%} of the boxes lie outside their "
            f"photos; read as {likely}, {1 - fits[likely]:.0%}. Choose that with --pred-boxes."
        )
    return asked or likely


def _has_numbers(words: Sequence[str], count: int) -> bool:
    return len(words) > count and all(map(raw.is_number, words[-count:]))


def _share_inside(boxes: FloatArray) -> float:
    """Of boxes by centre and size, as shares of the photo, those that lie in it."""
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    far = ((centres - halves < -0.05) | (centres + halves > 1.05)).any(axis=1)
    return 1 - float(far.mean())


def list_texts(folder: Path) -> dict[str, Path]:
    """Text files below a folder by photo name: their paths without the ending, sorted."""
    files: dict[str, Path] = {}
    for path in raw.list_files(folder, {".txt"}):
        if path.name == CLASSES_FILE:
            continue
        photo = path.relative_to(folder).as_posix()[: -len(".txt")]
        if photo in files:
            raise InputError(f"{path}: {files[photo].name} is there too; keep one of them.")
        files[photo] = path
    if not files:
        raise InputError(f"{folder}: no text files (*.txt) here or below.")
    return files


def looks_like_boxes(path: Path) -> bool:
    """Whether the first line that is not blank ends with four numbers behind something else."""
    lines = raw.sniff_text(path).split("\n")
    return _has_numbers(next((raw.split_line(line) for line in lines if line.strip()), []), 4)


def _read_file(path: Path, photo: str, form: TextFormat, size: Size | None) -> WrittenPhoto:
    layout = form.layout
    names = _NUMBERS[layout]
    if form.scored:
        names = (*names, "score") if layout == "ultralytics" else ("score", *names)
    reader = FaceReader(Faults(str(path), strict=True), form.options)
    scores: list[float] = []
    for line, words in enumerate(map(raw.split_line, raw.read_lines(path)), start=1):
        if not words:
            continue
        where = f"{path}, line {line}"
        if len(words) <= len(names):
            hint = f"expected are class, {', '.join(names)}."
            raise InputError(f"{where}: {len(words)} values; {hint}")
        called, numbers = words[: -len(names)], dict(zip(names, words[-len(names) :], strict=True))
        values = {name: raw.read_number(word, name, where) for name, word in numbers.items()}
        score = [raw.check_score(values.pop("score"), where)] if form.scored else []
        box = partial(_to_box, layout, list(values.values()), size, where)
        label = partial(_find_label, called, names, form, where)
        scores += score if reader.add(where, label, box, _HINTS.get(layout, _NEGATIVE)) else []
    return replace(reader.finish(path, photo, str(path), size), scores=tuple(scores))


def _to_box(layout: Layout, values: list[float], size: Size | None, where: str) -> Box:
    if layout in ("xyxy", "xywh"):
        return Box(*values) if layout == "xyxy" else Box.sized(*values)
    if size is None:
        raise InputError(
            f"{where}: relative coordinates, but the photo's size is not known; give the folder of "
            "the photos (--photos FOLDER) or one size for all (--image-size W,H)."
        )
    check_relative(values, where)
    return from_centre(values, size)


def _find_label(called: list[str], names: tuple[str, ...], form: TextFormat, where: str) -> str:
    name, options = " ".join(called), form.options
    is_known = options.classes is None or knows_label(name, options.aliases, options.classes)
    if len(called) > 1 and raw.is_number(called[-1]) and not is_known:
        raise InputError(
            f"{where}: unknown class '{name}'. If '{called[-1]}' is not part of the class, the "
            f"line has more values than class, {', '.join(names)}."
        )
    return form.names.label(name, options, where)
