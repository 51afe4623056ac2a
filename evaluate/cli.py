"""The command line: read, measure, write, show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data_prep.base.command import as_command
from data_prep.base.files import make_folder
from evaluate.evaluation import READING, WRITING, EvaluateOptions, measure_inputs, read_inputs
from evaluate.inputs.inputs import write_text_boxes
from evaluate.measures.headline import HEADLINES, PER_CLASS, Record


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(EvaluateOptions):
    """What the command line takes: where things are, and `EvaluateOptions`."""

    ground_truth: Annotated[
        Path,
        typer.Argument(
            metavar="GT",
            help="Annotated faces: a folder of VOC XML files, a faces.csv or its folder, COCO "
            "JSON, a YOLO dataset, or a folder of text files.",
        ),
    ]
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PRED",
            help="Predicted faces: a table of run.py, COCO results JSON, VOC XML files with "
            "scores, or a folder of text files.",
        ),
    ]
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="Folder for metrics.json, report.html, metrics.csv, curves.csv, confusion.csv and "
            "errors.csv; files of these names are replaced, all others stay.",
            rich_help_panel=WRITING,
        ),
    ]
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER.csv",
            help="Other predictions for the same photos, to be compared with.",
            rich_help_panel=READING,
        ),
    ] = None
    crops: Annotated[
        Path | None,
        typer.Option(
            metavar="CROPS.csv",
            help="The classifier alone on annotated boxes: python -m pipeline classify.",
            rich_help_panel=READING,
        ),
    ] = None
    write_boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write both sides as text files of Object-Detection-Metrics, to check the "
            "figures with that tool.",
            rich_help_panel=WRITING,
        ),
    ] = None


def evaluate(command: EvaluateCommand) -> None:
    """Measure predictions against annotations.

    Writes OUT/metrics.json, report.html and CSV tables: average precision as PASCAL VOC and COCO
    define it, precision and recall, the alarm "not properly masked", results by size, what each
    kind of error costs, and 95 % bootstrap intervals by photo.
    """
    inputs = read_inputs(
        command.ground_truth,
        command.predictions,
        command,
        crops=command.crops,
        against=command.against,
    )
    make_folder(command.out)
    evaluation = measure_inputs(inputs, progress=True)
    warnings = evaluation.metrics["warnings"]
    if command.write_boxes is not None:
        warnings += write_text_boxes(
            evaluation.case.truth, evaluation.case.detections, command.write_boxes
        )
    written = evaluation.save(command.out)
    if command.write_boxes is not None:
        written.append(command.write_boxes)
    for warning in warnings:
        typer.echo(f"Warning: {warning}", err=True)
    show_record(evaluation.metrics)
    for path in written:
        # Not through the console, which would break a long path.
        typer.echo(str(path))


app = typer.Typer(add_completion=False)
app.command()(as_command(evaluate))


def show_record(record: Record) -> None:
    """Print the headline numbers with their intervals; classes without a face are left out."""
    counts = record["counts"]
    definitions = record["definitions"]
    console = Console()
    table = Table(
        title=f"{counts['photos']} photos, {sum(counts['faces'].values())} faces, "
        f"{counts['predictions']} predictions ({definitions['interpolation']} AP)",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("%", justify="right")
    table.add_column("95 % interval", justify="right")
    intervals = record["intervals"] or {}
    for name, words in HEADLINES.items():
        value, interval = record[name], intervals.get(name)
        if name not in PER_CLASS:
            table.add_row(words, _percent(value), _range(interval))
            continue
        for label in (label for label, number in value.items() if number is not None):
            ends = interval[label] if interval else None
            table.add_row(f"  {words}: {label}", _percent(value[label]), _range(ends))
    for row in record["at_iou"]:
        table.add_row(f"mAP at IoU {row['iou']:.2f}", _percent(row["map"], 2), "")
    console.print(table)


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}"


def _range(ends: Any) -> str:
    return "–" if ends is None else f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f}"
