"""PASCAL VOC annotation files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lxml import etree

from data_prep.base.boxes import write_number
from data_prep.base.errors import DatasetError, UserError
from data_prep.base.files import write_atomically
from data_prep.base.labels import UnknownLabelError, canonical_label
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face, Finding, note_unread
from data_prep.formats.contracts import (
    IMAGES,
    ReadOptions,
    Written,
    count_left_out,
    count_renumbered,
)
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.formats.photo_match import DatasetFiles, PhotoFinder


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


class VocReader:
    """Reads every VOC file below a folder and finds its photo.

    A photo is found by the `<filename>` in the XML, else by that name's stem, else by the XML's
    own stem; anywhere below the folder.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first XML file with an <annotation>."""
        return next((path for path in files.by_suffix({".xml"}) if _is_voc(path)), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `Reader`."""
        source, root = files.source, files.root
        findings = list(files.findings)
        annotations = files.by_suffix({".xml"})
        finder = PhotoFinder(files.photos)
        if not annotations or not files.photos:
            missing = "VOC annotation (*.xml)" if not annotations else "photo"
            raise DatasetError(f"{root}: no {missing} in this folder or below it.")
        photos: dict[str, AnnotatedPhoto] = {}
        unread: Counter[str] = Counter()
        for path in annotations:
            relative, name = files.relative(path), files.call(path)
            try:
                voc = read_voc(path, name=name, label_of=options.label)
            except AnnotationError as error:
                findings.append(Finding(name, "broken-xml", str(error), dropped=True))
                continue
            findings.extend(voc.findings)
            unread.update(voc.unread)
            photo = finder.find(path, voc.filename)
            if photo is None:
                message = f"{name}: its photo '{voc.filename or path.stem}' is not in the folder."
                findings.append(Finding(name, "missing-photo", message, dropped=True))
                continue
            image = files.relative(photo)
            if image in photos:
                message = (
                    f"{name}: {image} is already annotated by {photos[image].annotation}; its "
                    f"{len(voc.faces)} faces are left out."
                )
                findings.append(Finding(name, "second-annotation", message, dropped=True))
                continue
            photos[image] = AnnotatedPhoto(
                source, root, image, relative, voc.width, voc.height, voc.faces
            )
        things = [f"{tag} of {count} objects" for tag, count in sorted(unread.items())]
        findings.extend(note_unread(source, things))
        findings.extend(files.unused_photos(photos))
        return Dataset(
            source, root, tuple(photos[image] for image in sorted(photos)), tuple(findings)
        )


def _is_voc(path: Path) -> bool:
    """Whether a file, broken or not, starts like VOC's; other tools leave XML files too."""
    try:
        with path.open("rb") as file:
            return b"<annotation" in file.read(4096).replace(b"\0", b"")  # Also in UTF-16.
    except OSError:
        return False


ANNOTATIONS = "annotations"


class VocWriter:
    """Writes `annotations/<photo>.xml`; photos keep their place."""

    holds_photos = True

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Photos stay where they are; see `Writer`."""
        return {image: image for image in images}

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `Writer`."""
        images = [photo.image for photo in photos]
        files = name_annotations(images)
        # A bare name is the custom; only where two photos share it does it take the path to tell.
        names = Counter(PurePosixPath(image).name.lower() for image in images)
        for photo in show_progress(photos, len(photos), "writing annotations"):
            path = PurePosixPath(photo.image)
            filename = path.name if names[path.name.lower()] == 1 else photo.image
            try:
                root = _describe(photo, filename, path.parent.name)
            except ValueError as error:
                raise DatasetError(
                    f"{photo.annotation}: XML can't hold the name of the photo or of a class "
                    f"({error}); rename it or choose another format."
                ) from error
            data = etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)
            write_atomically(folder / files[photo.image], data)
        return Written(
            tuple(files[image] for image in images),
            count_left_out(object_numbers=count_renumbered(photos)),
        )


def name_annotations(images: Sequence[str]) -> dict[str, str]:
    """The XML file of each photo: its stem, or its whole name where stems are shared."""
    inside = all(image.startswith(f"{IMAGES}/") for image in images)
    paths = {
        image: PurePosixPath(image.removeprefix(f"{IMAGES}/" if inside else "")) for image in images
    }
    stems = Counter(str(path.with_suffix("")).lower() for path in paths.values())
    return {
        image: f"{ANNOTATIONS}/{path.with_suffix('')}.xml"
        if stems[str(path.with_suffix("")).lower()] == 1
        else f"{ANNOTATIONS}/{path}.xml"
        for image, path in paths.items()
    }


def _describe(photo: FramedPhoto, filename: str, folder: str) -> etree._Element:
    root = etree.Element("annotation")
    _add(root, "folder", folder)
    _add(root, "filename", filename)
    size = etree.SubElement(root, "size")
    # Photos are always read as RGB, however they are stored.
    for tag, side in (("width", photo.width), ("height", photo.height), ("depth", 3)):
        _add(size, tag, str(side))
    _add(root, "segmented", "0")
    for face in photo.faces:
        element = etree.SubElement(root, "object")
        _add(element, "name", face.label)
        _add(element, "pose", "Unspecified")
        _add(element, "truncated", "0")
        _add(element, "difficult", str(int(face.difficult)))
        bndbox = etree.SubElement(element, "bndbox")
        for tag, value in face.box._asdict().items():
            _add(bndbox, tag, write_number(value))
    etree.indent(root, space="\t")
    return root


def _add(parent: etree._Element, tag: str, text: str) -> None:
    etree.SubElement(parent, tag).text = text
