"""Annotated faces and what was found of them: one detection each, or none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.base.errors import UserError
from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.matching import MATCH_IOU, BoxGroups, match_greedily

CROP_IOU = 0.9
"""Smallest IoU at which a row of the classifier alone is about an annotated box: it has the same
box but for rounding, which may take a tenth from the smallest ones."""

_OFF_BY = 0.005
"""How far a probability may be off for having been written with two decimals."""


class CropsError(UserError, ValueError):
    """A table that is not of annotated boxes; the message says what to give instead."""


class ProbabilityError(UserError, ValueError):
    """Class probabilities that are none; the message names the photo and the box."""


@dataclass(frozen=True)
class Pairs:
    """The F faces that are asked for, each with the detection that found it.

    Attributes:
        photos: Number of photos P, with and without faces.
        photo: (F,) photo of each face.
        labels: (F,) annotated class.
        rows: (F,) row of the detections, or -1 for a face that was not found.
        false: (K,) rows of the detections on no face.
    """

    photos: int
    photo: IntArray
    labels: IntArray
    rows: IntArray
    false: IntArray

    @property
    def found(self) -> BoolArray:
        """(F,) whether a face has a detection."""
        return self.rows >= 0

    def found_only(self) -> Pairs:
        """The pairs without the faces that were not found."""
        found = self.found
        return replace(
            self, photo=self.photo[found], labels=self.labels[found], rows=self.rows[found]
        )


def pair_faces(
    truth: GroundTruth,
    detections: Detections,
    *,
    thresh: float = 0.0,
    iou: float = MATCH_IOU,
    inclusive: bool = False,
) -> Pairs:
    """Pair faces with detections whatever their class.

    By falling detector's score each detection takes the best face still free. Difficult faces are
    left out, and so are detections on them.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        thresh: Detections with a lower detector's score are passed over.
        iou: Smallest IoU of a pair.
        inclusive: See `evaluate.measures.matching.paired_iou`.
    """
    ranked = np.argsort(-detections.detection, kind="stable")
    ranked = ranked[detections.detection[ranked] >= thresh]
    taken, ignored = match_greedily(
        BoxGroups(detections.boxes[ranked], detections.photo[ranked]),
        BoxGroups(truth.boxes, truth.photo),
        truth.difficult,
        iou=iou,
        inclusive=inclusive,
    )
    matched = taken >= 0
    rows = np.full(len(truth.photo), -1, dtype=np.int64)
    rows[taken[matched]] = ranked[matched]
    asked = ~truth.difficult
    return Pairs(
        photos=len(truth.photos),
        photo=truth.photo[asked],
        labels=truth.labels[asked],
        rows=rows[asked],
        false=np.sort(ranked[~matched & ~ignored]),
    )


def pair_crops(truth: GroundTruth, crops: Detections, *, inclusive: bool = False) -> Pairs:
    """Pair faces with the rows of a classifier that was given their annotated boxes.

    Args:
        truth: Annotated faces.
        crops: One row per annotated face, with its own box, placed on the photos of `truth`.
        inclusive: See `evaluate.measures.matching.paired_iou`.

    Raises:
        CropsError: More than half of the faces have no row.
    """
    pairs = pair_faces(truth, crops, iou=CROP_IOU, inclusive=inclusive)
    answered = int(pairs.found.sum())
    if 2 * answered < len(pairs.rows):
        raise CropsError(
            f"the table of the classifier alone has a row for only {answered} of the "
            f"{len(pairs.rows)} annotated faces, so its boxes are not the annotated ones; give a "
            "table with one row for each annotated face, with the box as annotated, of the same "
            "photos."
        )
    return pairs


def normalise_probabilities(truth: GroundTruth, detections: Detections) -> FloatArray | None:
    """Class probabilities that add up to 1, rid of what rounding did to them.

    Returns:
        (N, C), or None when the detections have none.

    Raises:
        ProbabilityError: Those of a row do not add up to 1 but for rounding to two decimals.
    """
    if detections.probabilities is None:
        return None
    sums = detections.probabilities.sum(axis=1)
    # The last term is for the error of the sum itself.
    wrong = np.abs(sums - 1) > _OFF_BY * len(truth.classes) + 1e-9
    if wrong.any():
        row = int(wrong.argmax())
        box = ", ".join(f"{value:g}" for value in detections.boxes[row])
        raise ProbabilityError(
            f"{truth.photos[detections.photo[row]]}, face at ({box}): its class probabilities add "
            f"up to {sums[row]:g}, not 1; write probabilities of classes that exclude each other, "
            "or leave the columns p_… out."
        )
    return detections.probabilities / sums[:, None]
