"""The report: one self-contained HTML page, for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.base.files import write_atomically
from data_prep.base.html import render_html
from evaluate.measures.errors import MISSED
from evaluate.plan import Evaluation
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

HEADLINES: dict[str, str] = {
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
"""Words for the headline numbers, in the order they are shown; the rest is in the record."""

KIND_WORDS: dict[str, str] = {
    MISSED: "missed face",
    "wrong_class": "wrong class",
    "poor_box": "poor box",
    "wrong_class_and_box": "wrong class, poor box",
    "second_hit": "second hit",
    "false_face": "false face",
}
"""Words for the kinds of errors, in the order they are shown."""


def show_number(value: float | None, digits: int = 3) -> str:
    """A fraction as text; a dash where it is not defined.

    >>> show_number(0.98765), show_number(None)
    ('0.988', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def show_interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """An interval as text, nothing where it is not defined.

    >>> show_interval([0.25, 0.75])
    '0.250 to 0.750'
    """
    return "" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


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
