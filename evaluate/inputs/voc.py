"""Predictions in VOC XML files, one per photo, each object with a score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from lxml import etree

from data_prep.base.labels import UnknownLabelError, Vocabulary
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.base.records import Box
from data_prep.formats.input_files import InputError, check_box, list_files, read_number
from data_prep.formats.voc import AnnotationError, parse_voc
from evaluate.inputs.photos import name_photo
from evaluate.inputs.predictions import Predictions
from evaluate.inputs.rows import BoxRow, build_predictions, check_score

_SCORES = ("score", "confidence")
"""Elements that may hold the score; the first that is there counts."""

_HINT = "neither xmax may be under xmin nor ymax under ymin"


def read_voc_predictions(
    folder: Path, vocabulary: Vocabulary, *, photos: Sequence[str] = ()
) -> Predictions:
    """Read every VOC XML file below a folder as predictions.

    Each `<object>` has `<name>`, `<bndbox>` with far edges in pixels, and `<score>` or
    `<confidence>` from 0 to 1. A photo is called by the `<filename>` in the XML, as in annotations,
    unless no annotated photo has that name; then by the name of the XML.

    Args:
        folder: The folder; a file without objects is a photo without predictions.
        vocabulary: The classes there are.
        photos: Names of the annotated photos.

    Raises:
        InputError: A file is not VOC, or an object is not as it should be; the message names file
            and line. Nothing is left out: that would quietly change the figures.
    """
    known = {_fold(photo) for photo in photos}
    rows: list[BoxRow] = []
    names: dict[str, None] = {}
    files = list_files(folder, {".xml"})
    if not files:
        raise InputError(f"{folder}: no VOC files (*.xml) here or below.")
    for path in files:
        try:
            root = parse_voc(path, str(path))
        except AnnotationError as error:
            raise InputError(str(error)) from error
        written = (root.findtext("filename") or "").strip()
        written = written if _fold(PureWindowsPath(written).name) in known else ""
        name = name_photo(path.relative_to(folder).as_posix(), written, names)
        if name in names:
            raise InputError(f"{path}: its photo {name} has predictions in another file already.")
        names[name] = None
        rows.extend(_read_objects(root, path, name, vocabulary))
    return build_predictions(folder, names, rows)


def _read_objects(
    root: etree._Element, path: Path, photo: str, vocabulary: Vocabulary
) -> Iterator[BoxRow]:
    for element in root.findall("object"):
        where = f"{path}, line {element.sourceline}"
        try:
            label = vocabulary.index(_get_text(element, "name", where))
        except UnknownLabelError as error:
            raise InputError(f"{where}: {error}") from error
        sides = {
            side: read_number(_get_text(element, f"bndbox/{side}", where), side, where)
            for side in Box._fields
        }
        box = check_box(Box(**sides), where, _HINT)
        yield BoxRow(where, photo, label, box, check_score(_read_score(element, where), where))


def _read_score(element: etree._Element, where: str) -> float:
    for tag in _SCORES:
        text = (element.findtext(tag) or "").strip()
        if text:
            return read_number(text, tag, where)
    raise InputError(
        f"{where}: the object has no <score> or <confidence>; predictions need one. If these are "
        "annotations, give them as the ground truth."
    )


def _get_text(element: etree._Element, tag: str, where: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise InputError(f"{where}: the object has no <{tag}>; write one or remove the object.")
    return text


def _fold(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/").casefold())
    return path.stem if path.suffix in PHOTO_SUFFIXES else path.name
