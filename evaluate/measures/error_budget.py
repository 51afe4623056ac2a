"""How much mAP at IoU 0.5 each kind of error costs: what would be won if it alone were fixed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.bootstrap import LEVEL, bootstrap_intervals, share, to_interval, to_number
from evaluate.measures.errors import (
    DETECTION_KINDS,
    KINDS,
    MISSED,
    NEAR_IOU,
    ErrorKinds,
    classify_errors,
)
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.metrics import DEFAULT_RULES, Rules

CORRECTED = ("wrong_class", "poor_box")
"""Kinds whose detections become hits where they can; those of the other kinds are removed."""

ALL = "all"
"""Name of the repair of every kind at once."""

REPAIRS = (*KINDS, ALL)
"""What is fixed, in the order of the arrays."""


@dataclass(frozen=True)
class Budget:
    """Ranked detections as they are and with errors fixed.

    Attributes:
        actual: Of each class; ignored detections are left out.
        fixed: For every one of `REPAIRS`, those of each class.
        eleven_point: How AP is summed.
    """

    actual: tuple[RankedHits, ...]
    fixed: tuple[tuple[RankedHits, ...], ...]
    eleven_point: bool


def fix_errors(
    truth: GroundTruth, detections: Detections, kinds: ErrorKinds, rules: Rules = DEFAULT_RULES
) -> Budget:
    """Fix every kind of error, alone and together.

    * `wrong_class`: the detection gets the class of its face, `poor_box`: it gets the box of its
      face; it keeps its score. Of several that mean one face the surest becomes a hit, the others
      are removed; all are if the face is hit already or difficult.
    * `second_hit`, `wrong_class_and_box`, `false_face`: the detection is removed.
    * `missed`: the face is no longer asked for, as if precision were the same on the missed faces.

    Args:
        truth: Annotated faces.
        detections: Predicted faces.
        kinds: Their errors, from `evaluate.measures.errors.classify_errors`.
        rules: Only `eleven_point` matters here.
    """
    return Budget(
        actual=_rank(truth, detections, kinds, ()),
        fixed=(
            *(_rank(truth, detections, kinds, (kind,)) for kind in KINDS),
            _rank(truth, detections, kinds, KINDS),
        ),
        eleven_point=rules.eleven_point,
    )


def _rank(
    truth: GroundTruth, detections: Detections, kinds: ErrorKinds, repaired: Collection[str]
) -> tuple[RankedHits, ...]:
    """Ranked detections of each class once some kinds of errors are fixed."""
    kept, true, labels = _repair(truth, detections, kinds, repaired)
    asked = ~truth.difficult
    if MISSED in repaired:
        asked &= ~kinds.missed
    ranked = []
    for label in range(len(truth.classes)):
        rows = np.flatnonzero(kept & (labels == label))
        rows = rows[np.argsort(-kinds.scores[rows], kind="stable")]
        faces = truth.photo[asked & (truth.labels == label)]
        ranked.append(
            RankedHits(
                photo=detections.photo[rows],
                true=true[None, rows],
                ignored=np.zeros((1, len(rows)), dtype=np.bool_),
                truths=np.bincount(faces, minlength=len(truth.photos)),
                rows=rows,
                scores=kinds.scores[rows],
            )
        )
    return tuple(ranked)


def _repair(
    truth: GroundTruth, detections: Detections, kinds: ErrorKinds, repaired: Collection[str]
) -> tuple[BoolArray, BoolArray, IntArray]:
    """Which detections are kept, which of them are true, and the class of each, (N,) each."""
    numbers = [number for number, kind in enumerate(DETECTION_KINDS) if kind in repaired]
    correctable = [number for number in numbers if DETECTION_KINDS[number] in CORRECTED]
    rows = np.flatnonzero(np.isin(kinds.kind, correctable))
    faces = kinds.face[rows]
    free = ~kinds.hit[faces] & ~truth.difficult[faces]
    rows, faces = rows[free], faces[free]
    order = np.argsort(-kinds.scores[rows], kind="stable")
    faces, first = np.unique(faces[order], return_index=True)
    corrected = rows[order[first]]
    kept = ~kinds.ignored & ~np.isin(kinds.kind, numbers)
    kept[corrected] = True
    true = kinds.true.copy()
    true[corrected] = True
    labels = detections.labels.copy()
    labels[corrected] = truth.labels[faces]
    return kept, true, labels


def compute_budget(budget: Budget, weights: FloatArray | None = None) -> dict[str, FloatArray]:
    """Mean AP at IoU 0.5 as it is and with errors fixed, as fractions; NaN where not defined.

    `map50` (B,), `ap50` (B, C); by repair in the order of `REPAIRS`, `fixed_map50` and `gain`,
    (B, K) each, and `class_gain` (B, K, C), gains being fixed less actual. A class that had faces
    but, with the missed ones taken out, has none left gets AP 1 if no detection of it is left, else
    0.

    Args:
        budget: From `fix_errors`.
        weights: (B, P) how often each photo counts; once each when None, so that B is 1.
    """
    if weights is None:
        weights = np.ones((1, len(budget.actual[0].truths)))
    annotated = np.stack([weights @ hits.truths > 0 for hits in budget.actual], axis=1)
    # (B, repairs and first none, classes)
    aps = np.stack(
        [
            _average_precisions(ranked, annotated, weights, eleven_point=budget.eleven_point)
            for ranked in (budget.actual, *budget.fixed)
        ],
        axis=1,
    )
    classes = annotated.sum(axis=1, keepdims=True).repeat(aps.shape[1], axis=1)
    means = share(np.nansum(aps, axis=2), classes.astype(float))
    return {
        "map50": means[:, 0],
        "ap50": aps[:, 0],
        "fixed_map50": means[:, 1:],
        "gain": means[:, 1:] - means[:, :1],
        "class_gain": aps[:, 1:] - aps[:, :1],
    }


def describe_budget(
    truth: GroundTruth,
    detections: Detections,
    *,
    inclusive: bool = False,
    eleven_point: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The cost of each kind of error for the record.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        inclusive: See `evaluate.measures.matching.paired_iou`.
        eleven_point: AP at 11 recalls instead of at every recall.
        resamples: Bootstrap resamples of the photos; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        `map50`, `ap50` (by class); `fixed_map50`, `gain` (by repair: every kind of error alone, and
        `all`), `class_gain` (by repair and class); `count` (by kind); `faces` (`hit`, `mistaken`,
        `missed`, `difficult`) and `detections` (`true`, `ignored`, `false`), counted; `intervals`
        (95 %, by the names of `compute_budget`; gains are taken within each resample);
        `definitions`.
    """
    rules = Rules(inclusive=inclusive, eleven_point=eleven_point)
    kinds = classify_errors(truth, detections, rules)
    budget = fix_errors(truth, detections, kinds, rules)
    numbers = {name: values[0] for name, values in compute_budget(budget).items()}
    axes: dict[str, tuple[Sequence[str], ...]] = {
        "map50": (),
        "ap50": (truth.classes,),
        "fixed_map50": (REPAIRS,),
        "gain": (REPAIRS,),
        "class_gain": (REPAIRS, truth.classes),
    }
    intervals = None
    if resamples:
        ends = bootstrap_intervals(
            partial(compute_budget, budget),
            photos=len(truth.photos),
            resamples=resamples,
            seed=seed,
            rows=len(detections),
        )
        intervals = {
            name: _describe(np.moveaxis(values, 0, -1), axes[name], to_interval)
            for name, values in ends.items()
        }
    return {
        **{name: _describe(values, axes[name], to_number) for name, values in numbers.items()},
        "count": {
            kind: int((kinds.missed if kind == MISSED else kinds.is_kind(kind)).sum())
            for kind in KINDS
        },
        "faces": {
            "hit": int(kinds.hit.sum()),
            "mistaken": int(kinds.mistaken.sum()),
            "missed": int(kinds.missed.sum()),
            "difficult": int(truth.difficult.sum()),
        },
        "detections": {
            "true": int(kinds.true.sum()),
            "ignored": int(kinds.ignored.sum()),
            "false": int((~kinds.true & ~kinds.ignored).sum()),
        },
        "intervals": intervals,
        "definitions": _define(rules, resamples, seed),
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


def _describe(values: Any, axes: Sequence[Sequence[str]], one: Callable[[Any], Any]) -> Any:
    """Numbers by the names of their leading dimensions, outermost first."""
    if not axes:
        return one(values)
    return {
        name: _describe(part, axes[1:], one) for name, part in zip(axes[0], values, strict=True)
    }


def _define(rules: Rules, resamples: int, seed: int) -> dict[str, Any]:
    return {
        "reference": "after Bolya et al., TIDE: A General Toolbox for Identifying Object Detection "
        "Errors, ECCV 2020, with PASCAL VOC's matching",
        "interpolation": "11-point" if rules.eleven_point else "every-point",
        "inclusive": rules.inclusive,
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
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap by photo, gains within each resample",
            "resamples": resamples,
            "seed": seed,
        },
    }
