"""A whole evaluation: read, measure, and what a program, a notebook or a folder gets of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from html import escape
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_prep.base.errors import UserError
from data_prep.base.labels import CLASSES, Vocabulary, parse_aliases
from data_prep.base.progress import show_progress
from data_prep.formats.text import Layout
from evaluate.arrays import GroundTruth
from evaluate.inputs.inputs import InputOptions, read_predicted, read_truth
from evaluate.inputs.predictions import (
    Placed,
    Predictions,
    compare_coverage,
    place_predictions,
    repeat_run,
)
from evaluate.inputs.truth import find_photos
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.average_precision import Rules
from evaluate.measures.calibration import describe_calibration
from evaluate.measures.case import THRESH, Case, IncorrectPolicy, Plan
from evaluate.measures.curves import describe_operating_points
from evaluate.measures.errors import describe_budget
from evaluate.measures.headline import (
    Record,
    describe_at,
    describe_classifier,
    describe_difference,
    describe_headline,
    list_conventions,
    summarise,
    tabulate_headline,
)
from evaluate.measures.sanity import (
    describe_coverage,
    describe_offsets,
    describe_ties,
    describe_unlearnt,
    list_doubts,
    only_predicted,
)
from evaluate.measures.sizes import describe_sizes

if TYPE_CHECKING:
    import pandas as pd

Truth = str | Path | GroundTruth  # Annotations: a file or folder in any known format, or as read.

Predicted = str | Path | Predictions
"""Predictions: a file or folder in any known format, or from memory."""

reading, counting, writing = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("What is read", "How it is counted", "What is written")
)
"""Options of the command line by what they are about."""


class OptionError(UserError, ValueError):
    """An option that makes no sense; the message names it and says what to write."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How annotations and predictions are read and counted; the help of each option says more."""

    split: Annotated[str | None, reading(help="Only this split of a faces.csv, such as valid.")] = (
        None
    )
    source: Annotated[str | None, reading(help="Only this dataset of a faces.csv.")] = None
    photos: Annotated[
        Path | None,
        reading(
            help="Folder of the photos, for the pictures of the report and for relative "
            "coordinates; looked for beside the annotations when not given."
        ),
    ] = None
    alias: Annotated[
        list[str], reading(metavar="NAME=CLASS", help="Another name for a class; may be repeated.")
    ] = field(default_factory=list)
    classes: Annotated[
        str | None,
        reading(
            metavar="NAME,NAME,…",
            help="Other classes than the three of masks; the alarm is then left out.",
        ),
    ] = None
    truth_boxes: Annotated[Layout | None, reading(help="Numbers in text files of annotations.")] = (
        None
    )
    pred_boxes: Annotated[Layout | None, reading(help="Numbers in text files of predictions.")] = (
        None
    )
    image_size: Annotated[
        str | None,
        reading(metavar="WxH", help="Size of every photo in pixels, for relative coordinates."),
    ] = None
    names: Annotated[
        Path | None, reading(help="File of class names, one a line, for class numbers.")
    ] = None
    iou: Annotated[list[float], counting(help="Also give AP at this IoU; may be repeated.")] = (
        field(default_factory=list)
    )
    thresh: Annotated[
        float,
        counting(
            min=0, max=1, help="Detector score from which a face is shown to a user; AP takes all."
        ),
    ] = THRESH
    incorrect: Annotated[
        IncorrectPolicy, counting(help="What a mask worn wrongly is to the alarm.")
    ] = "alarm"
    only_predicted: Annotated[
        bool,
        counting(
            "--only-predicted",
            help="Measure only the photos that were run, as photos.csv beside the table says; "
            "without it, only those with a prediction.",
        ),
    ] = False
    false_alarms: Annotated[
        str | None,
        counting(
            metavar="SHARE",
            help="Also find the alarm's threshold at which at most this share of the masked faces "
            "raises it, such as 2%, and write it to OUT/alarm.json for run.py --alarm.",
        ),
    ] = None
    all_classes: Annotated[
        bool,
        counting(
            "--all-classes",
            help="Class AP: take every row for a detection of each class, with score detection × "
            "p_CLASS, not only of its label.",
        ),
    ] = False
    inclusive: Annotated[
        bool, counting("--inclusive", help="Count box sides as xmax - xmin + 1, as the VOC kit.")
    ] = False
    eleven_point: Annotated[
        bool, counting("--eleven-point", help="AP at 11 recalls (VOC 2007), not at every recall.")
    ] = False
    bootstrap: Annotated[
        int, counting(min=0, help="Resamples of the photos for the intervals; 0 for none.")
    ] = 1000
    seed: Annotated[int, counting(min=0, help="Seed of the resamples.")] = 0

    def choose_inputs(self) -> InputOptions:
        """What reading needs to know.

        Raises:
            UserError: An option makes no sense; the message names it.
        """
        labels = _parse_classes(self.classes) if self.classes else CLASSES
        return InputOptions(
            vocabulary=Vocabulary(labels, parse_aliases(self.alias, labels)),
            split=self.split,
            source=self.source,
            truth_boxes=self.truth_boxes,
            predicted_boxes=self.pred_boxes,
            image_size=_parse_size(self.image_size) if self.image_size else None,
            names=self.names,
            photos=self.photos,
            probabilities=self.all_classes,
        )

    def make_plan(self) -> Plan:
        """How it is measured.

        Raises:
            OptionError: An IoU is not above 0 and at most 1, or the share of false alarms makes
                no sense.
        """
        if self.false_alarms and self.classes:
            raise OptionError("--false-alarms is about masks; leave out --classes.")
        for value in self.iou:
            if not 0 < value <= 1:
                raise OptionError(f"--iou {value:g}: an IoU lies above 0 and at most at 1.")
        return Plan(
            rules=Rules(self.inclusive, self.eleven_point, self.all_classes),
            ious=tuple(sorted(set(self.iou))),
            thresh=self.thresh,
            policy=self.incorrect,
            false_alarms=_parse_share(self.false_alarms) if self.false_alarms else None,
            resamples=self.bootstrap,
            seed=self.seed,
        )


