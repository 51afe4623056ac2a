"""The command line: read, measure, write, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data_prep.errors import UserError
from data_prep.labels import parse_aliases
from evaluate.ground_truth import read_ground_truth
from evaluate.metrics import PER_CLASS, Rules
from evaluate.predictions import place_predictions, read_predictions
from evaluate.record import Record, build_record, write_record
from evaluate.records import Vocabulary

USAGE_ERROR = 2
"""Exit status when the input can't be used or the output can't be written."""

app = typer.Typer(add_completion=False)

_NAMES = {
    "map50": "mAP at IoU 0.50",
    "map75": "mAP at IoU 0.75",
    "map50_95": "mAP at IoU 0.50 to 0.95",
    "ap50": "AP at IoU 0.50",
    "face_ap50": "face AP at IoU 0.50",
    "face_ap75": "face AP at IoU 0.75",
    "face_recall": "faces found",
    "detected": "found",
    "accuracy": "accuracy on found faces",
    "macro_recall": "macro recall on found faces",
    "recall": "recall on found faces",
}
"""What is shown, in this order; the rest is in the record."""


@app.command()
def evaluate(
    ground_truth: Annotated[
        Path,
        typer.Argument(
            metavar="GT",
            help="Folder of VOC XML files, with or without the photos, or a faces.csv.",
        ),
    ],
    predictions: Annotated[
        Path, typer.Argument(metavar="PRED.csv", help="Table of predictions as run.py writes it.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for metrics.json.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Only this split of a faces.csv, such as valid.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only this dataset of a faces.csv.")] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CLASS", help="Another name for a class; may be repeated."),
    ] = None,
    all_classes: Annotated[
        bool,
        typer.Option(
            "--all-classes",
            help="Class AP: take every row for a detection of each class, with score detection × "
            "p_CLASS, not only of its label.",
        ),
    ] = False,
    inclusive: Annotated[
        bool,
        typer.Option("--inclusive", help="Count box sides as xmax - xmin + 1, as the VOC kit."),
    ] = False,
    eleven_point: Annotated[
        bool,
        typer.Option("--eleven-point", help="AP at 11 recalls (VOC 2007), not at every recall."),
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples of the photos for the intervals; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
) -> None:
    """Measure predictions against annotations.

    Writes OUT/metrics.json (average precision as PASCAL VOC defines it, accuracy and recall on the
    faces that were found, and 95 % bootstrap intervals by photo) and shows the headline numbers.
    """
    rules = Rules(inclusive=inclusive, eleven_point=eleven_point, all_classes=all_classes)
    try:
        vocabulary = Vocabulary(aliases=parse_aliases(alias or []))
        truth = read_ground_truth(ground_truth, split=split, source=source, vocabulary=vocabulary)
        table = read_predictions(predictions, probabilities=all_classes, vocabulary=vocabulary)
        placed = place_predictions(table, truth)
        record = build_record(truth, placed, rules, resamples=bootstrap, seed=seed)
        inputs = {
            "ground_truth": str(ground_truth),
            "predictions": str(predictions),
            "split": split,
            "source": source,
        }
        path = write_record({**record, "inputs": inputs}, out)
    except UserError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from error
    for warning in record["warnings"]:
        typer.echo(f"Warning: {warning}", err=True)
    _show(record, path)


def _show(record: Record, path: Path) -> None:
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
    for name, words in _NAMES.items():
        value, interval = record[name], intervals.get(name)
        if name not in PER_CLASS:
            table.add_row(words, _percent(value), _range(interval))
            continue
        for label in value:
            ends = interval[label] if interval else None
            table.add_row(f"  {words}: {label}", _percent(value[label]), _range(ends))
    console.print(table)
    # Not through the console, which would break a long path.
    typer.echo(str(path))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _range(ends: Any) -> str:
    return "–" if ends is None else f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f}"
