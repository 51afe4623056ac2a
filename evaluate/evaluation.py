"""A whole evaluation: every section of the record, and what report and tables show of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from data_prep.labels import CLASSES
from evaluate.against import describe_difference
from evaluate.alarm import describe_alarm
from evaluate.alarm_counts import IncorrectPolicy
from evaluate.calibration import describe_calibration
from evaluate.classifier_alone import describe_classifier
from evaluate.coco import describe_coco
from evaluate.conventions import describe_at, list_conventions
from evaluate.curves import Curve
from evaluate.error_budget import describe_budget
from evaluate.error_kinds import ErrorKinds, classify_errors
from evaluate.metrics import DEFAULT_RULES, Matches, Rules, match_predictions
from evaluate.operating import THRESH, describe_operating_points, trace_curves
from evaluate.predictions import Placed
from evaluate.record import Record, build_record
from evaluate.records import Detections, GroundTruth
from evaluate.sizes import describe_sizes


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
        detections: Predicted faces on the photos of `truth`.
        plan: How it is done.
        matches: Detections matched with faces.
        curves: Precision and recall of each class, and of `face`, at IoU 0.5.
        errors: Kind of each error.
        record: What is written to metrics.json.
    """

    truth: GroundTruth
    detections: Detections
    plan: Plan
    matches: Matches
    curves: dict[str, Curve]
    errors: ErrorKinds
    record: Record = field(default_factory=dict)


def start_evaluation(truth: GroundTruth, placed: Placed, plan: Plan) -> Evaluation:
    """Match detections with faces, and measure the headline numbers."""
    detections, rules = placed.detections, plan.rules
    matches = match_predictions(truth, detections, rules)
    return Evaluation(
        truth=truth,
        detections=detections,
        plan=plan,
        matches=matches,
        curves=trace_curves(truth.classes, matches),
        errors=classify_errors(truth, detections, Rules(inclusive=rules.inclusive)),
        record=build_record(truth, placed, rules, resamples=plan.resamples, seed=plan.seed),
    )


def list_sections(
    evaluation: Evaluation, *, crops: Detections | None = None, other: Detections | None = None
) -> list[tuple[str, Callable[[], Any]]]:
    """Sections still to be measured, by their name in the record.

    Args:
        evaluation: As started.
        crops: What the classifier alone says of the annotated boxes.
        other: Another table's detections on the same photos, to compare with.
    """
    truth, detections, plan = evaluation.truth, evaluation.detections, evaluation.plan
    rules = plan.rules
    inclusive = rules.inclusive
    drawn: dict[str, Any] = {"resamples": plan.resamples, "seed": plan.seed}
    found: dict[str, Any] = {"thresh": plan.thresh, "inclusive": inclusive, **drawn}
    sections: list[tuple[str, Callable[[], Any]]] = [
        ("at_iou", lambda: describe_at(truth, detections, rules, plan.ious)),
        ("coco", lambda: describe_coco(truth, detections)),
        ("conventions", lambda: _list_conventions(evaluation)),
        (
            "operating_points",
            lambda: describe_operating_points(
                truth, detections, evaluation.matches, rules, thresh=plan.thresh, **drawn
            ),
        ),
        ("by_size", lambda: describe_sizes(truth, detections, **found)),
        (
            "error_budget",
            lambda: describe_budget(
                truth,
                detections,
                inclusive=inclusive,
                eleven_point=rules.eleven_point,
                **drawn,
            ),
        ),
        ("calibration", lambda: describe_calibration(truth, detections, crops=crops, **found)),
    ]
    if truth.classes == CLASSES:
        alarm: dict[str, Any] = {"crops": crops, "policy": plan.policy, **found}
        sections.append(("alarm", lambda: describe_alarm(truth, detections, **alarm)))
    if crops is not None:
        alone: dict[str, Any] = {"inclusive": inclusive, **drawn}
        sections.append(("classifier_alone", lambda: describe_classifier(truth, crops, **alone)))
    if other is not None:
        theirs = match_predictions(truth, other, rules)
        sections.append(
            (
                "against",
                lambda: describe_difference(truth.classes, evaluation.matches, theirs, **drawn),
            )
        )
    return sections


def measure_sections(
    evaluation: Evaluation, sections: list[tuple[str, Callable[[], Any]]]
) -> Iterator[str]:
    """Measure one section after the other into the record; yields the name of each when done."""
    for name, measure in sections:
        evaluation.record[name] = measure()
        yield name


def _list_conventions(evaluation: Evaluation) -> list[dict[str, Any]]:
    coco = evaluation.record["coco"]
    return list_conventions(
        evaluation.truth,
        evaluation.detections,
        evaluation.plan.rules,
        coco_map50=coco["map50"],
        coco_ap50=coco["ap50"],
    )
