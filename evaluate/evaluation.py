"""A whole evaluation: read, measure, and what a program, a notebook or a folder gets of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.base.files import as_path, refuse_other_files
from data_prep.base.labels import CLASSES
from data_prep.base.progress import show_progress
from evaluate.arrays import GroundTruth
from evaluate.inputs import predictions as inputs
from evaluate.inputs.photos import find_photos
from evaluate.inputs.predictions import Predictions
from evaluate.inputs.truth import read_truth
from evaluate.measures import alarm, alignment, calibration, curves, errors, headline, sanity, sizes
from evaluate.measures.case import Case
from evaluate.measures.headline import Record
from evaluate.options import METRICS_FILE, EvaluateOptions

if TYPE_CHECKING:
    import pandas as pd

Truth = str | Path | GroundTruth  # Annotations: a file or folder in any known format, or as read.

Predicted = str | Path | Predictions
"""Predictions: a file or folder in any known format, or from memory."""

SECTIONS: dict[str, Callable[[Case], Any]] = {
    "coverage": sanity.describe_coverage,
    "not_learnt_from": sanity.describe_unlearnt,
    "ties": sanity.describe_ties,
    "box_offsets": alignment.describe_offsets,
    "aligned": alignment.describe_aligned,
    "at_iou": headline.describe_at,
    "coco": attrgetter("coco"),
    "conventions": headline.list_conventions,
    "operating_points": curves.describe_operating_points,
    "by_size": sizes.describe_sizes,
    "error_budget": errors.describe_budget,
    "calibration": calibration.describe_calibration,
    "alarm": lambda case: alarm.describe_alarm(case) if case.truth.classes == CLASSES else None,
    "classifier_alone": headline.describe_classifier,
    "against": headline.describe_difference,
}
"""Parts of the record beside the headline numbers; one that gives None is left out."""


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The result of an evaluation."""

    metrics: Record  # All figures, as in metrics.json; evaluate/README.md says what they mean.
    case: Case

    def to_frame(self) -> pd.DataFrame:
        """The headline figures with their 95 % intervals, as fractions: a row each."""
        return headline.tabulate_headline(self.metrics)

    def __repr__(self) -> str:
        return "\n".join([*self.metrics["warnings"], self.metrics["sentence"]])

    def _repr_html_(self) -> str:
        told = "".join(f"<p>{escape(line)}</p>" for line in repr(self).splitlines())
        return told + self.to_frame().to_html(index=False, float_format="{:.3f}".format, na_rep="")

    def save(self, folder: str | Path) -> list[Path]:
        """Write metrics.json, report.html and CSV tables into a folder; other files there stay.

        Gives the report and metrics.json; an `OutputError` where something can't be written, or in
        a folder of another command.
        """
        from evaluate.report.outputs import write_outputs

        out = as_path("folder", folder)
        refuse_other_files(out, METRICS_FILE, "save", mark=None, beside=True)
        return write_outputs(self.case, self.metrics, out)


def evaluate(
    truth: Truth,
    predictions: Predicted,
    options: EvaluateOptions | None = None,
    *,
    crops: Predicted | None = None,
    against: Predicted | None = None,
) -> Evaluation:
    """Measure predictions against annotations, each a path in any known format or as read.

    `crops` are what the classifier alone says of the annotated boxes, `against` other predictions
    for the same photos, to be compared with. A `UserError` where something can't be read or used.
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
    path = None if isinstance(truth, GroundTruth) else Path(truth)
    faces = truth if isinstance(truth, GroundTruth) else read_truth(Path(truth), options)
    files: Mapping[str, Path] = {}
    if path is not None or options.photos is not None:
        files = find_photos(faces.photos, path or Path(), options.photos)

    def read(source: Predicted) -> inputs.Placed:
        if isinstance(source, Predictions):
            return inputs.place_predictions(source, faces, files)
        return inputs.read_predicted(Path(source), faces, options, truth_path=path)

    def name(source: Predicted | None) -> str | None:
        source = source.path if isinstance(source, Predictions) else source
        return None if source is None else str(source)

    placed = read(predictions)
    others = {"crops": crops, "other": against}
    more = {key: read(source) for key, source in others.items() if source is not None}
    warnings = [] if isinstance(predictions, Predictions) else inputs.repeat_run(Path(predictions))
    warnings += [w for one in (placed, *more.values()) for w in one.warnings]
    tables = {key: one.detections for key, one in more.items()}
    if "other" in tables:
        warnings += inputs.compare_coverage(placed.detections, tables["other"])
    case = Case(
        truth=faces,
        detections=placed.detections,
        options=options,
        **tables,
        left_out=placed.left_out,
        warnings=tuple(warnings),
        ran=placed.ran,
        names={
            "ground_truth": "annotations in memory" if path is None else str(truth),
            "predictions": name(predictions),
            **{"split": options.split, "source": options.source},
            **{"crops": name(crops), "against": name(against)},
        },
        files=files,
    )
    return sanity.only_predicted(case) if options.only_predicted else case


def measure_case(case: Case, *, progress: bool = False) -> Evaluation:
    """Measure everything; `progress` shows on standard error how far it is."""
    metrics = headline.describe_headline(case)
    sections: Iterable[tuple[str, Callable[[Case], Any]]] = SECTIONS.items()
    if progress:
        sections = show_progress(sections, len(SECTIONS), "measuring")
    for name, describe in sections:
        section = describe(case)
        if section is not None:
            metrics[name] = section
    metrics["warnings"] = [*sanity.list_doubts(case, metrics), *metrics["warnings"]]
    metrics["sentence"] = headline.summarise(metrics)
    metrics["inputs"] = dict(case.names)
    return Evaluation(metrics, case)
