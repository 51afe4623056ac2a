"""PASCAL VOC: an XML file per photo, of annotations or, with scores, of predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from lxml import etree
from lxml.builder import E

from data_prep.base.boxes import write_number
from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.base.progress import show_progress
from data_prep.base.records import Box, Dataset, Face, Finding, note_unread
from data_prep.formats.contracts import (
    IMAGES,
    DatasetFormat,
    Faults,
    ReadOptions,
    Written,
    count_left_out,
)
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.formats.input_files import (
    InputError,
    check_box,
    check_score,
    list_files,
    read_number,
    read_size,
)
from data_prep.formats.photo_match import DatasetFiles, WrittenPhoto, match_photos, place_photos

ANNOTATIONS = "annotations"
"""The folder that is written."""

_UNREAD = ("truncated", "occluded", "pose", "part", "polygon")


class AnnotationError(InputError):
    """An annotation file that can't be used at all; the message names it and the reason."""


def read_voc(
    path: Path, options: ReadOptions, faults: Faults, unread: Counter[str] | None = None
) -> WrittenPhoto:
    """Read one VOC XML file; when strict, one of predictions, where each object has a score.

    Entities, DTDs and the network are off. Coordinates may be floats. An object without a usable
    box is left out with a finding; its index stays taken, so that keys of faces are stable. What
    objects tell that is not read is counted in `unread`.

    Raises:
        AnnotationError: The file can't be read, is not well-formed, or is not VOC.
        InputError: An object of predictions is not as it should be.
        UnknownLabelError: A class name is not known; the message names the file and line.
    """
    root = parse_voc(path, faults.file)
    faces: list[Face] = []
    scores: list[float] = []
    for index, element in enumerate(root.findall("object")):
        place = faults.at(element.sourceline)
        where = f"{place}: object {index}"
        if unread is not None:
            unread.update(tag for tag in _UNREAD if _is_told(element, tag))
        written = _text(element, "name")
        if not written:
            message = f"{where} has no class name; write a <name> or remove the object."
            faults.leave_out("unnamed-object", message, " The face is left out.")
            continue
        label = options.label(written, place)
        try:
            box = _read_box(element, where)
        except InputError as error:
            faults.leave_out("bad-box", str(error), " The face is left out.")
            continue
        if faults.strict:
            check_box(box, where, "neither xmax may be under xmin nor ymax under ymin")
            scores.append(_read_score(element, where))
        difficult = _text(element, "difficult").lower() in {"1", "true"}
        faces.append(Face(index, label, box, difficult))
    size = read_size(_text(root, "size/width"), _text(root, "size/height"))
    image = _text(root, "filename")
    return WrittenPhoto(
        path, image, faults.file, size, tuple(faces), tuple(scores), fallback=path.stem
    )


