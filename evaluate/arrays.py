"""The arrays that reading hands to measuring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from data_prep.base.labels import CLASSES
from data_prep.base.tables import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class _Rows:
    """A row per face: fields named here have as many."""

    ROWS: ClassVar[tuple[str, ...]]

    def take(self, rows: IntArray | BoolArray, photo: IntArray | None = None) -> Self:
        """Some of the rows, in the order given, with new photo indices if there are."""
        taken = {name: own[rows] for name in self.ROWS if (own := getattr(self, name)) is not None}
        return replace(self, **taken | ({} if photo is None else {"photo": photo}))


@dataclass(frozen=True)
class GroundTruth(_Rows):
    """Annotated faces, sorted by photo."""

    ROWS = ("photo", "boxes", "labels", "difficult")

    photos: tuple[str, ...]  # P names with forward slashes, sorted; some may have no face.
    photo: IntArray  # (G,) index into `photos` for every face.
    boxes: FloatArray  # (G, 4) xmin, ymin, xmax, ymax in pixels, `xmax`/`ymax` the far edges.
    labels: IntArray  # (G,) index into `classes`.
    difficult: BoolArray  # (G,) neither asked for nor held against a detection, as in VOC.
    warnings: tuple[str, ...] = ()  # What was left out while reading, for a person.
    classes: tuple[str, ...] = CLASSES
    sizes: FloatArray | None = None  # (P, 2) width and height in pixels, NaN where unknown.
    upright: bool = False
    """Boxes refer to photos turned upright by EXIF, whatever their size, as relative coordinates
    do. Otherwise to photos as stored, unless only the upright photo has the size in `sizes`."""

    def find_size(self, photo: int) -> tuple[int, int] | None:
        """Width and height of a photo in pixels, if they are known."""
        if self.sizes is None or np.isnan(self.sizes[photo]).any():
            return None
        width, height = self.sizes[photo]
        return int(width), int(height)


@dataclass(frozen=True)
class Detections(_Rows):
    """Predicted faces, one per row of the table."""

    ROWS = ("photo", "boxes", "labels", "scores", "detection", "probabilities")

    photo: IntArray  # (N,) index into photo names: the table's, or the truth's once placed there.
    boxes: FloatArray  # (N, 4) xmin, ymin, xmax, ymax in pixels.
    labels: IntArray  # (N,) index into the classes of the ground truth.
    scores: FloatArray  # (N,) detection × class probability; ranks the AP of a class.
    detection: FloatArray  # (N,) the detector's score, 0 to 1; ranks the AP of faces as such.
    probabilities: FloatArray | None  # (N, C) in the order of the classes.

    def __len__(self) -> int:
        return len(self.photo)
