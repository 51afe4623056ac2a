"""What kind of error each false detection and each face that is not hit stands for.

In the spirit of Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020. Unlike there, matching is VOC's; a second hit on a face comes before a
wrong class, and a wrong class before a poor box on a neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.matching import MATCH_IOU, BoxGroups, best_overlaps, flag_hits
from evaluate.measures.metrics import DEFAULT_RULES, Rules

NEAR_IOU = 0.1
"""Smallest IoU at which a detection is taken to mean a face, though not to hit it."""

DETECTION_KINDS = (
    "second_hit",
    "wrong_class",
    "poor_box",
    "wrong_class_and_box",
    "false_face",
)
"""Kinds of false detections, in the order in which they are looked for."""

MISSED = "missed"
"""The kind of error of a face."""

KINDS = (MISSED, *DETECTION_KINDS)
"""All kinds."""

_NO_ERROR = -1


@dataclass(frozen=True)
class ErrorKinds:
    """The kind of every error; N detections and G faces in the order they were given.

    A detection that is none of `true`, `ignored` and one of the kinds does not exist; a face is
    difficult, `hit`, `mistaken` or `missed`.

    Attributes:
        kind: (N,) index into `DETECTION_KINDS`, -1 for a detection that is no error.
        true: (N,) true positives of their class, by VOC's matching at IoU 0.5.
        ignored: (N,) detections on difficult faces of their class.
        face: (N,) the face that a detection hits, or with which it is in error; -1 for false faces.
        overlap: (N,) IoU with that face; for false faces the largest with any.
        hit: (G,) faces with a true positive.
        mistaken: (G,) faces that are not hit, but meant by a detection of wrong class or poor box.
        missed: (G,) faces of which there is neither.
        scores: (N,) what detections are ranked by.
        areas: (G,) area of the faces' boxes in px².
    """

    kind: IntArray
    true: BoolArray
    ignored: BoolArray
    face: IntArray
    overlap: FloatArray
    hit: BoolArray
    mistaken: BoolArray
    missed: BoolArray
    scores: FloatArray
    areas: FloatArray

    def is_kind(self, kind: str) -> BoolArray:
        """(N,) detections of one of `DETECTION_KINDS`."""
        return self.kind == DETECTION_KINDS.index(kind)

    def sort_worst(self, kind: str) -> tuple[IntArray, FloatArray]:
        """Errors of one of `KINDS`, the worst first.

        Returns:
            Indices of detections and their scores, falling; for `MISSED` indices of faces and the
            areas of their boxes in px², falling. Equal ones keep their order.
        """
        rows = np.flatnonzero(self.missed if kind == MISSED else self.is_kind(kind))
        values = (self.areas if kind == MISSED else self.scores)[rows]
        order = np.argsort(-values, kind="stable")
        return rows[order], values[order]


def classify_errors(
    truth: GroundTruth, detections: Detections, rules: Rules = DEFAULT_RULES
) -> ErrorKinds:
    """Tell the kind of every error.

    A false positive of its class is the first of these that holds. Its IoU is that with the face
    it overlaps most, of its class or of another:

    * `second_hit`: at least 0.5 with a face of its class; a surer detection hits that face.
    * `wrong_class`: at least 0.5 with a face of another class.
    * `poor_box`: at least 0.1 with a face of its class, hit or not.
    * `wrong_class_and_box`: at least 0.1 with a face of another class.
    * `false_face`: less than 0.1 with every face.

    Difficult faces can be meant like others, but are neither hit, mistaken nor missed.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo; ranked by
            `scores`.
        rules: Only `inclusive` matters here.

    Raises:
        ValueError: `rules.all_classes`; a row that stands for every class has no wrong one.
    """
    if rules.all_classes:
        raise ValueError("kinds of errors are told by the label of a row: not with all_classes")
    order = np.argsort(-detections.scores, kind="stable")
    same_iou, same_face = _overlap_same(truth, detections, inclusive=rules.inclusive)
    other_iou, other_face = _overlap_others(truth, detections, inclusive=rules.inclusive)
    true = np.zeros(len(detections), dtype=np.bool_)
    ignored = np.zeros(len(detections), dtype=np.bool_)
    true[order], ignored[order] = flag_hits(
        same_iou[order], same_face[order], truth.difficult, iou=MATCH_IOU
    )
    tests = {
        "second_hit": same_iou >= MATCH_IOU,
        "wrong_class": other_iou >= MATCH_IOU,
        "poor_box": same_iou >= NEAR_IOU,
        "wrong_class_and_box": other_iou >= NEAR_IOU,
        "false_face": np.ones(len(detections), dtype=np.bool_),
    }
    kind = np.select(
        [true | ignored, *(tests[name] for name in DETECTION_KINDS)],
        [_NO_ERROR, *range(len(DETECTION_KINDS))],
    )
    other = np.isin(kind, [_index("wrong_class"), _index("wrong_class_and_box")])
    face = np.where(other, other_face, same_face)
    face[kind == _index("false_face")] = -1
    overlap = np.where(other, other_iou, same_iou)
    overlap = np.where(face < 0, np.maximum(same_iou, other_iou), overlap)
    hit = np.zeros(len(truth.labels), dtype=np.bool_)
    hit[face[true]] = True
    meant = np.zeros(len(truth.labels), dtype=np.bool_)
    meant[face[np.isin(kind, [_index("wrong_class"), _index("poor_box")])]] = True
    return ErrorKinds(
        kind=kind,
        true=true,
        ignored=ignored,
        face=face,
        overlap=overlap,
        hit=hit,
        mistaken=meant & ~hit & ~truth.difficult,
        missed=~meant & ~hit & ~truth.difficult,
        scores=detections.scores,
        areas=(truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(axis=1),
    )


def _index(kind: str) -> int:
    return DETECTION_KINDS.index(kind)


def _overlap_same(
    truth: GroundTruth, detections: Detections, *, inclusive: bool
) -> tuple[FloatArray, IntArray]:
    """Largest IoU with a face of the same class, and that face or -1."""
    classes = len(truth.classes)
    return best_overlaps(
        BoxGroups(detections.boxes, detections.photo * classes + detections.labels),
        BoxGroups(truth.boxes, truth.photo * classes + truth.labels),
        inclusive=inclusive,
    )


def _overlap_others(
    truth: GroundTruth, detections: Detections, *, inclusive: bool
) -> tuple[FloatArray, IntArray]:
    """Largest IoU with a face of another class, and that face or -1."""
    largest = np.zeros(len(detections))
    faces = np.full(len(detections), -1, dtype=np.int64)
    for label in range(len(truth.classes)):
        rows = np.flatnonzero(detections.labels == label)
        others = np.flatnonzero(truth.labels != label)
        ious, columns = best_overlaps(
            BoxGroups(detections.boxes[rows], detections.photo[rows]),
            BoxGroups(truth.boxes[others], truth.photo[others]),
            inclusive=inclusive,
        )
        near = columns >= 0
        largest[rows] = ious
        faces[rows[near]] = others[columns[near]]
    return largest, faces
