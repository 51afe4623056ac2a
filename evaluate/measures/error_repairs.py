"""Detections with errors fixed, one kind at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from evaluate.measures.average_precision import RankedHits
from evaluate.measures.error_kinds import DETECTION_KINDS, KINDS, MISSED, ErrorKinds
from evaluate.measures.metrics import DEFAULT_RULES, Rules
from evaluate.records import BoolArray, Detections, GroundTruth, IntArray

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
        kinds: Their errors, from `evaluate.measures.error_kinds.classify_errors`.
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
