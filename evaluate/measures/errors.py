"""What kind of error each false detection and each face that is not hit stands for, and its cost.

In the spirit of Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020. Unlike there, matching is VOC's; a second hit on a face comes before a
wrong class, and a wrong class before a poor box on a neighbour. A kind costs what mAP at IoU 0.5
would win if it alone were fixed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth
from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.bootstrap import share
from evaluate.measures.case import Case
from evaluate.measures.matching import CORRECTED, KINDS, MISSED, ErrorKinds

KIND_WORDS: dict[str, str] = {
    MISSED: "missed face",
    "wrong_class": "wrong class",
    "poor_box": "poor box",
    "wrong_class_and_box": "wrong class, poor box",
    "second_hit": "second hit",
    "false_face": "false face",
}
"""Words for the kinds of errors, in the order they are shown."""


@dataclass(frozen=True)
class FoundError:
    """One error: of a detection, or a face that was missed."""

    kind: str
    row: int  # Of the detection, or of the missed face.
    photo: int
    box: FloatArray  # (4,)
    label: str  # Of the detection or the missed face.
    score: float | None = None  # The rest is of detections alone.
    face: int | None = None  # With which it is in error, if there is one.
    overlap: float | None = None  # Largest IoU with it, or else with any face.


def list_errors(case: Case, kind: str) -> Iterator[FoundError]:
    """The errors of a kind, the worst first."""
    truth, found, errors = case.truth, case.detections, case.errors
    side = truth if kind == MISSED else found
    for row in errors.sort_worst(kind)[0].tolist():
        where = (kind, row, int(side.photo[row]), side.boxes[row], truth.classes[side.labels[row]])
        if kind == MISSED:
            yield FoundError(*where)
        else:
            face = int(errors.face[row])
            rest = float(found.scores[row]), None if face < 0 else face, float(errors.overlap[row])
            yield FoundError(*where, *rest)


ALL = "all"  # Name of the repair of every kind at once.
REPAIRS = (*KINDS, ALL)  # What is fixed, in the order of the arrays.


Repaired = tuple[tuple[RankedHits, ...], ...]
"""Ranked detections of each class: as they are, and after every one of `REPAIRS`."""


def fix_errors(truth: GroundTruth, detections: Detections, errors: ErrorKinds) -> Repaired:
    """Fix every kind of error, alone and together, as `kinds` of the definitions says.

    A corrected detection keeps its score; on a face that is hit already or difficult it is removed.
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
    truth, errors, eleven_point = case.truth, case.errors, case.options.eleven_point
    repaired = fix_errors(truth, case.detections, errors)
    rate = partial(_average_precisions, eleven_point=eleven_point)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        annotated = np.stack([weights @ hits.truths > 0 for hits in repaired[0]], axis=1)
        # (B, repairs and first none, classes)
        aps = np.stack([rate(ranked, annotated, weights) for ranked in repaired], axis=1)
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
    numbers, intervals = case.measure(compute, axes)
    return {
        **numbers,
        "count": {kind: len(errors.sort_worst(kind)[0]) for kind in KINDS},
        "faces": {
            "hit": int(errors.hit.sum()),
            "mistaken": int(errors.mistaken.sum()),
            "missed": int(errors.missed.sum()),
            "difficult": int(truth.difficult.sum()),
        },
        "detections": {
            "true": int(errors.true.sum()),
            "ignored": int(errors.ignored.sum()),
            "false": int((errors.kind >= 0).sum()),
        },
        "intervals": intervals,
        "definitions": case.define("error_budget", method=", gains within each resample"),
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
