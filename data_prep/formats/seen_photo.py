"""Boxes on a photo as it is looked at, turned by its EXIF orientation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.photo import Size, photo_size, read_orientation, upright_size
from data_prep.records import Box


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
        if self.orientation in _CORNERS:
            (near_x, near_y), (far_x, far_y) = (
                _CORNERS[self.orientation](x, y, *self.size)
                for x, y in ((box.xmin, box.ymin), (box.xmax, box.ymax))
            )
            return Box(
                min(near_x, far_x), min(near_y, far_y), max(near_x, far_x), max(near_y, far_y)
            )
        return box


_CORNERS = {
    2: lambda x, y, width, height: (width - x, y),
    3: lambda x, y, width, height: (width - x, height - y),
    4: lambda x, y, width, height: (x, height - y),
    5: lambda x, y, width, height: (y, x),
    6: lambda x, y, width, height: (y, width - x),
    7: lambda x, y, width, height: (height - y, width - x),
    8: lambda x, y, width, height: (height - y, x),
}
"""Where a point of the photo as looked at is stored, by orientation (EXIF 2.3, tag 274)."""


def look_at(path: Path) -> SeenPhoto:
    """Read what is needed from a photo's header.

    Raises:
        PhotoError: The header can't be read.
    """
    size = upright_size(path)
    return SeenPhoto(size, read_orientation(path) if size == photo_size(path) else 1)
