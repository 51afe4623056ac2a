"""Changing single faces of a PASCAL VOC file and nothing else in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from data_prep.boxes import write_number
from data_prep.records import Box
from data_prep.voc import AnnotationError, parse_voc

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
    differ (`<a></a>` and `<a/>`, quotes of attributes, numbered characters).

    Args:
        path: The file; it is only read.
        edits: By the object's index in the file.
        name: How to call it in messages; its path when None.

    Raises:
        AnnotationError: The file can't be read, is not VOC, has no such object, or is in an
            encoding that can't be written.
    """
    name = name or str(path)
    root = parse_voc(path, name)
    objects = root.findall("object")
    for index, edit in edits.items():
        if index >= len(objects):
            raise AnnotationError(f"{name}: has no object {index}; was it changed meanwhile?")
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
            raise AnnotationError(f"{name}: an object lost its <{tag}>; was it changed meanwhile?")
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
        raise AnnotationError(
            f"{name}: its encoding, {encoding}, can't be written; save it as UTF-8."
        ) from error
