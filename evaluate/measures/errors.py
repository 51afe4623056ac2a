"""What kind of error each false detection and each face that is not hit stands for, and its cost.

In the spirit of Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020. Unlike there, matching is VOC's; a second hit on a face comes before a
wrong class, and a wrong class before a poor box on a neighbour. A kind costs what mAP at IoU 0.5
would win if it alone were fixed.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.records import Box
from evaluate.arrays import FloatArray, IntArray
from evaluate.measures.average_precision import RankedHits, average_precisions, count_asked
from evaluate.measures.bootstrap import share, weigh
from evaluate.measures.case import Case
from evaluate.measures.matching import CORRECTED, KINDS, MISSED

KIND_WORDS: dict[str, str] = {
    MISSED: "missed face",
    "wrong_class": "wrong class",
    "poor_box": "poor box",
    "wrong_class_and_box": "wrong class, poor box",
    "second_hit": "second hit",
    "false_face": "false face",
}
"""Words for the kinds of errors, in the order they are shown."""


def sort_worst(case: Case, kind: str) -> IntArray:
    """Errors of one of `KINDS`, the worst first: rows of detections, the surest first.

    For `MISSED` of faces, those of the largest boxes first. Equal ones keep their order.
    """
    boxes, errors = case.truth.boxes, case.errors
    if kind == MISSED:
        values, rows = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.flatnonzero(errors.missed)
    else:
        values, rows = case.detections.scores, np.flatnonzero(errors.is_kind(kind))
    return rows[np.argsort(-values[rows], kind="stable")]


def list_errors(case: Case, kind: str, most: int | None = None) -> pd.DataFrame:
    """The errors of a kind, the worst first: a row each, of the detection, or of the missed face.

    `annotated` is the class of the `face` with which a detection is in error, if there is one, or
    of the missed one; `score` and `iou`, the largest with that face or else with any, are of
    detections alone.
    """
    truth, found, errors = case.truth, case.detections, case.errors
    rows, is_missed = sort_worst(case, kind)[:most], kind == MISSED
    side, names = truth if is_missed else found, np.array([*truth.classes, None], dtype=object)
    faces = rows if is_missed else errors.face[rows]
    boxes = dict(zip(Box._fields, side.boxes[rows].T, strict=True))
    told: dict[str, Any] = dict.fromkeys(("score", "iou"), np.nan)
    if not is_missed:
        told = {"score": found.scores[rows], "iou": errors.overlap[rows]}
    annotated = np.append(truth.labels, -1)[faces]  # Row -1, no face, takes the last.
    own = {"kind": kind, "row": rows, "photo": side.photo[rows], **boxes}
    labels = {"label": names[side.labels[rows]], "annotated": names[annotated]}
    return pd.DataFrame({**own, **labels, **told, "face": -1 if is_missed else faces})


ALL = "all"  # Name of the repair of every kind at once.
REPAIRS = (*KINDS, ALL)  # What is fixed, in the order of the arrays.


def fix_errors(case: Case) -> tuple[tuple[RankedHits, ...], ...]:
    """Fix every kind of error, alone and together, as `kinds` of the definitions says.

    Ranked detections of each class: as they are, and after every one of `REPAIRS`. A corrected
    detection keeps its score; on a face that is hit already or difficult it is removed.
    """
    repairs: list[Collection[str]] = [(), *((kind,) for kind in KINDS), KINDS]
    ranked = np.argsort(-case.detections.scores, kind="stable")
    plain, missed, *others = (_repair(case, ranked, repaired) for repaired in repairs)
    # Without the missed faces nothing changes but what is to be found.
    pairs = zip(plain, missed, strict=True)
    return plain, tuple(replace(hits, truths=fewer.truths) for hits, fewer in pairs), *others


def _repair(case: Case, ranked: IntArray, repaired: Collection[str]) -> tuple[RankedHits, ...]:
    truth, detections, errors = case.truth, case.detections, case.errors
    rows = ranked[errors.is_kind(*(kind for kind in CORRECTED if kind in repaired))[ranked]]
    faces = errors.face[rows]
    free = ~errors.hit[faces] & ~truth.difficult[faces]
    faces, first = np.unique(faces[free], return_index=True)
    corrected = rows[free][first]
    kept = ~errors.ignored & ~errors.is_kind(*(set(repaired) - {MISSED}))
    kept[corrected] = True
    true, labels = errors.true.copy(), detections.labels.copy()
    true[corrected] = True
    labels[corrected] = truth.labels[faces]
    asked = ~errors.missed | (MISSED not in repaired)
    by_class = []
    for label in range(len(truth.classes)):
        rows = ranked[(kept & (labels == label))[ranked]]
        truths = count_asked(truth, asked & (truth.labels == label))
        own = detections.photo[rows], true[rows], truths, detections.scores[rows]
        by_class.append(RankedHits.at_one_iou(*own, case.options.eleven_point))
    return tuple(by_class)


def describe_budget(case: Case) -> dict[str, Any]:
    """What each kind of error costs: mean AP at IoU 0.5 as it is and with errors fixed.

    A class that had faces but, with the missed ones taken out, has none left gets AP 1 if no
    detection of it is left, else 0.
    """
    truth, errors, repaired = case.truth, case.errors, fix_errors(case)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        every = [hits for ranked in repaired for hits in ranked]
        annotated = weigh(weights, np.stack([hits.truths for hits in repaired[0]], axis=1)) > 0
        # (B, repairs and first none, classes)
        aps = np.stack(average_precisions(every, weights), axis=1)
        aps = aps.reshape(len(weights), len(repaired), -1)
        lost = np.isnan(aps) & annotated[:, None]
        if lost.any():
            counts = [np.bincount(hits.photo, minlength=case.photos) for hits in every]
            shown = weigh(weights, np.stack(counts, axis=1)).reshape(aps.shape)
            aps = np.where(lost, shown == 0, aps)
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
        "count": {kind: len(sort_worst(case, kind)) for kind in KINDS},
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
