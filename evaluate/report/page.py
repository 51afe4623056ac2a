"""The report: one self-contained HTML page, for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.files import write_atomically
from data_prep.render import render_html
from evaluate.evaluation import Evaluation
from evaluate.report.gallery import Picture, draw_gallery
from evaluate.report.plots import (
    choose_colours,
    plot_budget,
    plot_confusion,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
    plot_sizes,
    plot_unsure,
)
from evaluate.report.words import HEADLINES, KIND_WORDS, show_interval, show_number

REPORT = "report.html"
"""File name in the output folder."""

SECTION_WORDS = {"pipeline": "both stages", "crops": "classifier alone"}


def write_report(evaluation: Evaluation, files: Mapping[str, Path], folder: Path) -> Path:
    """Write report.html.

    Args:
        evaluation: With all sections measured.
        files: Photos by name, for the pictures of errors.
        folder: Output folder; nothing else there is touched.

    Raises:
        OutputError: The page can't be written.
    """
    pictures = draw_gallery(evaluation.truth, evaluation.detections, evaluation.errors, files)
    path = folder / REPORT
    write_atomically(path, render_report(evaluation, pictures))
    return path


def render_report(evaluation: Evaluation, pictures: Mapping[str, Sequence[Picture]]) -> str:
    """Render the page.

    Args:
        evaluation: With all sections measured.
        pictures: Of the worst errors, by kind; see `evaluate.report.gallery.draw_gallery`.

    Returns:
        HTML that needs no other file.
    """
    record = evaluation.record
    graded = {
        SECTION_WORDS[name]: record["calibration"][name]
        for name in SECTION_WORDS
        if record["calibration"][name] is not None
    }
    alarm = record.get("alarm")
    return render_html(
        "evaluate.report",
        REPORT,
        filters={"number": show_number, "interval": show_interval},
        record=record,
        plan=evaluation.plan,
        classes=evaluation.truth.classes,
        colours=choose_colours(evaluation.truth.classes),
        headlines=HEADLINES,
        kinds=KIND_WORDS,
        pictures={kind: list(shown) for kind, shown in pictures.items()},
        has_errors=any(pictures.values()),
        has_photos=any(one.src for shown in pictures.values() for one in shown),
        precision_recall=plot_precision_recall(
            evaluation.curves, record["operating_points"]["points"]
        ),
        confusion=plot_confusion(record["operating_points"]["confusion"], "Through both stages"),
        sizes=plot_sizes(record["by_size"]["sizes"]),
        budget=plot_budget(record["error_budget"], KIND_WORDS),
        graded=graded,
        reliability=plot_reliability(graded) if graded else None,
        unsure=plot_unsure(graded) if graded else None,
        alarm=alarm,
        roc=alarm
        and plot_roc(
            {SECTION_WORDS["pipeline"]: alarm["roc"], SECTION_WORDS["crops"]: alarm["crops_roc"]}
        ),
        alone=record.get("classifier_alone"),
        alone_confusion=plot_confusion(
            record["classifier_alone"]["confusion"], "Classifier on annotated boxes"
        )
        if "classifier_alone" in record
        else None,
        against=record.get("against"),
    )
