"""Everything an evaluation leaves in its folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.base.files import write_atomically
from data_prep.base.records import Box
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.curves import Curve
from evaluate.measures.errors import DETECTION_KINDS, MISSED, ErrorKinds
from evaluate.measures.headline import write_record
from evaluate.measures.metrics import PER_CLASS
from evaluate.plan import Evaluation
from evaluate.report.page import HEADLINES, write_report

METRICS, CURVES, CONFUSION, ERRORS = "metrics.csv", "curves.csv", "confusion.csv", "errors.csv"
"""File names in the output folder."""


def write_metrics_table(record: Mapping[str, Any], names: Iterable[str], folder: Path) -> Path:
    """Write the headline numbers: `name, class, value, low, high`, as fractions.

    Raises:
        OutputError: The table can't be written.
    """
    intervals = record["intervals"] or {}
    rows: list[list[Any]] = []
    for name in names:
        value, ends = record[name], intervals.get(name)
        if name in PER_CLASS:
            rows += [
                [name, label, one, *((ends or {}).get(label) or (None, None))]
                for label, one in value.items()
            ]
        else:
            rows.append([name, "", value, *(ends or (None, None))])
    return _write(folder / METRICS, ["name", "class", "value", "low", "high"], rows)


def write_curves_table(curves: Mapping[str, Curve], folder: Path) -> Path:
    """Write every point of the precision-recall curves at IoU 0.5.

    Raises:
        OutputError: The table can't be written.
    """
    rows = [
        [name, *point]
        for name, curve in curves.items()
        for point in zip(
            curve.scores.tolist(),
            curve.precision.tolist(),
            np.nan_to_num(curve.recall).tolist(),
            curve.f1.tolist(),
            strict=True,
        )
    ]
    return _write(folder / CURVES, ["class", "score", "precision", "recall", "f1"], rows)


def write_confusion_table(confusion: Mapping[str, Any], folder: Path) -> Path:
    """Write the confusion through the detector; rows are the annotated classes.

    Raises:
        OutputError: The table can't be written.
    """
    rows = [
        [name, *counts] for name, counts in zip(confusion["rows"], confusion["counts"], strict=True)
    ]
    return _write(folder / CONFUSION, ["annotated", *confusion["columns"]], rows)


def write_errors_table(
    truth: GroundTruth, detections: Detections, errors: ErrorKinds, folder: Path
) -> Path:
    """Write one row for each false detection and missed face, by kind, the worst first.

    `label`, `score` and the box are those of the detection, or of the missed face; `annotated` and
    `iou` tell of the face that a detection meant, where there is one.

    Raises:
        OutputError: The table can't be written.
    """
    rows: list[list[Any]] = []
    for kind in (*DETECTION_KINDS, MISSED):
        for row in errors.sort_worst(kind)[0].tolist():
            if kind == MISSED:
                photo, box, label = truth.photo[row], truth.boxes[row], truth.labels[row]
                rest: list[Any] = [None, truth.classes[label], None]
            else:
                photo, box = detections.photo[row], detections.boxes[row]
                label, face = detections.labels[row], int(errors.face[row])
                annotated = truth.classes[truth.labels[face]] if face >= 0 else None
                rest = [
                    float(detections.scores[row]),
                    annotated,
                    round(float(errors.overlap[row]), 4),
                ]
            place = [kind, truth.photos[photo], *box.tolist()]
            rows.append([*place, truth.classes[label], *rest])
    header = ["kind", "image", *Box._fields, "label", "score", "annotated", "iou"]
    return _write(folder / ERRORS, header, rows)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue())
    return path


def write_outputs(evaluation: Evaluation, files: Mapping[str, Path], out: Path) -> list[Path]:
    """Write report.html, tables and metrics.json; the last comes when all else is there.

    Args:
        evaluation: With all sections measured, and `inputs` in its record.
        files: Photos by name, for the pictures of errors.
        out: The folder; other files in it stay.

    Returns:
        The files a person or a script opens first: the report and the record.

    Raises:
        OutputError: Something can't be written.
    """
    record = evaluation.record
    # Drawn first: should that fail, no table is left without its report.
    report = write_report(evaluation, files, out)
    write_metrics_table(record, HEADLINES, out)
    write_curves_table(evaluation.curves, out)
    write_confusion_table(record["operating_points"]["confusion"], out)
    write_errors_table(evaluation.truth, evaluation.detections, evaluation.errors, out)
    return [report, write_record(record, out)]
