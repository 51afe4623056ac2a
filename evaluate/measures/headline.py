"""The record of an evaluation: metrics.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.base.files import write_json
from evaluate.arrays import FloatArray, GroundTruth
from evaluate.inputs.predictions import Placed
from evaluate.measures.bootstrap import LEVEL, bootstrap_intervals, to_interval, to_number
from evaluate.measures.matching import MATCH_IOU
from evaluate.measures.metrics import (
    DEFAULT_RULES,
    IOUS,
    PER_CLASS,
    Matches,
    Rules,
    compute_headline,
)

METRICS_FILE = "metrics.json"
"""Name of the record in the output folder."""

Record = dict[str, Any]
"""What is written: JSON objects, lists, texts, numbers and null."""


def build_record(
    truth: GroundTruth,
    placed: Placed,
    matches: Matches,
    rules: Rules = DEFAULT_RULES,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Record:
    """Measure predictions and describe how.

    Args:
        truth: Annotated faces.
        placed: Predicted faces on the photos of `truth`.
        matches: These matched with the faces under `rules`.
        rules: How to count.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Of the resamples.

    Returns:
        Headline numbers as fractions (`metrics.compute_headline`), `confusion`, `counts`,
        `intervals` (95 %, [lower, upper] by the same names), `definitions`, `warnings`. Whatever
        is not defined is None.
    """
    detections = placed.detections
    headline = compute_headline(matches)
    faces = np.bincount(truth.labels[~truth.difficult], minlength=len(truth.classes))
    return {
        **{
            name: _describe(truth.classes, name, values[0], to_number)
            for name, values in headline.items()
        },
        "confusion": describe_confusion(truth.classes, matches),
        "counts": {
            "photos": len(truth.photos),
            "photos_without_predictions": len(truth.photos) - len(np.unique(detections.photo)),
            "faces": dict(zip(truth.classes, faces.tolist(), strict=True)),
            "difficult_faces": int(truth.difficult.sum()),
            "predictions": len(detections),
            "predictions_left_out": placed.left_out,
        },
        "intervals": _measure_intervals(truth.classes, matches, resamples, seed)
        if resamples
        else None,
        "definitions": _define(rules, resamples, seed),
        "warnings": [*truth.warnings, *placed.warnings],
    }


def write_record(record: Record, folder: Path) -> Path:
    """Write metrics.json into a folder, all of it or nothing; nothing else there is touched.

    Raises:
        OutputError: The folder can't be made or written to.
    """
    path = folder / METRICS_FILE
    write_json(path, record)
    return path


def _measure_intervals(
    classes: Sequence[str], matches: Matches, resamples: int, seed: int
) -> Record:
    intervals = bootstrap_intervals(
        partial(compute_headline, matches),
        photos=matches.photos,
        resamples=resamples,
        seed=seed,
        rows=len(matches.faces.photo),
    )
    return {name: _describe(classes, name, ends, to_interval) for name, ends in intervals.items()}


def _describe(
    classes: Sequence[str], name: str, values: FloatArray, one: Callable[[FloatArray], Any]
) -> Any:
    """A number for JSON, or one per class; in `values` the classes are the last dimension."""
    if name in PER_CLASS:
        return {label: one(values[..., index]) for index, label in enumerate(classes)}
    return one(values)


def describe_confusion(classes: Sequence[str], matches: Matches) -> Record:
    """Counts over all photos: annotated classes and `false` against predicted ones and `missed`."""
    return {
        "rows": [*classes, "false"],
        "columns": [*classes, "missed"],
        "counts": matches.confusion.sum(axis=0).tolist(),
    }


def _define(rules: Rules, resamples: int, seed: int) -> Record:
    """What the numbers mean, so that they can be compared with others years later."""
    return {
        "reference": "Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, "
        "IJCV 88, 2010",
        "interpolation": "11-point" if rules.eleven_point else "every-point",
        "inclusive": rules.inclusive,
        "iou_rule": "an IoU equal to the threshold is a hit; a detection looks only at the box it "
        "overlaps most, and a second hit on a box is a false positive",
        "ious_of_map50_95": list(IOUS),
        "all_classes": rules.all_classes,
        "ap": "per class, ranked by "
        + ("detection × class probability of every class" if rules.all_classes else "score")
        + "; face_ap whatever the class, ranked by detection; equal scores in order of photo name "
        "and row",
        "difficult": "difficult faces are not counted, nor are detections on them",
        "matching": f"faces paired with detections whatever their class, at IoU {MATCH_IOU} or "
        "more, by falling detection score, each with the best face still free",
        "accuracy": "share of matched faces with the right label",
        "recall": "per class, share of its matched faces with the right label",
        "macro_recall": "mean of recall over the classes where it is defined",
        "face_recall": "share of annotated faces that are matched",
        "detected": "face_recall per class",
        "means": "over the classes with annotated faces",
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap by photo",
            "resamples": resamples,
            "seed": seed,
        },
    }
