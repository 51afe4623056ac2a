"""PASCAL VOC: an XML file per photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lxml import etree

from data_prep.boxes import write_number
from data_prep.errors import DatasetError
from data_prep.files import write_atomically
from data_prep.formats.writer import IMAGES, Written, count_left_out, count_renumbered
from data_prep.framed import FramedPhoto
from data_prep.progress import show_progress

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
