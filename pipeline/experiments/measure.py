"""All figures of weights, as they stand on cards and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from data_prep.base.files import write_json
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.progress import log, show_progress
from data_prep.base.records import Box
from data_prep.base.tables import markdown_table
from data_prep.formats.predictions import PredictionRow, tabulate_predictions
from data_prep.grouping.split import VALID
from evaluate.evaluation import EvaluateOptions, evaluate
from evaluate.inputs.predictions import Predictions, make_predictions, place_predictions
from evaluate.inputs.truth import find_photos, read_ground_truth
from evaluate.measures.case import Case
from evaluate.measures.headline import describe_headline
from evaluate.report.outputs import REPORT
from pipeline.experiments.engine import PreparedData
from pipeline.experiments.tables import pick_figure, show_figure
from pipeline.inference.classifier import Classifier
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import list_rows
from pipeline.inference.sources import PhotoSet
from pipeline.inference.yunet import choose_detector
from pipeline.nets.cards import (
    CLASSIFIER,
    DETECTOR,
    ClassifierCard,
    DetectorCard,
    WeightsError,
    read_card,
)
from pipeline.nets.compute import pick_device
from pipeline.nets.options import SHIPPED, DetectorModel, DetectorName, Device, Prepared, Weights


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and where the figures go."""

    prepared: Prepared
    weights: Weights = SHIPPED
    write: Annotated[bool, typer.Option("--write", help="Put the figures on the cards, too.")] = (
        False
    )
    reports: Annotated[
        Path | None,
        typer.Option(help="Folder for a whole evaluation of each dataset, with report.html."),
    ] = None
    detector: DetectorName = "retinaface"
    detector_model: DetectorModel = None
    device: Device = "auto"


THRESH = 0.02
"""AP needs the whole curve, down to doubtful detections."""

BOTH_STAGES = ("map50", "map75", "map50_95", "ap50", "accuracy", "macro_recall")
DETECTOR_ALONE = ("face_ap50", "face_ap75", "face_recall")
CLASSIFIER_ALONE = ("accuracy", "macro_recall", "recall")

NAMES = {
    "map50": "mAP@0.5",
    "map75": "mAP@0.75",
    "map50_95": "mAP@[.5:.95]",
    "ap50": "AP@0.5",
    "face_ap50": "face AP@0.5",
    "face_ap75": "face AP@0.75",
    "face_recall": "faces found at any score",
    "macro_recall": "macro recall",
}


def predict_photos(predictor: Predictor, data: PreparedData, source: str) -> Predictions:
    """What the nets find on the validation photos of a source."""
    images = tuple(sorted(set(data.valid[source]["image"])))
    photos = show_progress(PhotoSet(data.roots[source], images), len(images), "photos")
    rows = [
        row
        for frame, faces in predictor.predict(photos)
        for row in list_rows(frame.name, faces, frame.orientation)
    ]
    return make_predictions(tabulate_predictions(rows), Path("predictions"))


def classify_faces(classifier: Classifier, faces: pd.DataFrame, folder: Path) -> Predictions:
    """What a classifier tells of annotated faces of a folder, as if a detector had found them."""
    probabilities = classifier.classify([read_photo(folder / one).pixels for one in faces["crop"]])
    photos, boxes = faces["source"] + "/" + faces["image"], faces[[*Box._fields]].to_numpy()
    rows = []
    for photo, box, shares in zip(photos, boxes, probabilities.tolist(), strict=True):
        best = max(shares)
        label = CLASSES[shares.index(best)]
        rows.append(PredictionRow(photo, Box(*box), label, best, 1.0, tuple(shares)))
    return make_predictions(tabulate_predictions(rows), Path("crops"))


