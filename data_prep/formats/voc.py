"""PASCAL VOC: an XML file per photo, of annotations or, with scores, of predictions."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from lxml import etree
from lxml.builder import E

from data_prep.base.boxes import write_number
from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.base.progress import show_progress
from data_prep.base.records import NAME_CONFLICT, Box, Finding
from data_prep.formats import contracts
from data_prep.formats import input_files as raw
from data_prep.formats.contracts import FaceReader, Faults, FileFormat, ReadOptions, Written
from data_prep.formats.exif_frame import FramedPhoto, fit_photo, tell_frame
from data_prep.formats.input_files import InputError, OtherFileError
from data_prep.formats.photo_match import DatasetFiles, WrittenPhoto, match_photos

ANNOTATIONS = "annotations"  # The folder that is written.

_UNREAD = ("truncated", "occluded", "pose", "part", "polygon")


def read_voc(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Read one VOC XML file; when strict, one of predictions, where each object has a score.

    It is about one photo as a rule, but may hold one annotation after another. Raises `InputError`:
    the file can't be read, is not well-formed, or is not VOC; or an object of predictions is not as
    it should be.
    """
    found = parse_xml(path, faults.file, "annotation", "PASCAL VOC")
    alone = len(found) == 1
    return [_read_annotation(one, path, faults, options, alone=alone) for one in found]


def _read_annotation(
    root: etree._Element, path: Path, faults: Faults, options: ReadOptions, *, alone: bool
) -> WrittenPhoto:
    reader = FaceReader(faults, options)
    scores: list[float] = []
    hint = "neither xmax may be under xmin nor ymax under ymin" if faults.strict else ""
    for index, element in enumerate(root.iter("object")):
        place = faults.at(element.sourceline)
        where = f"{place}: object {index}"
        faults.counts.update(_list_unread(element))
        used = reader.add(
            where,
            _text(element, "name"),
            partial(_read_box, element, where),
            hint,
            difficult=_text(element, "difficult").lower() in {"1", "true"},
            outlined=element.find("bndbox") is None,
        )
        if used and faults.strict:
            scores.append(_read_score(element, where))
    size = raw.read_size(_text(root, "size/width"), _text(root, "size/height"))
    name = _text(root, "filename") or ("" if faults.strict else path.stem)
    where = faults.file if alone else faults.at(root.sourceline)
    return replace(reader.finish(path, name, where, size, alone=alone), scores=tuple(scores))


def parse_xml(path: Path, name: str, tag: str, form: str) -> list[etree._Element]:
    """The root of an XML file or, if it is none of this tag, those below.

    Parsed with entities, DTDs and the network off; tags are without namespaces, in lower case.
    Raises `InputError`: it can't be read or has no such element; the message calls it by `name`.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, strip_cdata=False
    )
    data = raw.read_bytes(path, name)
    if not data.strip():
        raise InputError(f"{name}: the file is empty; restore it or remove it.")
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise InputError(f"{name}: not well-formed XML ({error.msg}).") from error
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(dtd.entities()):  # type: ignore[union-attr]
        hint = "remove the declarations."
        raise InputError(f"{name}: declares XML entities, which are never expanded; {hint}")
    for element in root.iter(etree.Element):
        element.tag = etree.QName(element).localname.lower()
    if not (found := [root] if root.tag == tag else [*root.iter(tag)]):
        raise OtherFileError(f"{name}: not {form}: <{tag}> expected, <{root.tag}> found.")
    return found


def _list_unread(element: etree._Element) -> Iterator[str]:
    """What an object tells that is not read."""
    for tag in _UNREAD:
        child = element.find(tag)
        if child is not None and (len(child) or tells(_text(element, tag))):
            yield tag
    for attribute in element.iterfind("attributes/attribute"):  # CVAT's.
        if tells(_text(attribute, "value")):
            yield f"attribute {_text(attribute, 'name')}"
    if len(element.findall("bndbox")) > 1:
        yield "second bndbox"


def tells(text: str) -> bool:
    """Whether a flag or an attribute says anything."""
    return text.lower() not in {"", "0", "0.0", "false", "unspecified"}


def _text(element: etree._Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _read_box(element: etree._Element, where: str) -> Box:
    """The box of an object, or the one around its outline."""
    if element.find("bndbox") is not None:
        sides = (
            raw.read_number(_text(element, f"bndbox/{s}"), f"<{s}>", where) for s in Box._fields
        )
        return Box(*sides)
    if element.find("robndbox") is not None:
        texts = ((n, _text(element, f"robndbox/{n}")) for n in ("cx", "cy", "w", "h", "angle"))
        x, y, width, height, angle = (raw.read_number(t, f"<{n}>", where) for n, t in texts)
        cos, sin = abs(math.cos(angle)) / 2, abs(math.sin(angle)) / 2
        across, down = width * cos + height * sin, width * sin + height * cos
        return Box(x - across, y - down, x + across, y + down)
    points: dict[str, list[float]] = {"x": [], "y": []}
    for child in element.iterfind("polygon//*"):
        if isinstance(child.tag, str) and re.fullmatch(r"[xy]\d*", child.tag):
            points[child.tag[0]].append(raw.read_number(child.text or "", f"<{child.tag}>", where))
    if not points["x"] or not points["y"]:
        raise InputError(f"{where} has no <bndbox>.")
    return raw.enclose(points["x"], points["y"])


def _read_score(element: etree._Element, where: str) -> float:
    for tag in ("score", "confidence"):
        if text := _text(element, tag):
            return raw.check_score(raw.read_number(text, tag, where), where)
    hint = "predictions need one. If these are annotations, give them as the ground truth."
    raise InputError(f"{where} has no <score> or <confidence>; {hint}")


class _VocFormat(FileFormat):
    """Every VOC file below a folder, written to `annotations/<photo>.xml`."""

    writes = True

    def list_files(self, files: DatasetFiles) -> list[Path]:
        """All XML files: others, and broken ones, are told when they are read."""
        return files.by_suffix({".xml"})

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first XML file with an <annotation>."""
        return next((p for p in self.list_files(files) if starts_with(p, "annotation")), None)

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
        return Written(tuple(files[image] for image in images), contracts.count_left_out(photos))


