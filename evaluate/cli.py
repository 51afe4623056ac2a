"""The command line: read, measure, write, show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data_prep.base.errors import UserError
from data_prep.base.files import make_folder
from data_prep.base.labels import CLASSES, Vocabulary, parse_aliases
from data_prep.base.progress import show_progress
from evaluate.inputs.inputs import InputOptions, read_predicted, read_truth
from evaluate.inputs.photos import find_photos
from evaluate.inputs.predictions import Placed, compare_coverage
from evaluate.inputs.text import Layout, write_text_boxes
from evaluate.measures.alarm_counts import IncorrectPolicy
from evaluate.measures.curves import THRESH
from evaluate.measures.headline import Record
from evaluate.measures.metrics import PER_CLASS, Rules
from evaluate.plan import Plan, list_sections, measure_sections, start_evaluation
from evaluate.report.outputs import write_outputs
from evaluate.report.page import HEADLINES


class OptionError(UserError, ValueError):
    """An option that makes no sense; the message names it and says what to write."""


def parse_classes(text: str) -> tuple[str, ...]:
    """Class names separated by commas, in the order of tables and plots.

    Raises:
        OptionError: There is none, or one twice.

    >>> parse_classes("cat, dog")
    ('cat', 'dog')
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise OptionError(f"--classes {text}: write names separated by commas, such as cat,dog.")
    if len({name.lower() for name in names}) < len(names):
        raise OptionError(f"--classes {text}: a class is named twice.")
    return names


