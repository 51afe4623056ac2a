"""Everything an evaluation leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evaluate.evaluation import Evaluation
from evaluate.record import write_record
from evaluate.report.csv_tables import (
    write_confusion_table,
    write_curves_table,
    write_errors_table,
    write_metrics_table,
)
from evaluate.report.page import write_report
from evaluate.report.words import HEADLINES


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
