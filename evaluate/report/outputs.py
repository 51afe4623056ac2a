"""Everything an evaluation leaves in its folder: report, tables and record."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep.base.files import write_atomically, write_json
from data_prep.base.html import render_html
from data_prep.base.records import Box
from evaluate.inputs.predictions import read_summary
from evaluate.measures.alarm import make_rule
from evaluate.measures.case import Case
from evaluate.measures.curves import trace_curves
from evaluate.measures.errors import KIND_WORDS, list_errors
from evaluate.measures.headline import HEADLINES, Record, tabulate_headline
from evaluate.measures.matching import DETECTION_KINDS, MISSED
from evaluate.options import METRICS_FILE
from evaluate.report import plots
from evaluate.report.gallery import draw_gallery

ALARM = "alarm.json"
REPORT = "report.html"
METRICS, CURVES, CONFUSION, ERRORS = "metrics.csv", "curves.csv", "confusion.csv", "errors.csv"


def write_outputs(case: Case, record: Record, out: Path) -> list[Path]:
    """Write report.html, tables and metrics.json, the last when all else is there.

    Gives the files a person or a script opens first: the report and the record.
    """
    # Drawn first: should that fail, no table is left without its report.
    write_atomically(out / REPORT, render_report(case, record))
    for name, table in make_tables(case, record):
        write_atomically(out / name, table.to_csv(index=False, lineterminator="\n"))
    chosen = record.get("alarm", {}).get("chosen")
    if chosen and chosen["threshold"] is not None:
        rule = make_rule(case.options.incorrect, chosen["threshold"], case.options.thresh)
        nets = read_summary(Path(record["inputs"]["predictions"])).get("nets")
        measured = {"nets": nets, "measured_on": record["inputs"]}
        write_json(out / ALARM, {**asdict(rule), **chosen, **measured})
    write_json(out / METRICS_FILE, record)
    return [out / REPORT, out / METRICS_FILE]


def render_report(case: Case, record: Record) -> str:
    """Render the page: HTML that needs no other file.

    Every part of the record has a section of the template, which names the `plots` it shows.
    """
    graded = {"both stages": "pipeline", "classifier alone": "crops"}
    return render_html(
        "evaluate.report",
        REPORT,
        filters={
            "number": lambda value, digits=3: "–" if value is None else f"{value:.{digits}f}",
            "interval": lambda ends, digits=3: " to ".join(f"{e:.{digits}f}" for e in ends or ()),
        },
        record=record,
        options=case.options,
        classes=case.truth.classes,
        colours=plots.choose_colours(case.truth.classes),
        headlines=HEADLINES,
        kinds=KIND_WORDS,
        pictures=draw_gallery(case),
        plots=plots,
        curves=trace_curves(case),
        graded={
            words: record["calibration"][name]
            for words, name in graded.items()
            if record["calibration"][name] is not None
        },
        alarm=record.get("alarm"),
        alone=record.get("classifier_alone"),
        against=record.get("against"),
    )


def make_tables(case: Case, record: Record) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables by file name: headline, curves at IoU 0.5, confusion, errors.

    `errors.csv` has the worst of each kind first; `label`, `score` and the box are those of the
    detection, or of the missed face, `annotated` and `iou` tell of the face that a detection meant.
    """
    yield METRICS, tabulate_headline(record)
    shown = ["score", "precision", "recall", "f1"]
    curves = {name: curve[shown].fillna(0.0) for name, curve in trace_curves(case).items()}
    yield CURVES, pd.concat(curves, names=["class"]).reset_index("class")
    confusion = record["operating_points"]["confusion"]
    table = pd.DataFrame(confusion["counts"], columns=confusion["columns"])
    table.insert(0, "annotated", confusion["rows"])
    yield CONFUSION, table
    errors = pd.concat([list_errors(case, kind) for kind in (*DETECTION_KINDS, MISSED)])
    errors["image"] = np.array(case.truth.photos, dtype=object)[errors["photo"]]
    errors["iou"] = errors["iou"].map(partial(round, ndigits=4))
    yield ERRORS, errors[["kind", "image", *Box._fields, "label", "score", "annotated", "iou"]]
