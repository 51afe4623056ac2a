"""Figures of tables of predictions against annotated faces, as they stand on cards and README."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.evaluation import Plan, list_sections, measure_sections, start_evaluation
from evaluate.formats.ground_truth import read_ground_truth
from evaluate.formats.photo_files import find_photos
from evaluate.formats.predictions import place_predictions, read_predictions
from evaluate.measures.metrics import DEFAULT_RULES, match_predictions
from evaluate.record import Record, build_record
from evaluate.records import GroundTruth
from evaluate.report.outputs import write_outputs

THRESH = 0.02
"""AP needs the whole curve, down to doubtful detections."""

BOTH_STAGES = ("map50", "map75", "map50_95", "ap50", "accuracy", "macro_recall")
DETECTOR_ALONE = ("face_ap50", "face_ap75", "face_recall")
CLASSIFIER_ALONE = ("accuracy", "macro_recall", "recall")


@dataclass(frozen=True)
class Tables:
    """What is measured.

    Attributes:
        predictions: Table of `run.py`, from a detection score of `THRESH` on.
        crops: Table of `pipeline classify`: the annotated boxes.
    """

    predictions: Path
    crops: Path


def measure_tables(
    prepared: Path, source: str, tables: Tables, *, split: str | None = None
) -> dict[str, Any]:
    """The figures of one source.

    Args:
        prepared: Its `faces.csv` holds the annotated faces.
        source: The dataset.
        tables: Predictions on its photos.
        split: Only faces of this split; all when None.

    Returns:
        `photos`, `faces`, and under `both_stages`, `detector_alone` and `classifier_alone` figures
        as [value, low, high] with 95 % bootstrap intervals by photo.
    """
    truth = read_ground_truth(prepared / "faces.csv", split=split, source=source)
    files = find_photos(truth.photos, prepared)
    found = _evaluate(truth, tables.predictions, files)
    on_crops = _evaluate(truth, tables.crops, files)
    return {
        "photos": len(truth.photos),
        "faces": len(truth.labels),
        "both_stages": _pick(found, BOTH_STAGES),
        "detector_alone": _pick(found, DETECTOR_ALONE),
        "classifier_alone": _pick(on_crops, CLASSIFIER_ALONE),
    }


def write_report(
    prepared: Path, source: str, tables: Tables, out: Path, *, split: str | None = None
) -> None:
    """A whole evaluation of one source, as `python -m evaluate` writes it.

    Args:
        prepared: As of `measure_tables`, and so on.
        source: The dataset.
        tables: Predictions on its photos.
        out: Gets the report.
        split: Only faces of this split; all when None.

    Raises:
        OutputError: A file can't be written.
    """
    truth = read_ground_truth(prepared / "faces.csv", split=split, source=source)
    files = find_photos(truth.photos, prepared)
    placed = place_predictions(read_predictions(tables.predictions), truth, files)
    evaluation = start_evaluation(truth, placed, Plan())
    on_crops = place_predictions(read_predictions(tables.crops), truth, files).detections
    for _ in measure_sections(evaluation, list_sections(evaluation, crops=on_crops)):
        pass
    evaluation.record["inputs"] = {
        "ground_truth": str(prepared),
        "split": split,
        "source": source,
        "predictions": f"both stages, detections from {THRESH}",
    }
    write_outputs(evaluation, files, out)


def _evaluate(truth: GroundTruth, table: Path, files: Mapping[str, Path]) -> Record:
    placed = place_predictions(read_predictions(table), truth, files)
    matches = match_predictions(truth, placed.detections, DEFAULT_RULES)
    return build_record(truth, placed, matches)


def _pick(record: Record, names: tuple[str, ...]) -> dict[str, Any]:
    """Values with their intervals, rounded to what they can tell."""
    picked: dict[str, Any] = {}
    for name in names:
        value, ends = record[name], record["intervals"][name]
        if isinstance(value, dict):
            picked[name] = {key: _round(value[key], ends[key]) for key in value}
        else:
            picked[name] = _round(value, ends)
    return picked


def _round(value: float | None, ends: list[float] | None) -> list[float] | None:
    return None if value is None or ends is None else [round(x, 4) for x in (value, *ends)]
