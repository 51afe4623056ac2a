"""Which format a dataset folder is in."""

from __future__ import annotations

from collections.abc import Mapping

from data_prep.errors import DatasetError
from data_prep.formats.dataset_files import DatasetFiles
from data_prep.formats.reader import Format, Reader
from data_prep.formats.voc_folder import VocReader

READERS: Mapping[Format, Reader] = {Format.VOC: VocReader()}


def recognise(files: DatasetFiles) -> Format:
    """The format of a dataset.

    Raises:
        DatasetError: There is none that is known, or there are several.
    """
    found = {form: reader.recognise(files) for form, reader in READERS.items()}
    shown = {form: path for form, path in found.items() if path is not None}
    if not shown:
        raise DatasetError(f"{files.root}: no VOC annotation (*.xml) in this folder or below it.")
    return next(iter(shown))
