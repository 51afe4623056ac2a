"""A whole evaluation: every section of the record, and what report and tables show of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import Placed
from evaluate.measures.against import describe_difference
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.alarm_counts import IncorrectPolicy
from evaluate.measures.calibration import describe_calibration
from evaluate.measures.classifier_alone import describe_classifier
from evaluate.measures.coco import describe_at, describe_coco, list_conventions
from evaluate.measures.curves import THRESH, Curve, describe_operating_points, trace_curves
from evaluate.measures.error_budget import describe_budget
from evaluate.measures.errors import ErrorKinds, classify_errors
from evaluate.measures.headline import Record, build_record
from evaluate.measures.metrics import DEFAULT_RULES, Matches, Rules, match_predictions
from evaluate.measures.sizes import describe_sizes

Section = Callable[[], Record]
"""Measures a part of the record."""


@dataclass(frozen=True)
class Plan:
    """How an evaluation is done.

    Attributes:
        rules: How hits are counted.
        ious: Further IoU thresholds to give AP at.
        thresh: Detector score from which a detection is shown to a user.
        policy: What a mask worn wrongly is to the alarm.
        resamples: Bootstrap resamples by photo; 0 leaves intervals out.
        seed: Of the resamples.
    """

    rules: Rules = DEFAULT_RULES
    ious: tuple[float, ...] = ()
    thresh: float = THRESH
    policy: IncorrectPolicy = "alarm"
    resamples: int = 1000
    seed: int = 0


@dataclass
class Evaluation:
    """An evaluation on its way: sections are added one by one.

    Attributes:
        truth: Annotated faces.
        placed: Predicted faces on the photos of `truth`.
        plan: How it is done.
        matches: Detections matched with faces.
        curves: Precision and recall of each class, and of `face`, at IoU 0.5.
        errors: Kind of each error.
        record: What is written to metrics.json.
    """

    truth: GroundTruth
    placed: Placed
    plan: Plan
    matches: Matches
    curves: dict[str, Curve]
    errors: ErrorKinds
    record: Record = field(default_factory=dict)

    @property
    def detections(self) -> Detections:
        """The predicted faces alone."""
        return self.placed.detections


def start_evaluation(truth: GroundTruth, placed: Placed, plan: Plan) -> Evaluation:
    """Match detections with faces; nothing is measured yet."""
    detections, rules = placed.detections, plan.rules
    matches = match_predictions(truth, detections, rules)
    return Evaluation(
        truth=truth,
        placed=placed,
        plan=plan,
        matches=matches,
        curves=trace_curves(truth.classes, matches),
        errors=classify_errors(truth, detections, Rules(inclusive=rules.inclusive)),
    )


def list_sections(
    evaluation: Evaluation, *, crops: Detections | None = None, other: Detections | None = None
) -> list[Section]:
    """All that is to be measured, in this order.

    Args:
        evaluation: As started.
        crops: What the classifier alone says of the annotated boxes.
        other: Another table's detections on the same photos, to compare with.
    """
    truth, detections, plan = evaluation.truth, evaluation.detections, evaluation.plan
    rules, matches = plan.rules, evaluation.matches
    drawn: dict[str, Any] = {"resamples": plan.resamples, "seed": plan.seed}
    boxes: dict[str, Any] = {"inclusive": rules.inclusive, **drawn}
    shown: dict[str, Any] = {"thresh": plan.thresh, **boxes}
    pair = (truth, detections)
    sections: dict[str, Callable[[], Any]] = {
        "at_iou": partial(describe_at, *pair, rules, plan.ious),
        "coco": partial(describe_coco, *pair),
        "conventions": partial(_list_conventions, evaluation),
        "operating_points": partial(
            describe_operating_points, *pair, matches, rules, thresh=plan.thresh, **drawn
        ),
        "by_size": partial(describe_sizes, *pair, **shown),
        "error_budget": partial(describe_budget, *pair, eleven_point=rules.eleven_point, **boxes),
        "calibration": partial(describe_calibration, *pair, crops=crops, **shown),
    }
    if truth.classes == CLASSES:
        sections["alarm"] = partial(describe_alarm, *pair, crops=crops, policy=plan.policy, **shown)
    if crops is not None:
        sections["classifier_alone"] = partial(describe_classifier, truth, crops, **boxes)
    if other is not None:
        theirs = match_predictions(truth, other, rules)
        sections["against"] = partial(describe_difference, truth.classes, matches, theirs, **drawn)
    headline = partial(build_record, truth, evaluation.placed, matches, rules, **drawn)
    return [headline, *(partial(_name, name, one) for name, one in sections.items())]


def measure_sections(evaluation: Evaluation, sections: Iterable[Section]) -> Iterator[None]:
    """Measure one section after the other into the record; yields after each."""
    for measure in sections:
        evaluation.record.update(measure())
        yield


def _name(name: str, measure: Callable[[], Any]) -> Record:
    return {name: measure()}


def _list_conventions(evaluation: Evaluation) -> list[dict[str, Any]]:
    coco = evaluation.record["coco"]
    return list_conventions(
        evaluation.truth,
        evaluation.detections,
        evaluation.plan.rules,
        coco_map50=coco["map50"],
        coco_ap50=coco["ap50"],
    )
