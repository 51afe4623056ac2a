"""What the detector finds in a photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NMS_IOU = 0.4
"""Of two boxes that overlap more, only the surer one is kept."""


@dataclass(frozen=True)
class FaceBoxes:
    """Faces found in one photo, best first.

    Attributes:
        boxes: Faces × 4, float32, pixels of the photo, clipped to it.
        scores: Faces, float32, 0 to 1.
        landmarks: Faces × 5 × 2: left eye, right eye, nose, left and right mouth corner, as seen
            in the photo.
        probabilities: Faces × 3, float32, of each class in the order of `CLASSES`; rows sum to 1.
            None from a detector that only finds faces.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray
    probabilities: np.ndarray | None = None

    @property
    def sides(self) -> np.ndarray:
        """Faces: the shorter side of each box in pixels of the photo."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1)

    def take(self, rows: np.ndarray) -> FaceBoxes:
        """Some of the faces, by index or flag."""
        told = self.probabilities
        return FaceBoxes(
            self.boxes[rows],
            self.scores[rows],
            self.landmarks[rows],
            None if told is None else told[rows],
        )

    def join(self, other: FaceBoxes) -> FaceBoxes:
        """These faces, then those of the same detector's other look."""
        mine, theirs = self.probabilities, other.probabilities
        return FaceBoxes(
            np.concatenate([self.boxes, other.boxes]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.landmarks, other.landmarks]),
            None if mine is None or theirs is None else np.concatenate([mine, theirs]),
        )

    def above(self, score: float) -> FaceBoxes:
        """The faces of at least this score."""
        return self.take(self.scores >= score)
