"""A folder of corrected PASCAL VOC files, for other tools."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lxml import etree

from data_prep.base.boxes import write_number
from data_prep.base.command import spell
from data_prep.base.errors import DatasetError
from data_prep.base.files import (
    make_folder,
    refuse_dataset_folders,
    refuse_other_files,
    write_atomically,
    write_json,
)
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Dataset
from data_prep.decisions.overlay import WrittenNames
from data_prep.formats.contracts import Faults, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.registry import DEFAULT_OPTIONS, read_dataset
from data_prep.formats.voc import parse_voc, read_voc

# What may stand around the root element. The parser does not give it back as it was, so it is
# taken from the file's text.
_PROLOGUE = re.compile(r"(?:[^<]|<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>)*", re.S)
_EPILOGUE = re.compile(r"</annotation\s*>((?:\s|<!--.*?-->|<\?.*?\?>)*)\Z", re.S)


@dataclass(frozen=True)
class Edit:
    """A new class name and a new box for a face; None leaves what is there."""

    name: str | None = None
    box: Box | None = None


def edit_voc(path: Path, edits: Mapping[int, Edit | None], *, name: str | None = None) -> bytes:
    """The bytes of a VOC file with some objects changed, and removed where the edit is None.

    Everything else stays: unknown elements and attributes, comments, their order, white space,
    line ends, the encoding. Inside the root element, spellings that mean the same in XML may
    differ (`<a></a>` and `<a/>`, quotes of attributes, numbered characters). Edits go by the
    object's index in the file; messages call the file `name`.

    Raises:
        InputError: The file can't be read, is not VOC, has no such object, or is in an
            encoding that can't be written.
    """
    name = name or str(path)
    root = parse_voc(path, name)
    objects = root.findall("object")
    for index, edit in edits.items():
        if index >= len(objects):
            raise InputError(f"{name}: has no object {index}; was it changed meanwhile?")
        if edit is None:
            _remove(objects[index])
        else:
            _change(objects[index], edit, name)
    return _serialise(root, path.read_bytes(), name)


def _change(element: etree._Element, edit: Edit, name: str) -> None:
    texts = {} if edit.name is None else {"name": edit.name}
    if edit.box is not None:
        for tag, value in zip(Box._fields, edit.box, strict=True):
            texts[f"bndbox/{tag}"] = write_number(value)
    for tag, text in texts.items():
        child = element.find(tag)
        if child is None:
            raise InputError(f"{name}: an object lost its <{tag}>; was it changed meanwhile?")
        old = child.text or ""
        # Blanks around it stay.
        child.text = old.replace(old.strip(), text, 1) if old.strip() else text


def _remove(element: etree._Element) -> None:
    """Remove an element and the white space before it; text behind it stays."""
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    kept = (parent.text if before is None else before.tail) or ""
    tail = element.tail or ""
    text = kept + tail if kept.strip() else tail
    if before is None:
        parent.text = text
    else:
        before.tail = text
    element.tail = None
    parent.remove(element)


def _serialise(root: etree._Element, data: bytes, name: str) -> bytes:
    encoding = root.getroottree().docinfo.encoding or "UTF-8"
    body = etree.tostring(root, encoding="unicode", with_tail=False)
    try:
        text = data.decode(encoding)
        if "\r\n" in text:
            body = body.replace("\n", "\r\n")
        before, after = _PROLOGUE.match(text), _EPILOGUE.search(text)
        whole = (before.group() if before else "") + body + (after.group(1) if after else "")
        return whole.encode(encoding, "xmlcharrefreplace")
    except (LookupError, UnicodeError) as error:
        raise InputError(
            f"{name}: its encoding, {encoding}, can't be written; save it as UTF-8."
        ) from error


RECORD = "voc.json"
"""Marks a folder as written here, and lists the files that differ from the datasets'."""


def check_voc_folder(out: Path, datasets: Sequence[Dataset]) -> None:
    """Refuse to write over anything but what was written here before, and other formats."""
    for dataset in datasets:
        files = Counter(photo.annotation for photo in dataset.photos)
        others = (n for n, count in files.items() if count > 1 or not n.lower().endswith(".xml"))
        if other := next(others, None):
            raise DatasetError(
                f"{dataset.root}: --write-voc corrects VOC files, but this dataset has others "
                f"({other}); write it in any format with: {spell('convert')} "
                f"{dataset.root} --decisions LEDGER"
            )
    folders = {out / dataset.source for dataset in datasets}
    folders |= {(out / p.source / p.annotation).parent for d in datasets for p in d.photos}
    refuse_dataset_folders(folders, [dataset.root for dataset in datasets], "--write-voc")
    refuse_other_files(out, RECORD, "--write-voc", mark="changed")


def write_voc(
    original: Sequence[Dataset],
    corrected: Sequence[Dataset],
    out: Path,
    reading: ReadOptions = DEFAULT_OPTIONS,
) -> list[str]:
    """Write every annotation file that is used to `out/<source>/`; those with changes are returned.

    Only class names and boxes of changed faces are touched, and dropped objects are gone (see
    `edit_voc`); files without a change are copied byte for byte. A class is called what its
    dataset mostly calls it.

    Raises:
        DatasetError: A dataset has other formats, or a file was changed meanwhile.
        OutputError: The folder can't be written, or not without harm.
    """
    check_voc_folder(out, original)
    make_folder(out)
    # First of all, so that a half-written folder is known for ours the next time.
    write_json(out / RECORD, {"changed": None})
    changed: list[str] = []
    for before, after in zip(original, corrected, strict=True):
        written = read_dataset(before.root, replace(reading, classes=None))
        names = WrittenNames(before, written).usual
        pairs = list(zip(before.photos, after.photos, strict=True))
        for old, new in show_progress(pairs, len(pairs), f"writing annotations of {before.source}"):
            name, path = f"{old.source}/{old.annotation}", old.root / old.annotation
            edits = _list_edits(old, new, names)
            if edits:
                changed.append(name)
            stated = _as_stated(edits, old, name) if edits else {}
            data = edit_voc(path, stated, name=name) if edits else path.read_bytes()
            write_atomically(out / old.source / old.annotation, data)
    write_json(out / RECORD, {"changed": changed})
    return changed


def _as_stated(
    edits: Mapping[int, Edit | None], photo: AnnotatedPhoto, name: str
) -> Mapping[int, Edit | None]:
    """Edits with boxes of the size that the file states, where the photo was resized since."""
    read = read_voc(photo.root / photo.annotation, Faults(name), ReadOptions(classes=None))
    if read.size is None or photo.stated_size in (None, read.size):
        return edits
    scale = read.size[0] / (photo.width or 1)
    return {
        number: edit and replace(edit, box=edit.box and Box(*(side * scale for side in edit.box)))
        for number, edit in edits.items()
    }


def _list_edits(
    old: AnnotatedPhoto, new: AnnotatedPhoto, names: Mapping[str, str]
) -> dict[int, Edit | None]:
    corrected = {face.object: face for face in new.faces}
    edits: dict[int, Edit | None] = {}
    for face in old.faces:
        after = corrected.get(face.object)
        if after is None:
            edits[face.object] = None
        elif after != face:
            label = names.get(after.label, after.label) if after.label != face.label else None
            edits[face.object] = Edit(label, after.box if after.box != face.box else None)
    return edits
