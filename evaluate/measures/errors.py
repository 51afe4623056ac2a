"""What kind of error each false detection and each face that is not hit stands for, and its cost.

In the spirit of Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020. Unlike there, matching is VOC's; a second hit on a face comes before a
wrong class, and a wrong class before a poor box on a neighbour. A kind costs what mAP at IoU 0.5
would win if it alone were fixed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.bootstrap import share
from evaluate.measures.matching import MATCH_IOU, BoxGroups, best_overlaps, flag_hits

if TYPE_CHECKING:
    from evaluate.measures.case import Case

NEAR_IOU = 0.1
"""Smallest IoU at which a detection is taken to mean a face, though not to hit it."""

DETECTION_KINDS = ("second_hit", "wrong_class", "poor_box", "wrong_class_and_box", "false_face")
"""Kinds of false detections, in the order in which they are looked for."""

MISSED = "missed"  # The kind of error of a face.
KINDS = (MISSED, *DETECTION_KINDS)

KIND_WORDS: dict[str, str] = {
    MISSED: "missed face",
    "wrong_class": "wrong class",
    "poor_box": "poor box",
    "wrong_class_and_box": "wrong class, poor box",
    "second_hit": "second hit",
    "false_face": "false face",
}
"""Words for the kinds of errors, in the order they are shown."""

CORRECTED = ("wrong_class", "poor_box")
"""Kinds whose detections become hits where they can; those of the other kinds are removed."""

ALL = "all"  # Name of the repair of every kind at once.
REPAIRS = (*KINDS, ALL)  # What is fixed, in the order of the arrays.


@dataclass(frozen=True)
class ErrorKinds:
    """The kind of every error; N detections and G faces in the order they were given.

    A detection that is none of `true`, `ignored` and one of the kinds does not exist; a face is
    difficult, `hit`, `mistaken` or `missed`.
    """

    kind: IntArray  # (N,) index into `DETECTION_KINDS`, -1 for a detection that is no error.
    true: BoolArray  # (N,) true positives of their class, by VOC's matching at IoU 0.5.
    ignored: BoolArray  # (N,) detections on difficult faces of their class.
    face: IntArray  # (N,) that a detection hits, or with which it is in error; -1 for false faces.
    overlap: FloatArray  # (N,) IoU with that face; for false faces the largest with any.
    hit: BoolArray  # (G,) faces with a true positive.
    mistaken: BoolArray  # (G,) not hit, but meant by a detection of wrong class or poor box.
    missed: BoolArray  # (G,) faces of which there is neither.
    scores: FloatArray  # (N,) what detections are ranked by.
    areas: FloatArray  # (G,) of the faces' boxes in px².

    def is_kind(self, *kinds: str) -> BoolArray:
        """(N,) detections of some of `DETECTION_KINDS`."""
        return np.isin(self.kind, [DETECTION_KINDS.index(kind) for kind in kinds])

    def sort_worst(self, kind: str) -> tuple[IntArray, FloatArray]:
        """Errors of one of `KINDS`, the worst first: rows of detections and their scores, falling.

        For `MISSED` of faces, and the areas of their boxes in px². Equal ones keep their order.
        """
        rows = np.flatnonzero(self.missed if kind == MISSED else self.is_kind(kind))
        values = (self.areas if kind == MISSED else self.scores)[rows]
        order = np.argsort(-values, kind="stable")
        return rows[order], values[order]


def classify_errors(
    truth: GroundTruth, detections: Detections, *, inclusive: bool = False
) -> ErrorKinds:
    """Tell the kind of every error, by the label and the `scores` of the detections.

    A false positive of its class is the first of these that holds. Its IoU is that with the face
    it overlaps most, of its class or of another:

    * `second_hit`: at least 0.5 with a face of its class; a surer detection hits that face.
    * `wrong_class`: at least 0.5 with a face of another class.
    * `poor_box`: at least 0.1 with a face of its class, hit or not.
    * `wrong_class_and_box`: at least 0.1 with a face of another class.
    * `false_face`: less than 0.1 with every face.

    Difficult faces can be meant like others, but are neither hit, mistaken nor missed.
    """
    order = np.argsort(-detections.scores, kind="stable")
    classes = len(truth.classes)
    same_iou, same_face = best_overlaps(
        BoxGroups(detections.boxes, detections.photo * classes + detections.labels),
        BoxGroups(truth.boxes, truth.photo * classes + truth.labels),
        inclusive=inclusive,
    )
    other_iou, other_face = _overlap_others(truth, detections, inclusive=inclusive)
    true, ignored = np.zeros((2, len(detections)), dtype=np.bool_)
    true[order], ignored[order] = flag_hits(
        same_iou[order], same_face[order], truth.difficult, iou=MATCH_IOU
    )
    tests = {
        "second_hit": same_iou >= MATCH_IOU,
        "wrong_class": other_iou >= MATCH_IOU,
        "poor_box": same_iou >= NEAR_IOU,
        "wrong_class_and_box": other_iou >= NEAR_IOU,
    }
    number = DETECTION_KINDS.index
    kind = np.select(
        [true | ignored, *tests.values()], [-1, *map(number, tests)], number("false_face")
    )
    other = np.isin(kind, [number("wrong_class"), number("wrong_class_and_box")])
    face = np.where(other, other_face, same_face)
    face[kind == number("false_face")] = -1
    overlap = np.where(other, other_iou, same_iou)
    overlap = np.where(face < 0, np.maximum(same_iou, other_iou), overlap)
    hit, meant = np.zeros((2, len(truth.labels)), dtype=np.bool_)
    hit[face[true]] = True
    meant[face[np.isin(kind, [number(kind) for kind in CORRECTED])]] = True
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


Repaired = tuple[tuple[RankedHits, ...], ...]
"""Ranked detections of each class: as they are, and after every one of `REPAIRS`."""


def fix_errors(truth: GroundTruth, detections: Detections, errors: ErrorKinds) -> Repaired:
    """Fix every kind of error, alone and together.

    * `wrong_class`: the detection gets the class of its face, `poor_box`: it gets the box of its
      face; it keeps its score. Of several that mean one face the surest becomes a hit, the others
      are removed; all are if the face is hit already or difficult.
    * `second_hit`, `wrong_class_and_box`, `false_face`: the detection is removed.
    * `missed`: the face is no longer asked for, as if precision were the same on the missed faces.
    """
    repairs: list[Collection[str]] = [(), *((kind,) for kind in KINDS), KINDS]
    return tuple(_repair(truth, detections, errors, repaired) for repaired in repairs)


def _repair(
    truth: GroundTruth, detections: Detections, errors: ErrorKinds, repaired: Collection[str]
) -> tuple[RankedHits, ...]:
    rows = np.flatnonzero(errors.is_kind(*(kind for kind in CORRECTED if kind in repaired)))
    faces = errors.face[rows]
    free = ~errors.hit[faces] & ~truth.difficult[faces]
    rows, faces = rows[free], faces[free]
    order = np.argsort(-errors.scores[rows], kind="stable")
    faces, first = np.unique(faces[order], return_index=True)
    corrected = rows[order[first]]
    kept = ~errors.ignored & ~errors.is_kind(*(set(repaired) - {MISSED}))
    kept[corrected] = True
    true, labels = errors.true.copy(), detections.labels.copy()
    true[corrected] = True
    labels[corrected] = truth.labels[faces]
    asked = ~truth.difficult & ~(errors.missed & (MISSED in repaired))
    ranked = np.argsort(-errors.scores, kind="stable")
    ranked = ranked[kept[ranked]]
    by_class = []
    for label in range(len(truth.classes)):
        rows = ranked[labels[ranked] == label]
        photo = truth.photo[asked & (truth.labels == label)]
        truths = np.bincount(photo, minlength=len(truth.photos))
        by_class.append(
            RankedHits.at_one_iou(detections.photo[rows], true[rows], errors.scores[rows], truths)
        )
    return tuple(by_class)


def describe_budget(case: Case) -> dict[str, Any]:
    """What each kind of error costs: mean AP at IoU 0.5 as it is and with errors fixed.

    A class that had faces but, with the missed ones taken out, has none left gets AP 1 if no
    detection of it is left, else 0.
    """
    truth, errors, eleven_point = case.truth, case.errors, case.plan.rules.eleven_point
    repaired = fix_errors(truth, case.detections, errors)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        annotated = np.stack([weights @ hits.truths > 0 for hits in repaired[0]], axis=1)
        # (B, repairs and first none, classes)
        aps = np.stack(
            [
                _average_precisions(ranked, annotated, weights, eleven_point=eleven_point)
                for ranked in repaired
            ],
            axis=1,
        )
        means = share(np.nansum(aps, axis=2), annotated.sum(axis=1, keepdims=True).astype(float))
        return {
            "map50": means[:, 0],
            "ap50": aps[:, 0],
            "fixed_map50": means[:, 1:],
            "gain": means[:, 1:] - means[:, :1],
            "class_gain": aps[:, 1:] - aps[:, :1],
        }

    axes = {
        "ap50": (truth.classes,),
        "fixed_map50": (REPAIRS,),
        "gain": (REPAIRS,),
        "class_gain": (REPAIRS, truth.classes),
    }
    numbers, intervals = case.measure(compute, axes, rows=len(case.detections))
    groups = {
        "faces": {
            "hit": errors.hit,
            "mistaken": errors.mistaken,
            "missed": errors.missed,
            "difficult": truth.difficult,
        },
        "detections": {
            "true": errors.true,
            "ignored": errors.ignored,
            "false": ~errors.true & ~errors.ignored,
        },
    }
    return {
        **numbers,
        "count": {kind: len(errors.sort_worst(kind)[0]) for kind in KINDS},
        **{
            group: {name: int(flags.sum()) for name, flags in some.items()}
            for group, some in groups.items()
        },
        "intervals": intervals,
        "definitions": _define(case),
    }


def _average_precisions(
    ranked: Sequence[RankedHits], annotated: BoolArray, weights: FloatArray, *, eleven_point: bool
) -> FloatArray:
    """AP of every class, (B, C); NaN where the class was not `annotated` (B, C)."""
    aps = []
    for hits, had_faces in zip(ranked, annotated.T, strict=True):
        ap = average_precisions(hits, weights, eleven_point=eleven_point)[:, 0]
        shown = weights @ np.bincount(hits.photo, minlength=weights.shape[1])
        aps.append(np.where(np.isnan(ap) & had_faces, shown == 0, ap))
    return np.stack(aps, axis=1)


def _define(case: Case) -> dict[str, Any]:
    return {
        "reference": "after Bolya et al., TIDE: A General Toolbox for Identifying Object Detection "
        "Errors, ECCV 2020, with PASCAL VOC's matching",
        "interpolation": "11-point" if case.plan.rules.eleven_point else "every-point",
        "inclusive": case.inclusive,
        "kinds": {
            "missed": "a face that is neither hit nor meant by a detection of wrong class or poor "
            "box; fixed: no longer asked for",
            "second_hit": f"IoU {MATCH_IOU} or more with a face of the class that a surer "
            "detection hits; fixed: removed",
            "wrong_class": f"IoU {MATCH_IOU} or more with a face of another class; fixed: gets "
            "that class, or is removed if the face is hit by a surer one, hit already or difficult",
            "poor_box": f"IoU from {NEAR_IOU} to under {MATCH_IOU} with a face of the class; "
            "fixed: a hit, or removed likewise",
            "wrong_class_and_box": f"IoU from {NEAR_IOU} to under {MATCH_IOU} with a face of "
            "another class; fixed: removed",
            "false_face": f"IoU under {NEAR_IOU} with every face; fixed: removed",
        },
        "order": "a detection is of the first kind that holds, in this order after missed",
        "gain": "mAP after fixing one kind alone less mAP as it is; gains do not add up",
        "intervals": case.plan.define_intervals(
            "percentile bootstrap by photo, gains within each resample"
        ),
    }
