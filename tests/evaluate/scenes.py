"""Short ways to measure made-up faces."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluate.arrays import Detections, GroundTruth
from evaluate.measures import alarm, calibration, classifier, curves, errors, headline, sizes
from evaluate.measures import coco as coco_module
from evaluate.measures.average_precision import Rules, average_precisions, rank_hits
from evaluate.measures.case import Case, Matches, Plan


def make_case(
    truth: GroundTruth,
    detections: Detections,
    *,
    crops: Detections | None = None,
    other: Detections | None = None,
    resamples: int = 0,
    **options: Any,
) -> Case:
    """A case without resamples; further options are those of `Plan` and of `Rules`."""
    rules = Rules(**{name: options.pop(name) for name in list(options) if name in vars(Rules())})
    plan = Plan(rules=options.pop("rules", rules), resamples=resamples, **options)
    return Case(truth, detections, plan, crops, other)


def once(case: Case) -> np.ndarray:
    """Every photo counted once."""
    return np.ones((1, len(case.truth.photos)))


def compute_headline(matches: Matches, weights=None, **options):
    photos = len(matches.confusion)
    return headline.compute_headline(
        matches, np.ones((1, photos)) if weights is None else weights, **options
    )


def describe_alarm(truth, detections, **options):
    return alarm.describe_alarm(make_case(truth, detections, **{"resamples": 1000, **options}))


def describe_calibration(truth, detections, **options):
    return calibration.describe_calibration(make_case(truth, detections, **options))


def describe_classifier(truth, crops, **options):
    return classifier.describe_classifier(make_case(truth, crops, crops=crops, **options))


def describe_budget(truth, detections, **options):
    return errors.describe_budget(make_case(truth, detections, **options))


def describe_sizes(truth, detections, **options):
    return sizes.describe_sizes(make_case(truth, detections, **options))


def describe_operating_points(truth, detections, **options):
    return curves.describe_operating_points(
        make_case(truth, detections, **{"resamples": 1000, **options})
    )


def list_conventions(truth, detections, rules):
    return coco_module.list_conventions(make_case(truth, detections, rules=rules))


def voc_average_precision(
    truths, detections, scores, *, difficult=None, iou=0.5, inclusive=False, eleven_point=False
):
    """AP of one class at one IoU threshold; NaN without ground truth."""
    photos = 1 + max(int(groups.max(initial=-1)) for groups in (truths.groups, detections.groups))
    if difficult is None:
        difficult = np.zeros(len(truths.groups), dtype=bool)
    hits = rank_hits(
        truths, difficult, detections, scores, photos=photos, ious=(iou,), inclusive=inclusive
    )
    return float(average_precisions(hits, np.ones((1, photos)), eleven_point=eleven_point)[0, 0])
