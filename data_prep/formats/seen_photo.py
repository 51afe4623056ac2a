"""Boxes on a photo as it is looked at, turned by its EXIF orientation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.photo import Size, photo_size, read_orientation, upright_size
from data_prep.records import Box
from data_prep.turns import UPRIGHT, turn_box_back


@dataclass(frozen=True)
class SeenPhoto:
    """What is needed to place boxes that refer to the photo as it is looked at.

    Attributes:
        size: Width and height in pixels as it is looked at. An annotation that states it has the
            photo turned when it is loaded, unless the stored photo has this size too.
        orientation: By which boxes have to be turned back, since loading won't turn the photo.
    """

    size: Size
    orientation: int

    def place(self, box: Box) -> Box:
        """The box on the photo as it is loaded, from the one on the photo as it is looked at."""
        # Only photos that keep their size when turned are turned back here: see `look_at`.
        return turn_box_back(box, *self.size, self.orientation)


def look_at(path: Path) -> SeenPhoto:
    """Read what is needed from a photo's header.

    Raises:
        PhotoError: The header can't be read.
    """
    size = upright_size(path)
    return SeenPhoto(size, read_orientation(path) if size == photo_size(path) else UPRIGHT)
