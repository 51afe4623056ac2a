"""Dataset folders of any known format: photos and the faces annotated on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.errors import DatasetError
from data_prep.formats.dataset_files import find_folder, list_dataset
from data_prep.formats.reader import ReadOptions
from data_prep.formats.recognise import READERS, recognise
from data_prep.records import AnnotatedPhoto, Dataset, Finding

DEFAULT_OPTIONS = ReadOptions()
"""The mask classes and their known aliases, in whatever format there is."""


def read_datasets(roots: Sequence[Path], options: ReadOptions = DEFAULT_OPTIONS) -> list[Dataset]:
    """Read several dataset folders whose names become the sources.

    A photo that two datasets annotate, as where one lies in the other, counts in the first.

    Raises:
        DatasetError: A folder is missing or empty, or two folders share a name.
        UnknownLabelError: An annotation uses an unknown class name.
    """
    sources = [find_folder(root).resolve().name for root in roots]
    for source in sources:
        if sources.count(source) > 1:
            raise DatasetError(
                f"two datasets are called '{source}': rename one folder, or link it under another "
                "name, since (source, image, object) is the key of a face."
            )
    return _drop_shared([read_dataset(root, options) for root in roots])


def read_dataset(root: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a dataset folder.

    Raises:
        DatasetError: The folder is missing, holds no annotation or no photo, or its format can't
            be told.
        UnknownLabelError: An annotation uses an unknown class name; reading stops there, since
            leaving such faces out would quietly change the data.
    """
    files = list_dataset(root)
    return READERS[options.format or recognise(files, options)].read(files, options)


def _drop_shared(datasets: Sequence[Dataset]) -> list[Dataset]:
    if len(datasets) < 2:
        return list(datasets)
    owners: dict[str, str] = {}
    result = []
    for dataset in datasets:
        photos: list[AnnotatedPhoto] = []
        findings = list(dataset.findings)
        for photo in dataset.photos:
            name = f"{photo.source}/{photo.image}"
            owner = owners.setdefault(os.path.realpath(photo.path), name)
            if owner == name:
                photos.append(photo)
                continue
            message = f"{name}: the same file as {owner}, which is annotated already; left out."
            findings.append(Finding(name, "second-annotation", message, dropped=True))
        result.append(replace(dataset, photos=tuple(photos), findings=tuple(findings)))
    return result