SECTIONS: dict[str, Callable[[Case], Any]] = {
    "coverage": describe_coverage,
    "not_learnt_from": describe_unlearnt,
    "ties": describe_ties,
    "box_offsets": describe_offsets,
    "at_iou": describe_at,
    "coco": attrgetter("coco"),
    "conventions": list_conventions,
    "operating_points": describe_operating_points,
    "by_size": describe_sizes,
    "error_budget": describe_budget,
    "calibration": describe_calibration,
    "alarm": lambda case: describe_alarm(case) if case.truth.classes == CLASSES else None,
    "classifier_alone": describe_classifier,
    "against": describe_difference,
}
"""Parts of the record beside the headline numbers; one that gives None is left out."""


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The result of an evaluation."""

    metrics: Record  # All figures, as in metrics.json; evaluate/README.md says what they mean.
    case: Case

    def to_frame(self) -> pd.DataFrame:
        """The headline figures with their 95 % intervals, as fractions: a row each."""
        return tabulate_headline(self.metrics)

    def __repr__(self) -> str:
        return "\n".join([*self.metrics["warnings"], self.metrics["sentence"]])

    def _repr_html_(self) -> str:
        told = "".join(f"<p>{escape(line)}</p>" for line in repr(self).splitlines())
        return told + self.to_frame().to_html(index=False, float_format="{:.3f}".format, na_rep="")

    def save(self, folder: str | Path) -> list[Path]:
        """Write metrics.json, report.html and CSV tables into a folder; other files there stay.

        Returns:
            The report and metrics.json.

        Raises:
            OutputError: Something can't be written.
        """
        from evaluate.report.outputs import write_outputs

        return write_outputs(self.case, self.metrics, Path(folder))


def evaluate(
    truth: Truth,
    predictions: Predicted,
    options: EvaluateOptions | None = None,
    *,
    crops: Predicted | None = None,
    against: Predicted | None = None,
) -> Evaluation:
    """Measure predictions against annotations.

    Args:
        truth: Annotated faces: a path in any known format, or as read.
        predictions: Predicted faces: a path in any known format, or from memory.
        options: How they are read and counted.
        crops: What the classifier alone says of the annotated boxes.
        against: Other predictions for the same photos, to be compared with.

    Raises:
        UserError: Something can't be read or used; the message says what to do.
    """
    options = options or EvaluateOptions()
    return measure_case(read_case(truth, predictions, options, crops=crops, against=against))


def read_case(
    truth: Truth,
    predictions: Predicted,
    options: EvaluateOptions,
    *,
    crops: Predicted | None = None,
    against: Predicted | None = None,
) -> Case:
    """Read annotations and predictions; arguments and errors as of `evaluate`."""
    how, plan = options.choose_inputs(), options.make_plan()
    path = None if isinstance(truth, GroundTruth) else Path(truth)
    faces = truth if isinstance(truth, GroundTruth) else read_truth(Path(truth), how)
    files: Mapping[str, Path] = {}
    if path is not None or options.photos is not None:
        files = find_photos(faces.photos, path or Path(), options.photos)

    def read(source: Predicted) -> Placed:
        if isinstance(source, Predictions):
            return place_predictions(source, faces, files)
        return read_predicted(Path(source), faces, how, truth_path=path)

    def name(source: Predicted | None) -> str | None:
        source = source.path if isinstance(source, Predictions) else source
        return None if source is None else str(source)

    placed = read(predictions)
    others = {"crops": crops, "other": against}
    more = {key: read(source) for key, source in others.items() if source is not None}
    warnings = [] if isinstance(predictions, Predictions) else repeat_run(Path(predictions))
    warnings += [w for one in (placed, *more.values()) for w in one.warnings]
    tables = {key: one.detections for key, one in more.items()}
    if "other" in tables:
        warnings += compare_coverage(placed.detections, tables["other"])
    case = Case(
        truth=faces,
        detections=placed.detections,
        plan=plan,
        crops=tables.get("crops"),
        other=tables.get("other"),
        left_out=placed.left_out,
        warnings=tuple(warnings),
        ran=placed.ran,
        names={
            "ground_truth": "annotations in memory" if path is None else str(truth),
            "predictions": name(predictions),
            "split": options.split,
            "source": options.source,
            "crops": name(crops),
            "against": name(against),
        },
        files=files,
    )
    return only_predicted(case) if options.only_predicted else case


def measure_case(case: Case, *, progress: bool = False) -> Evaluation:
    """Measure everything; `progress` shows on standard error how far it is."""
    metrics = describe_headline(case)
    sections: Iterable[tuple[str, Callable[[Case], Any]]] = SECTIONS.items()
    if progress:
        sections = show_progress(sections, len(SECTIONS), "measuring")
    for name, describe in sections:
        section = describe(case)
        if section is not None:
            metrics[name] = section
    metrics["warnings"] = [*list_doubts(case, metrics), *metrics["warnings"]]
    metrics["sentence"] = summarise(metrics)
    metrics["inputs"] = dict(case.names)
    return Evaluation(metrics, case)


def _parse_classes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise OptionError(f"--classes {text}: write names separated by commas, such as cat,dog.")
    if len({name.lower() for name in names}) < len(names):
        raise OptionError(f"--classes {text}: a class is named twice.")
    return names


def _parse_share(text: str) -> float:
    match = re.fullmatch(r"\s*(\d*\.?\d+)\s*(%?)\s*", text)
    value = float(match[1]) / (100 if match[2] else 1) if match else 1.0
    if value >= 1:
        raise OptionError(f"--false-alarms {text}: write a share such as 2% or 0.02.")
    return value


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*0*([1-9]\d*)\s*[x×X,]\s*0*([1-9]\d*)\s*", text)
    if match is None:
        raise OptionError(f"--image-size {text}: write width x height in pixels, such as 400x300.")
    return int(match[1]), int(match[2])