def parse_voc(path: Path, name: str) -> etree._Element:
    """The <annotation> of a VOC XML file, parsed with entities, DTDs and the network off.

    Raises:
        AnnotationError: It can't be read or is not VOC; the message calls it by `name`.
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


def _is_told(element: etree._Element, tag: str) -> bool:
    child = element.find(tag)
    nothing = {"", "0", "false", "unspecified"}
    return child is not None and (len(child) > 0 or _text(element, tag).lower() not in nothing)


def _text(element: etree._Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _read_box(element: etree._Element, where: str) -> Box:
    if element.find("bndbox") is None:
        raise InputError(f"{where} has no <bndbox>.")
    sides = Box._fields
    return Box(*(read_number(_text(element, f"bndbox/{s}"), f"<{s}>", where) for s in sides))


def _read_score(element: etree._Element, where: str) -> float:
    for tag in ("score", "confidence"):
        if text := _text(element, tag):
            return check_score(read_number(text, tag, where), where)
    raise InputError(
        f"{where} has no <score> or <confidence>; predictions need one. If these are "
        "annotations, give them as the ground truth."
    )


class VocFormat(DatasetFormat):
    """Every VOC file below a folder, written to `annotations/<photo>.xml`.

    A photo is found by the `<filename>` in the XML, else by that name's stem, else by the XML's
    own stem; anywhere below the folder.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first XML file with an <annotation>."""
        return next((path for path in files.by_suffix({".xml"}) if _is_voc(path)), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `DatasetFormat`."""
        if not files.by_suffix({".xml"}) or not files.photos:
            missing = "photo" if files.by_suffix({".xml"}) else "VOC annotation (*.xml)"
            raise DatasetError(f"{files.root}: no {missing} in this folder or below it.")
        written, findings = _read_files(files, options)
        return place_photos(files, written, findings)

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `DatasetFormat`."""
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
            count_left_out(photos),
        )


def _read_files(
    files: DatasetFiles, options: ReadOptions
) -> tuple[list[WrittenPhoto], list[Finding]]:
    written: list[WrittenPhoto] = []
    findings: list[Finding] = []
    unread: Counter[str] = Counter()
    for path in files.by_suffix({".xml"}):
        faults = Faults(files.call(path), findings=findings)
        try:
            photo = read_voc(path, options, faults, unread)
        except AnnotationError as error:
            findings.append(Finding(faults.file, "broken-xml", str(error), dropped=True))
            continue
        written.append(replace(photo, image=photo.image or path.stem))
    things = [f"{tag} of {count} objects" for tag, count in sorted(unread.items())]
    return written, [*findings, *note_unread(files.source, things)]


def read_voc_truth(
    files: DatasetFiles, options: ReadOptions
) -> tuple[list[WrittenPhoto], list[str]]:
    """Every VOC file below a folder, with or without the photos.

    A photo is called by its path below the folder when it is there, else by the path of the XML
    with the file name that is written in it. With them comes a message for every file or face that
    can't be used.
    """
    written, findings = _read_files(files, options)
    left_out = [finding.message for finding in [*files.findings, *findings] if finding.dropped]
    found: dict[str, WrittenPhoto] = {}
    options_of = zip(written, match_photos(files, written), strict=True)
    # Photos that are there first: names of others give way to theirs.
    for photo, there in sorted(options_of, key=lambda pair: len(pair[1]) != 1):
        name = (
            files.relative(there[0])
            if len(there) == 1
            else name_photo(files.relative(photo.annotation), photo.image, found)
        )
        if name in found:
            left_out.append(f"{photo.where}: {name} is already annotated by another file.")
            continue
        found[name] = replace(photo, image=name)
    return list(found.values()), left_out


def read_voc_predictions(
    folder: Path, options: ReadOptions, photos: Sequence[str] = ()
) -> list[WrittenPhoto]:
    """Read every VOC XML file below a folder as predictions.

    Each `<object>` has `<name>`, `<bndbox>` with far edges in pixels, and `<score>` or
    `<confidence>` from 0 to 1. A photo is called by the `<filename>` in the XML, as in annotations,
    unless no annotated photo has that name; then by the name of the XML.
    """
    known = {_fold(photo) for photo in photos}
    found: dict[str, WrittenPhoto] = {}
    for path in list_files(folder, {".xml"}):
        voc = read_voc(path, options, Faults(str(path), strict=True))
        written = voc.image if _fold(PureWindowsPath(voc.image).name) in known else ""
        name = name_photo(path.relative_to(folder).as_posix(), written, found)
        if name in found:
            raise InputError(f"{path}: its photo {name} has predictions in another file already.")
        found[name] = replace(voc, image=name, where=name)
    if not found:
        raise InputError(f"{folder}: no VOC files (*.xml) here or below.")
    return list(found.values())


def name_photo(annotation: str, filename: str, taken: Iterable[str]) -> str:
    """Name of the photo that a VOC file is about.

    Of names that others have taken, the XML's own name serves.

    >>> name_photo("x/a.xml", "b.png", {}), name_photo("x/a.xml", "b.png", {"x/b.png"})
    ('x/b.png', 'x/a.png')
    """
    path = PurePosixPath(annotation)
    # Exporters on Windows write whole paths; only the last part can be of use here.
    name = PureWindowsPath(filename).name or path.stem
    photo = str(path.with_name(name))
    return str(path.with_suffix(PurePosixPath(name).suffix)) if photo in taken else photo


def _fold(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/").casefold())
    return path.stem if path.suffix in PHOTO_SUFFIXES else path.name


def _is_voc(path: Path) -> bool:
    """Whether a file, broken or not, starts like VOC's; other tools leave XML files too."""
    try:
        with path.open("rb") as file:
            return b"<annotation" in file.read(4096).replace(b"\0", b"")  # Also in UTF-16.
    except OSError:
        return False


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
    # Photos are always read as RGB, however they are stored.
    size = E.size(E.width(str(photo.width)), E.height(str(photo.height)), E.depth("3"))
    start = E.folder(folder), E.filename(filename), size, E.segmented("0")
    objects = [
        E.object(
            E.name(face.label),
            E.pose("Unspecified"),
            E.truncated("0"),
            E.difficult(str(int(face.difficult))),
            E.bndbox(*(E(tag, write_number(value)) for tag, value in face.box._asdict().items())),
        )
        for face in photo.faces
    ]
    root: etree._Element = E.annotation(*start, *objects)
    etree.indent(root, space="\t")
    return root
