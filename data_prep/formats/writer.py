"""What every writer of a dataset format owes the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_prep.framed import FramedPhoto
from data_prep.labels import CLASSES
from data_prep.records import Finding

IMAGES = "images"
"""The folder that photos lie in by the custom of the field."""


@dataclass(frozen=True)
class Written:
    """What a writer wrote.

    Attributes:
        files: Annotation files below the folder, with forward slashes.
        left_out: How many of what the format can't hold, such as `{"difficult flags": 3}`.
        findings: Photos and faces that could not be written, with reasons.
        refused: Photos that must not be there either, by their place in the folder.
    """

    files: tuple[str, ...]
    left_out: Mapping[str, int]
    findings: tuple[Finding, ...] = ()
    refused: frozenset[str] = frozenset()


class Writer(Protocol):
    """Writes one format."""

    @property
    def holds_photos(self) -> bool:
        """Whether photos belong to a dataset of this format."""

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Where photos go below the folder, by their path in the dataset that was read."""

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations of photos.

        Args:
            photos: In order; `image` as `place` said.
            classes: All class names, in the order of their numbers.
            folder: Existing folder.

        Raises:
            DatasetError: The format can't hold a name.
            OutputError: A file can't be written.
        """


def order_classes(names: Iterable[str]) -> list[str]:
    """Class names in the order of their numbers: the mask classes first, others by name."""
    ranks = {label: rank for rank, label in enumerate(CLASSES)}
    return sorted(set(names), key=lambda name: (ranks.get(name, len(ranks)), name))


def count_renumbered(photos: Sequence[FramedPhoto]) -> int:
    """Faces whose number in their file is not their place in it, as where one was dropped."""
    return sum(face.object != place for p in photos for place, face in enumerate(p.faces))


def count_left_out(**counts: int) -> dict[str, int]:
    """Counts that are not 0, by name with blanks for underscores."""
    return {name.replace("_", " "): count for name, count in counts.items() if count}
