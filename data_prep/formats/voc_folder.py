"""Datasets of PASCAL VOC files: which photo belongs to which annotation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from data_prep.errors import DatasetError
from data_prep.formats.dataset_files import DatasetFiles, PhotoFinder
from data_prep.formats.reader import ReadOptions
from data_prep.formats.unread import note_unread
from data_prep.records import AnnotatedPhoto, Dataset, Finding
from data_prep.voc import AnnotationError, read_voc


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
