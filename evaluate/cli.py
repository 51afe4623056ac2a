"""The command line: read, measure, write, show."""

import os
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from data_prep.base.command import Command, as_command, spell
from data_prep.base.errors import visible
from data_prep.base.files import hold_folder, refuse_dataset_folders, refuse_other_files
from data_prep.base.progress import tell
from evaluate.evaluation import Evaluation, measure_case, read_case
from evaluate.measures.headline import HEADLINES, tabulate_headline
from evaluate.options import METRICS_FILE, EvaluateOptions, reading, writing


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(EvaluateOptions):
    """What the command line takes: where things are, and `EvaluateOptions`."""

    ground_truth: Annotated[Path, typer.Argument(metavar="GT")]
    """Annotated faces: a folder of VOC XML files, a faces.csv or its folder, COCO JSON, a YOLO
    dataset, or a folder of text files."""
    predictions: Annotated[Path, typer.Argument(metavar="PRED")]
    """Predicted faces: a table of run.py, COCO results JSON, VOC XML files with scores, or a folder
    of text files."""
    out: Annotated[Path, writing("-o", "--out", metavar="OUT")]
    """Folder for metrics.json, report.html, metrics.csv, curves.csv, confusion.csv and errors.csv:
    a new one, or that of an earlier evaluation."""
    against: Annotated[Path | None, reading(metavar="OTHER.csv")] = None
    """Other predictions for the same photos, to be compared with."""
    crops: Annotated[
        Path | None,
        reading(
            metavar="CROPS.csv",
            help=f"The classifier alone on annotated boxes: {spell('classify')}.",
        ),
    ] = None


def evaluate(command: EvaluateCommand) -> None:
    """Measure predictions against annotations.

    Writes OUT/metrics.json, report.html and CSV tables: average precision as PASCAL VOC and COCO
    define it, precision and recall, the alarm "not properly masked", results by size, what each
    kind of error costs, and 95 % bootstrap intervals by photo.
    """
    if command.ground_truth.is_dir():
        refuse_dataset_folders([command.out], [command.ground_truth], around=True)
    refuse_other_files(command.out, METRICS_FILE)
    more = {"crops": command.crops, "against": command.against}
    case = read_case(command.ground_truth, command.predictions, command, **more)
    with hold_folder(command.out):
        evaluation = measure_case(case, progress=True)
        written = evaluation.save(command.out)
    for warning in evaluation.metrics["warnings"]:
        typer.echo(f"Warning: {visible(warning)}", err=True)
    show_headline(evaluation)
    for path in written:
        # Not through the console, which would break a long path.
        typer.echo(str(path))


_NO_TERMINAL = 200  # Columns of a log or a file, in which nothing has to be broken.

app = typer.Typer(add_completion=False)
app.command(cls=Command)(as_command(evaluate))


def show_headline(evaluation: Evaluation) -> None:
    """Print the sentence and the headline numbers; classes without a face are left out.

    Beside stand those of photos not learnt from, and in the annotators' box convention.
    """
    record = evaluation.metrics
    counts, definitions = record["counts"], record["definitions"]
    typer.echo(record["sentence"])
    others, aligned = record.get("not_learnt_from"), record.get("aligned")
    captions = [f"others: the {tell(others['counts']['photos'])} not learnt from"] if others else []
    captions += ["aligned: in the annotators' box convention"] if aligned else []
    table = Table(
        title=f"{tell(counts['photos'])}, {tell(sum(counts['faces'].values()), 'face')}, "
        f"{tell(counts['predictions'], 'prediction')} ({definitions['interpolation']} AP)",
        title_justify="left",
        caption="\n".join(captions),
        caption_justify="left",
    )
    table.add_column("")
    sides = {"others %": others, "aligned %": aligned}
    for words in ("%", "95 % interval", *(words for words, side in sides.items() if side)):
        table.add_column(words, justify="right")
    beside = tabulate_headline(others)["value"] if others else repeat(None)
    for (name, label, value, low, high), other in zip(
        evaluation.to_frame().itertuples(index=False), beside, strict=False
    ):
        if label and pd.isna(value):
            continue
        interval = "–" if pd.isna(low) else f"{_percent(low)} – {_percent(high)}"
        cells = [_percent(value), interval, *([_percent(other)] if others else [])]
        cells += [_percent(aligned[name]) if name in aligned else ""] if aligned else []
        table.add_row(f"  {HEADLINES[name]}: {label}" if label else HEADLINES[name], *cells)
    for row in record["at_iou"]:
        table.add_row(f"mAP at IoU {row['iou']:.2f}", _percent(row["map"], 2), "")
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_TERMINAL
    console.print(table)
    if chosen := record.get("alarm", {}).get("chosen"):
        typer.echo(chosen["sentence"])


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}"
