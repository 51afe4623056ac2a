"""PASCAL VOC annotation files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from data_prep.errors import UserError
from data_prep.labels import UnknownLabelError, canonical_label
from data_prep.records import Box, Face, Finding


class AnnotationError(UserError, ValueError):
    """An annotation file that can't be used at all; the message names it and the reason."""


@dataclass(frozen=True)
class VocAnnotation:
    """What one VOC file says.

    Attributes:
        filename: The photo's name as written in the file, or "" when there is none.
        width, height: The stated photo size in pixels, or None.
        faces: Faces with boxes as annotated, not yet clipped.
        findings: Objects that were left out, with reasons.
        unread: How many objects tell what is not read, such as `{"truncated": 2}`.
    """

    filename: str
    width: int | None
    height: int | None
    faces: tuple[Face, ...]
    findings: tuple[Finding, ...]
    unread: Mapping[str, int] = field(default_factory=dict)


def read_voc(
    path: Path,
    *,
    name: str | None = None,
    label_of: Callable[[str], str] = canonical_label,
) -> VocAnnotation:
    """Read one VOC XML file.

    Entities, DTDs and the network are off. Coordinates may be floats. An object without a usable
    box is left out with a finding; its index stays taken, so that keys of faces are stable.

    Args:
        path: The file.
        name: How to call it in findings; its path when None.
        label_of: Turns a class name as written into a class; raises `UnknownLabelError`.

    Raises:
        AnnotationError: The file can't be read, is not well-formed, or is not VOC.
        UnknownLabelError: A class name is not known; the message names the file and line.
    """
    name = name or str(path)
    root = parse_voc(path, name)
    faces: list[Face] = []
    findings: list[Finding] = []
    for index, element in enumerate(root.findall("object")):
        where = f"{name}:{element.sourceline}"
        if not _text(element, "name"):
            message = f"{where}: object {index} has no class name; the face is left out."
            findings.append(Finding(name, "unnamed-object", message, dropped=True))
            continue
        try:
            label = label_of(_text(element, "name"))
        except UnknownLabelError as error:
            raise UnknownLabelError(f"{where}: {error}") from error
        try:
            box = _read_box(element)
        except ValueError as error:
            message = f"{where}: object {index} has {error}; the face is left out."
            findings.append(Finding(name, "bad-box", message, dropped=True))
            continue
        difficult = _text(element, "difficult").lower() in {"1", "true"}
        faces.append(Face(index, label, box, difficult))
    size = root.find("size")
    return VocAnnotation(
        filename=_text(root, "filename"),
        width=_size(size, "width"),
        height=_size(size, "height"),
        faces=tuple(faces),
        findings=tuple(findings),
        unread=_count_unread(root),
    )


def parse_voc(path: Path, name: str) -> etree._Element:
    """The <annotation> of a VOC XML file, parsed with entities, DTDs and the network off.

    Args:
        path: The file.
        name: How to call it in messages.

    Raises:
        AnnotationError: The file can't be read, is not well-formed, or is not VOC.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        strip_cdata=False,
    )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{name}: can't be read ({error.strerror or error}).") from error
    if not data.strip():
        raise AnnotationError(f"{name}: the file is empty; restore it or remove it.")
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise AnnotationError(f"{name}: not well-formed XML ({error.msg}).") from error
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(dtd.entities()):  # type: ignore[union-attr]
        raise AnnotationError(
            f"{name}: declares XML entities, which are never expanded; remove the declarations."
        )
    if root.tag != "annotation":
        raise AnnotationError(f"{name}: not PASCAL VOC: <annotation> expected, <{root.tag}> found.")
    return root


def _count_unread(root: etree._Element) -> Counter[str]:
    tags = ("truncated", "occluded", "pose", "part", "polygon")
    objects = root.findall("object")
    return Counter(
        tag
        for element in objects
        for tag in tags
        if (child := element.find(tag)) is not None
        and (len(child) or _text(element, tag).lower() not in {"", "0", "false", "unspecified"})
    )


def _text(element: etree._Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _read_box(element: etree._Element) -> Box:
    bndbox = element.find("bndbox")
    if bndbox is None:
        raise ValueError("no <bndbox>")
    values = []
    for tag in Box._fields:
        text = _text(bndbox, tag)
        try:
            values.append(float(text))
        except ValueError:
            raise ValueError(f"'{text}' for <{tag}>, which is not a number") from None
    return Box(*values)


def _size(size: etree._Element | None, tag: str) -> int | None:
    """A stated side; 0, nothing or nonsense all mean that the file does not tell."""
    text = "" if size is None else _text(size, tag)
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        return None
    return value if value > 0 else None