VOC = _VocFormat(*(read_voc, "VOC annotation (*.xml)"), ending=".xml")


def read_voc_truth(
    files: DatasetFiles, options: ReadOptions
) -> tuple[list[WrittenPhoto], list[Finding]]:
    """Every VOC file below a folder, with or without the photos; findings.

    A photo is called by its path below the folder when it is there, else by the path of the XML
    with the file name that is written in it.
    """
    written, findings = VOC.read_written(files, options)
    findings = [*files.findings, *findings]
    found: dict[str, WrittenPhoto] = {}
    pairs = [*zip(written, match_photos(files, written), strict=True)]
    others = tell_frame((photo, there[0]) for photo, (there, _) in pairs if len(there) == 1)
    own = {path.with_suffix("") for path in files.by_suffix({".xml"})}
    # Photos that are there first: names of others give way to theirs.
    for photo, (there, note) in sorted(pairs, key=lambda pair: len(pair[1][0]) != 1):
        name, is_stale = files.relative(photo.annotation), bool(note)
        if len(there) == 1:
            name = files.relative(there[0])
            photo, told = fit_photo(photo, there[0], photo.where, others=others)
            photo = replace(photo, size=photo.size or photo.file_size)
            findings += told
            if any(finding.dropped for finding in told):
                continue
        else:
            # Where another file is called after that photo, the name written here is stale.
            named = photo.annotation.with_name(PurePosixPath(photo.image).stem)
            is_stale = named in own - {photo.annotation.with_suffix("")}
            note = f"names '{photo.image}', which has a file of its own."
            own_name = photo.annotation.stem + PurePosixPath(photo.image).suffix
            name = name_photo(name, own_name if is_stale else photo.image, found)
        if is_stale:
            findings.append(Finding(photo.where, NAME_CONFLICT, f"{photo.where}: {note}"))
        if name in found:
            message = f"{photo.where}: {name} is already annotated by another file."
            findings.append(Finding(photo.where, "second-annotation", message, dropped=True))
            continue
        found[name] = replace(photo, image=name)
    return list(found.values()), findings


def read_voc_predictions(
    folder: Path, options: ReadOptions, photos: Sequence[str] = ()
) -> list[WrittenPhoto]:
    """Read every VOC XML file below a folder as predictions, each `<object>` with a score.

    A photo is called by the `<filename>` in the XML, as in annotations, unless no annotated photo
    has that name; then by the name of the XML.
    """
    known = {_fold(photo) for photo in photos}
    found: dict[str, WrittenPhoto] = {}
    for path in raw.list_files(folder, {".xml"}):
        for voc in read_voc(path, Faults(str(path), strict=True), options):
            named = _fold(PureWindowsPath(voc.image).name)
            # Where another photo is called as the file is, the name in it is of another time.
            is_named = named in known and _fold(path.stem) not in known - {named}
            written = voc.image if is_named else ""
            name = name_photo(path.relative_to(folder).as_posix(), written, found)
            if name in found:
                raise InputError(f"{path}: its photo {name} has predictions already.")
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


def starts_with(path: Path, tag: str) -> bool:
    """Whether an XML file, broken or not, starts with a tag; other tools leave XML files too."""
    try:
        with path.open("rb") as file:
            start = file.read(4096).replace(b"\0", b"")  # Also in UTF-16.
            return re.search(rb"(?i)<([\w.-]+:)?%b[\s/>]" % tag.encode(), start) is not None
    except OSError:
        return False


def name_annotations(images: Sequence[str]) -> dict[str, str]:
    """The XML file of each photo: its stem, or its whole name where others share either."""
    start = f"{contracts.IMAGES}/"
    start = start if all(image.startswith(start) for image in images) else ""
    paths = {image: PurePosixPath(image.removeprefix(start)) for image in images}
    names = (str(name).lower() for path in paths.values() for name in (path.with_suffix(""), path))
    stems = Counter(names)
    return {
        image: f"{ANNOTATIONS}/{path.with_suffix('')}.xml"
        if stems[str(path.with_suffix("")).lower()] == 1
        else f"{ANNOTATIONS}/{path}.xml"
        for image, path in paths.items()
    }


def _describe(photo: FramedPhoto, filename: str, folder: str) -> etree._Element:
    # Photos are always read as RGB, however they are stored.
    width, height = map(str, photo.size)
    size = E.size(E.width(width), E.height(height), E.depth("3"))
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
