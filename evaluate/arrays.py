"""The arrays that reading hands to measuring."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.base.labels import CLASSES
from data_prep.base.tables import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class GroundTruth:
    """Annotated faces, sorted by photo."""

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

    def take(self, rows: IntArray | BoolArray, photo: IntArray | None = None) -> GroundTruth:
        """Some of the faces, in the order given, with new photo indices if there are."""
        photo = self.photo[rows] if photo is None else photo
        boxes, labels, difficult = self.boxes[rows], self.labels[rows], self.difficult[rows]
        return replace(self, photo=photo, boxes=boxes, labels=labels, difficult=difficult)

    def find_size(self, photo: int) -> tuple[int, int] | None:
        """Width and height of a photo in pixels, if they are known."""
        if self.sizes is None or np.isnan(self.sizes[photo]).any():
            return None
        width, height = self.sizes[photo]
        return int(width), int(height)


@dataclass(frozen=True)
class Detections:
    """Predicted faces, one per row of the table."""

    photo: IntArray  # (N,) index into photo names: the table's, or the truth's once placed there.
    boxes: FloatArray  # (N, 4) xmin, ymin, xmax, ymax in pixels.
    labels: IntArray  # (N,) index into the classes of the ground truth.
    scores: FloatArray  # (N,) detection × class probability; ranks the AP of a class.
    detection: FloatArray  # (N,) the detector's score, 0 to 1; ranks the AP of faces as such.
    probabilities: FloatArray | None  # (N, C) in the order of the classes.

    def take(self, rows: IntArray | BoolArray, photo: IntArray | None = None) -> Detections:
        """As of `GroundTruth`."""
        photo = self.photo[rows] if photo is None else photo
        scores = self.scores[rows], self.detection[rows]
        shares = None if self.probabilities is None else self.probabilities[rows]
        return Detections(photo, self.boxes[rows], self.labels[rows], *scores, shares)

    def __len__(self) -> int:
        return len(self.photo)
