"""What every reader of a dataset format owes the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from data_prep.formats.dataset_files import DatasetFiles
from data_prep.labels import ALIASES, CLASSES, canonical_label
from data_prep.records import Dataset


class Format(StrEnum):
    """Formats of annotated datasets, by the names of the command line."""

    VOC = "voc"
    YOLO = "yolo"
    COCO = "coco"
    CSV = "csv"
    CROPS = "crops"


@dataclass(frozen=True)
class ReadOptions:
    """What can't be told from the files.

    Attributes:
        aliases: Other names of classes, keyed by their normalised form.
        classes: The classes there are; None takes every name as it is written.
        format: Recognised when None.
        names: File of class names for ids; looked for in the dataset when None.
        columns: Column of a CSV table for each field, such as `{"image": "file"}`.
        crop_scale: Of folders of ready crops: their side as a multiple of the face's longer side.
    """

    aliases: Mapping[str, str] = field(default_factory=lambda: dict(ALIASES))
    classes: Sequence[str] | None = CLASSES
    format: Format | None = None
    names: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    crop_scale: float = 1.0

    def label(self, name: str) -> str:
        """The class that a name in the data means.

        Raises:
            UnknownLabelError: The name is not known; the message suggests the nearest known one.
        """
        if self.classes is None:
            return name.strip()
        return canonical_label(name, self.aliases, self.classes)


class Reader(Protocol):
    """Reads one format.

    A reader leaves out single photos and faces with faults, each with a `Finding` that names the
    file and line; it raises for what would quietly change the data or leaves nothing to use.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """A file or folder that shows that the dataset is in this format, or None."""

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset.

        Raises:
            DatasetError: There is no annotation or no photo, or it can't be read as a whole.
            InputError: A file of class names can't be used.
            UnknownLabelError: An annotation uses an unknown class name; reading stops there, since
                leaving such faces out would quietly change the data.
        """