def parse_ious(values: Sequence[float]) -> tuple[float, ...]:
    """IoU thresholds, each once, rising.

    Raises:
        OptionError: One is not above 0 and at most 1.
    """
    for value in values:
        if not 0 < value <= 1:
            raise OptionError(f"--iou {value:g}: an IoU lies above 0 and at most at 1.")
    return tuple(sorted(set(values)))


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        OptionError: It is not two whole numbers above 0.

    >>> parse_size("400x300")
    (400, 300)
    """
    match = re.fullmatch(r"\s*(\d+)\s*[x×X,]\s*(\d+)\s*", text)
    if match is None or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
        raise OptionError(f"--image-size {text}: write width x height in pixels, such as 400x300.")
    return int(match[1]), int(match[2])


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


USAGE_ERROR = 2
"""Exit status when the input can't be used or the output can't be written."""

READING, COUNTING, WRITING = "What is read", "How it is counted", "What is written"

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    ground_truth: Annotated[
        Path,
        typer.Argument(
            metavar="GT",
            help="Annotated faces: a folder of VOC XML files, a faces.csv or its folder, COCO "
            "JSON, a YOLO dataset, or a folder of text files.",
        ),
    ],
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PRED",
            help="Predicted faces: a table of run.py, COCO results JSON, VOC XML files with "
            "scores, or a folder of text files.",
        ),
    ],
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
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER.csv",
            help="Other predictions for the same photos, to be compared with.",
            rich_help_panel=READING,
        ),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(
            metavar="CROPS.csv",
            help="The classifier alone on annotated boxes: python -m pipeline classify.",
            rich_help_panel=READING,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Only this split of a faces.csv, such as valid.", rich_help_panel=READING
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Only this dataset of a faces.csv.", rich_help_panel=READING),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the photos, for the pictures of the report and for relative "
            "coordinates; looked for beside the annotations when not given.",
            rich_help_panel=READING,
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLASS",
            help="Another name for a class; may be repeated.",
            rich_help_panel=READING,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,…",
            help="Other classes than the three of masks; the alarm is then left out.",
            rich_help_panel=READING,
        ),
    ] = None,
    truth_boxes: Annotated[
        Layout | None,
        typer.Option(help="Numbers in text files of annotations.", rich_help_panel=READING),
    ] = None,
    pred_boxes: Annotated[
        Layout | None,
        typer.Option(help="Numbers in text files of predictions.", rich_help_panel=READING),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Size of every photo in pixels, for relative coordinates.",
            rich_help_panel=READING,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="File of class names, one a line, for class numbers.", rich_help_panel=READING
        ),
    ] = None,
    iou: Annotated[
        list[float] | None,
        typer.Option(help="Also give AP at this IoU; may be repeated.", rich_help_panel=COUNTING),
    ] = None,
    thresh: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Detector score from which a face is shown to a user; AP takes all.",
            rich_help_panel=COUNTING,
        ),
    ] = THRESH,
    incorrect: Annotated[
        IncorrectPolicy,
        typer.Option(help="What a mask worn wrongly is to the alarm.", rich_help_panel=COUNTING),
    ] = "alarm",
    all_classes: Annotated[
        bool,
        typer.Option(
            "--all-classes",
            help="Class AP: take every row for a detection of each class, with score detection × "
            "p_CLASS, not only of its label.",
            rich_help_panel=COUNTING,
        ),
    ] = False,
    inclusive: Annotated[
        bool,
        typer.Option(
            "--inclusive",
            help="Count box sides as xmax - xmin + 1, as the VOC kit.",
            rich_help_panel=COUNTING,
        ),
    ] = False,
    eleven_point: Annotated[
        bool,
        typer.Option(
            "--eleven-point",
            help="AP at 11 recalls (VOC 2007), not at every recall.",
            rich_help_panel=COUNTING,
        ),
    ] = False,
    bootstrap: Annotated[
        int,
        typer.Option(
            min=0,
            help="Resamples of the photos for the intervals; 0 for none.",
            rich_help_panel=COUNTING,
        ),
    ] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the resamples.", rich_help_panel=COUNTING)
    ] = 0,
    write_boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write both sides as text files of Object-Detection-Metrics, to check the "
            "figures with that tool.",
            rich_help_panel=WRITING,
        ),
    ] = None,
) -> None:
    """Measure predictions against annotations.

    Writes OUT/metrics.json, report.html and CSV tables: average precision as PASCAL VOC and COCO
    define it, precision and recall, the alarm "not properly masked", results by size, what each
    kind of error costs, and 95 % bootstrap intervals by photo.
    """
    try:
        labels = parse_classes(classes) if classes else CLASSES
        options = InputOptions(
            vocabulary=Vocabulary(labels, parse_aliases(alias or [], labels)),
            split=split,
            source=source,
            truth_boxes=truth_boxes,
            predicted_boxes=pred_boxes,
            image_size=parse_size(image_size) if image_size else None,
            names=names,
            photos=photos,
            probabilities=all_classes,
        )
        plan = Plan(
            rules=Rules(inclusive=inclusive, eleven_point=eleven_point, all_classes=all_classes),
            ious=parse_ious(iou or []),
            thresh=thresh,
            policy=incorrect,
            resamples=bootstrap,
            seed=seed,
        )
        truth = read_truth(ground_truth, options)

        def read(table: Path) -> Placed:
            return read_predicted(table, truth, options, truth_path=ground_truth)

        evaluation = start_evaluation(truth, read(predictions), plan)
        others = {table: read(table) for table in (crops, against) if table is not None}
        make_folder(out)
        sections = list_sections(
            evaluation,
            crops=others[crops].detections if crops else None,
            other=others[against].detections if against else None,
        )
        for _ in show_progress(measure_sections(evaluation, sections), len(sections), "measuring"):
            pass
        evaluation.record["inputs"] = {
            "ground_truth": str(ground_truth),
            "predictions": str(predictions),
            "split": split,
            "source": source,
            "crops": str(crops) if crops else None,
            "against": str(against) if against else None,
        }
        warnings = evaluation.record["warnings"]
        warnings += [warning for other in others.values() for warning in other.warnings]
        if against is not None:
            warnings += compare_coverage(evaluation.detections, others[against].detections)
        if write_boxes is not None:
            warnings += write_text_boxes(truth, evaluation.detections, write_boxes)
        files = find_photos(truth.photos, ground_truth, photos)
        written = write_outputs(evaluation, files, out)
        if write_boxes is not None:
            written.append(write_boxes)
    except UserError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from error
    for warning in evaluation.record["warnings"]:
        typer.echo(f"Warning: {warning}", err=True)
    show_record(evaluation.record)
    for path in written:
        # Not through the console, which would break a long path.
        typer.echo(str(path))
