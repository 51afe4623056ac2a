"""Datasets of ready face crops in folders called after the classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data_prep.errors import DatasetError
from data_prep.formats.dataset_files import DatasetFiles
from data_prep.formats.reader import ReadOptions
from data_prep.labels import CLASSES, UnknownLabelError
from data_prep.photo import PhotoError, Size, upright_size
from data_prep.records import AnnotatedPhoto, Box, Dataset, Face, Finding


class CropsReader:
    """Reads `<class>/*.jpg`, also below folders of splits; each photo is one face.

    The face is the middle of the photo, `1 / crop_scale` of its sides; the photo is its own
    annotation.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first photo, when every folder that holds photos is called after a class."""
        if not files.photos:
            return None
        if options.classes is None:
            # Any folder of photos would do; the mask classes show which are meant as classes.
            options = replace(options, classes=CLASSES)
        folders = {path.parent for path in files.photos}
        is_named = files.root not in folders and all(_is_class(f.name, options) for f in folders)
        return files.photos[0] if is_named else None

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `Reader`."""
        if options.crop_scale < 1:
            raise DatasetError(f"--crop-scale {options.crop_scale:g}: use a number from 1.")
        findings = list(files.findings)
        photos: list[AnnotatedPhoto] = []
        used: set[str] = set()
        labels: dict[Path, str] = {}
        for path in files.photos:
            folder, image = path.parent, files.relative(path)
            if folder == files.root:
                continue
            if folder not in labels:
                labels[folder] = _find_label(files, folder, options)
            used.add(image)
            try:
                size = upright_size(path)
            except PhotoError as error:
                name = files.call(path)
                findings.append(Finding(name, "unreadable-photo", str(error), dropped=True))
                continue
            face = Face(0, labels[folder], _find_middle(size, options.crop_scale))
            photos.append(AnnotatedPhoto(files.source, files.root, image, image, *size, (face,)))
        if not used:
            raise DatasetError(f"{files.root}: no photo in a folder below it.")
        findings.extend(files.unused_photos(used))
        return Dataset(files.source, files.root, tuple(photos), tuple(findings))


def _is_class(name: str, options: ReadOptions) -> bool:
    try:
        options.label(name)
    except UnknownLabelError:
        return False
    return True


def _find_label(files: DatasetFiles, folder: Path, options: ReadOptions) -> str:
    try:
        return options.label(folder.name)
    except UnknownLabelError as error:
        raise UnknownLabelError(f"{files.call(folder)}: {error}") from error


def _find_middle(size: Size, scale: float) -> Box:
    width, height = size
    x, y = (width - width / scale) / 2, (height - height / scale) / 2
    return Box(x, y, width - x, height - y)
