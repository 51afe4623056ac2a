"""The headline numbers of a detector with a classifier behind it.

Everything is matched once; the numbers then follow from flags and counts per photo for any
weighting of the photos, so that the bootstrap needs no second matching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.arrays import Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.average_precision import RankedHits, average_precisions, rank_hits
from evaluate.measures.bootstrap import mean_of_defined, share
from evaluate.measures.matching import BoxGroups
from evaluate.measures.pairs import pair_faces

IOUS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU thresholds 0.50, 0.55, … 0.95."""

FACE_IOUS = (0.5, 0.75)
"""IoU thresholds of the AP of faces as such."""

PER_CLASS = frozenset({"ap50", "ap75", "recall", "detected"})
"""Headline numbers of which there is one per class."""

Headline = Mapping[str, FloatArray]
"""Numbers by name: (B,) for a single number, (B, C) for one per class, B weightings of photos."""


@dataclass(frozen=True)
class Rules:
    """How to count.

    Attributes:
        inclusive: Take `xmax`, `ymax` for the last pixel inside; see `iou.paired_iou`.
        eleven_point: AP at 11 recalls instead of at every recall.
        all_classes: Every row is a detection of each class, with score detection × probability,
            instead of one of its label. Concerns the AP of classes only.
    """

    inclusive: bool = False
    eleven_point: bool = False
    all_classes: bool = False


DEFAULT_RULES = Rules()
"""VOC since 2010, boxes with far edges, one detection per row."""


@dataclass(frozen=True)
class Matches:
    """What the numbers are counted from.

    Attributes:
        classes: Ranked detections of each class, matched at `IOUS`.
        faces: All detections ranked by the detector's score, matched at `FACE_IOUS`.
        confusion: (P, C + 1, C + 1) counts per photo: rows are the annotated classes and, last,
            detections on no face; columns the predicted classes and, last, faces that no
            detection found. Difficult faces are not in it.
        eleven_point: How AP is summed.
    """

    classes: tuple[RankedHits, ...]
    faces: RankedHits
    confusion: IntArray
    eleven_point: bool

    @property
    def photos(self) -> int:
        """Number of photos P."""
        return len(self.confusion)


def match_predictions(truth: GroundTruth, detections: Detections, rules: Rules) -> Matches:
    """Match detections with faces, photo by photo.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        rules: How to count.

    Raises:
        ValueError: `rules.all_classes` without class probabilities.
    """
    faces_as_such = rank_hits(
        BoxGroups(truth.boxes, truth.photo),
        truth.difficult,
        BoxGroups(detections.boxes, detections.photo),
        detections.detection,
        photos=len(truth.photos),
        ious=FACE_IOUS,
        inclusive=rules.inclusive,
    )
    confusion = count_confusion(truth, detections, inclusive=rules.inclusive)
    classes = rank_classes(truth, detections, rules, IOUS)
    return Matches(classes, faces_as_such, confusion, rules.eleven_point)


def rank_classes(
    truth: GroundTruth, detections: Detections, rules: Rules, ious: Sequence[float]
) -> tuple[RankedHits, ...]:
    """Rank and match the detections of each class at any IoU thresholds.

    Raises:
        ValueError: `rules.all_classes` without class probabilities.
    """
    if rules.all_classes and detections.probabilities is None:
        raise ValueError("all_classes needs the class probabilities of every detection")
    classes = []
    for label in range(len(truth.classes)):
        faces = truth.labels == label
        if rules.all_classes and detections.probabilities is not None:
            rows = np.arange(len(detections))
            scores = detections.detection * detections.probabilities[:, label]
        else:
            rows = np.flatnonzero(detections.labels == label)
            scores = detections.scores[rows]
        classes.append(
            rank_hits(
                BoxGroups(truth.boxes[faces], truth.photo[faces]),
                truth.difficult[faces],
                BoxGroups(detections.boxes[rows], detections.photo[rows]),
                scores,
                photos=len(truth.photos),
                ious=ious,
                inclusive=rules.inclusive,
            )
        )
    return tuple(classes)


def count_confusion(
    truth: GroundTruth, detections: Detections, *, inclusive: bool = False
) -> IntArray:
    """Count annotated against predicted classes in every photo.

    Faces and detections are paired whatever their class, by falling detector's score, at IoU
    0.5 or more; see `evaluate.measures.pairs.pair_faces`.

    Returns:
        (P, C + 1, C + 1) as in `Matches.confusion`.
    """
    pairs = pair_faces(truth, detections, inclusive=inclusive)
    found, none = pairs.found, len(truth.classes)
    hits, missed = pairs.rows[found], np.count_nonzero(~found)
    rows = np.r_[pairs.labels[found], np.full(len(pairs.false), none), pairs.labels[~found]]
    labels = detections.labels
    columns = np.r_[labels[hits], labels[pairs.false], np.full(missed, none)]
    photos = np.r_[pairs.photo[found], detections.photo[pairs.false], pairs.photo[~found]]
    size = none + 1
    cells = (photos * size + rows) * size + columns
    counts = np.bincount(cells, minlength=len(truth.photos) * size * size)
    return counts.reshape(-1, size, size)


def compute_headline(matches: Matches, weights: FloatArray | None = None) -> Headline:
    """The headline numbers, as fractions; NaN where a number is not defined.

    `map50`, `map75`, `map50_95`: AP averaged over the classes with annotated faces, the last also
    over `IOUS`. `ap50`, `ap75`: AP of each class. `face_ap50`, `face_ap75`: AP of faces whatever
    their class. `accuracy`: share of matched faces with the right label; `recall`: the same among
    the faces of each class; `macro_recall`: its mean over the classes. `face_recall`: share of
    faces that are matched; `detected`: the same among the faces of each class.

    Args:
        matches: From `match_predictions`.
        weights: (B, P) how often each photo counts; once each when None, so that B is 1.
    """
    if weights is None:
        weights = np.ones((1, matches.photos))
    # (B, classes, thresholds)
    aps = np.stack(
        [
            average_precisions(hits, weights, eleven_point=matches.eleven_point)
            for hits in matches.classes
        ],
        axis=1,
    )
    faces = average_precisions(matches.faces, weights, eleven_point=matches.eleven_point)
    size = matches.confusion.shape[1]
    confusion = (weights @ matches.confusion.reshape(-1, size * size)).reshape(-1, size, size)
    annotated = confusion[:, :-1].sum(axis=2)
    found = confusion[:, :-1, :-1].sum(axis=2)
    right = np.diagonal(confusion, axis1=1, axis2=2)[:, :-1]
    recall = share(right, found)
    at_50, at_75 = aps[:, :, IOUS.index(0.5)], aps[:, :, IOUS.index(0.75)]
    return {
        "map50": mean_of_defined(at_50),
        "map75": mean_of_defined(at_75),
        "map50_95": mean_of_defined(aps.mean(axis=2)),
        "ap50": at_50,
        "ap75": at_75,
        "face_ap50": faces[:, 0],
        "face_ap75": faces[:, 1],
        "accuracy": share(right.sum(axis=1), found.sum(axis=1)),
        "recall": recall,
        "macro_recall": mean_of_defined(recall),
        "face_recall": share(found.sum(axis=1), annotated.sum(axis=1)),
        "detected": share(found, annotated),
    }