def measure_source(
    prepared: Path,
    source: str,
    found: Predictions,
    crops: Predictions,
    *,
    split: str | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """The figures of one source of a prepared folder, on one split or all.

    `found` are predictions on its photos, from a detection score of `THRESH` on, `crops` what the
    classifier tells of the annotated boxes. The folder `report` gets a whole evaluation, as
    `python -m evaluate` writes it.

    Returns:
        `photos`, `faces`, and under `both_stages`, `detector_alone` and `classifier_alone` figures
        as [value, low, high] with 95 % bootstrap intervals by photo.
    """
    truth = read_ground_truth(prepared / "faces.csv", split=split, source=source)
    files = find_photos(truth.photos, prepared)
    both, alone = (
        describe_headline(Case(truth, place_predictions(one, truth, files).detections))
        for one in (found, crops)
    )
    if report is not None:
        options = EvaluateOptions(split=split, source=source)
        evaluation = evaluate(prepared, found, options, crops=crops)
        evaluation.metrics["inputs"] = {
            "ground_truth": str(prepared),
            "split": split,
            "source": source,
            "predictions": f"both stages, detections from {THRESH}",
        }
        evaluation.save(report)
    return {
        "photos": len(truth.photos),
        "faces": len(truth.labels),
        "both_stages": _pick(both, BOTH_STAGES),
        "detector_alone": _pick(both, DETECTOR_ALONE),
        "classifier_alone": _pick(alone, CLASSIFIER_ALONE),
    }


def _pick(record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: {key: pick_figure(record, name, key) for key in record[name]}
        if isinstance(record[name], dict)
        else pick_figure(record, name)
        for name in names
    }


def measure_weights(options: MeasureOptions) -> dict[str, Any]:
    """Run both stages over the validation photos of each source, and the classifier on its crops.

    Gives the figures of each source, see `measure_source`, the split and the hash of the faces.

    Raises:
        WeightsError: Weights or cards can't be used, or figures of another detector are to go on
            the cards.
        UserError: Something else can't be read or written.
    """
    other = choose_detector(options.detector, options.detector_model)
    if options.write and other is not None:
        raise WeightsError("--write is for the nets of the cards, not for another detector.")
    data, device = PreparedData.open(options.prepared), pick_device(options.device)
    predictor = Predictor.load(options.weights, device=device, detector=other, thresh=THRESH)
    assert predictor.classifier is not None
    learnt_from = predictor.classifier.card.training.get("data", {}).get("faces_sha256")
    known = data.data["faces_sha256"]
    if learnt_from != known:
        log(
            "note: the weights were not trained on this split; they may have learnt from photos "
            "that are measured here."
        )
    results: dict[str, Any] = {"split": VALID, "faces_sha256": known}
    for source, faces in data.valid.items():
        log(f"{source}: {faces['image'].nunique()} photos, {len(faces)} faces")
        found = predict_photos(predictor, data, source)
        crops = classify_faces(predictor.classifier, faces, data.folder)
        report = None if options.reports is None else options.reports / source
        results[source] = measure_source(
            data.folder, source, found, crops, split=VALID, report=report
        )
        if report is not None:
            log(f"{source}: {report / REPORT}")
    return results


def write_to_cards(results: dict[str, Any], weights: Path) -> None:
    """Put the figures on the cards; the weights and their hashes stay as they are."""
    detector = read_card(weights / f"{DETECTOR}.json", DetectorCard)
    classifier = read_card(weights / f"{CLASSIFIER}.json", ClassifierCard)
    detector.results["measured"] = _leave_out(results, {"both_stages", "classifier_alone"})
    classifier.results["measured"] = _leave_out(results, {"detector_alone"})
    write_json(weights / f"{DETECTOR}.json", detector.model_dump(mode="json"))
    write_json(weights / f"{CLASSIFIER}.json", classifier.model_dump(mode="json"))


def _leave_out(results: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {
        key: {k: v for k, v in value.items() if k not in names}
        if isinstance(value, dict)
        else value
        for key, value in results.items()
    }


def describe_results(results: dict[str, Any]) -> str:
    """The figures as a Markdown table, a column per source."""
    sources = {name: figures for name, figures in results.items() if isinstance(figures, dict)}
    heads = [f"{s}: {f['photos']} photos, {f['faces']} faces" for s, f in sources.items()]
    columns: list[dict[str, Any]] = []
    for figures in sources.values():
        cells: dict[str, Any] = {}
        for stage in ("both_stages", "detector_alone", "classifier_alone"):
            for name, value in figures[stage].items():
                title = f"{stage.replace('_', ' ')}: {NAMES.get(name, name)}"
                if isinstance(value, dict):
                    cells |= {f"{title}, {key}": figure for key, figure in value.items()}
                else:
                    cells[title] = value
        columns.append(cells)
    rows = [[title, *(show_figure(one[title]) for one in columns)] for title in columns[0]]
    return markdown_table(["", *heads], rows)


def measure(options: MeasureOptions) -> None:
    """Measure weights on the validation split, with intervals, as a Markdown table."""
    results = measure_weights(options)
    typer.echo(describe_results(results))
    if options.write:
        write_to_cards(results, options.weights)
