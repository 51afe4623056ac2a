"""All figures of a weights folder on the validation split, as they stand on cards and README."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from data_prep.base.files import write_json
from data_prep.base.progress import log
from data_prep.base.tables import read_faces
from data_prep.grouping.split import VALID
from evaluate.arrays import GroundTruth
from evaluate.evaluation import EvaluateOptions, evaluate
from evaluate.inputs.photos import find_photos
from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.measures.case import Case
from evaluate.measures.headline import Record, describe_headline
from evaluate.report.outputs import REPORT
from pipeline.inference.boxes import FaceDetector
from pipeline.inference.classifier import classify_crops
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
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
from pipeline.nets.options import SHIPPED, DetectorModel, DetectorName, Device, Weights
from pipeline.runs.folder import identify_data
from pipeline.runs.options import Prepared


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


@dataclass(frozen=True)
class Tables:
    """What is measured.

    Attributes:
        predictions: Table of `run.py`, from a detection score of `THRESH` on.
        crops: Table of `pipeline classify`: the annotated boxes.
    """

    predictions: Path
    crops: Path


def measure_tables(
    prepared: Path, source: str, tables: Tables, *, split: str | None = None
) -> dict[str, Any]:
    """The figures of one source.

    Args:
        prepared: Its `faces.csv` holds the annotated faces.
        source: The dataset.
        tables: Predictions on its photos.
        split: Only faces of this split; all when None.

    Returns:
        `photos`, `faces`, and under `both_stages`, `detector_alone` and `classifier_alone` figures
        as [value, low, high] with 95 % bootstrap intervals by photo.
    """
    truth = read_ground_truth(prepared / "faces.csv", split=split, source=source)
    files = find_photos(truth.photos, prepared)
    found = _evaluate(truth, tables.predictions, files)
    on_crops = _evaluate(truth, tables.crops, files)
    return {
        "photos": len(truth.photos),
        "faces": len(truth.labels),
        "both_stages": _pick(found, BOTH_STAGES),
        "detector_alone": _pick(found, DETECTOR_ALONE),
        "classifier_alone": _pick(on_crops, CLASSIFIER_ALONE),
    }


def write_report(
    prepared: Path, source: str, tables: Tables, out: Path, *, split: str | None = None
) -> None:
    """A whole evaluation of one source, as `python -m evaluate` writes it.

    Args:
        prepared: As of `measure_tables`, and so on.
        source: The dataset.
        tables: Predictions on its photos.
        out: Gets the report.
        split: Only faces of this split; all when None.

    Raises:
        OutputError: A file can't be written.
    """
    options = EvaluateOptions(split=split, source=source)
    evaluation = evaluate(prepared, tables.predictions, options, crops=tables.crops)
    evaluation.metrics["inputs"] = {
        "ground_truth": str(prepared),
        "split": split,
        "source": source,
        "predictions": f"both stages, detections from {THRESH}",
    }
    evaluation.save(out)


def _evaluate(truth: GroundTruth, table: Path, files: Mapping[str, Path]) -> Record:
    placed = place_predictions(read_predictions(table), truth, files)
    return describe_headline(Case(truth, placed.detections))


def _pick(record: Record, names: tuple[str, ...]) -> dict[str, Any]:
    """Values with their intervals, rounded to what they can tell."""
    picked: dict[str, Any] = {}
    for name in names:
        value, ends = record[name], record["intervals"][name]
        if isinstance(value, dict):
            picked[name] = {key: _round(value[key], ends[key]) for key in value}
        else:
            picked[name] = _round(value, ends)
    return picked


def _round(value: float | None, ends: list[float] | None) -> list[float] | None:
    return None if value is None or ends is None else [round(x, 4) for x in (value, *ends)]


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


def measure_weights(
    prepared: Path,
    weights: Path,
    *,
    device: torch.device,
    log: Callable[[str], None],
    reports: Path | None = None,
    detector: FaceDetector | None = None,
) -> dict[str, Any]:
    """Run both stages over the validation photos of each source, and the classifier on its crops.

    Args:
        prepared: The folder whose validation split is used; its datasets must still be there.
        weights: Weights folder.
        device: Where to run.
        log: Gets a line per source.
        reports: Folder that gets a whole evaluation of each source, in a folder of its name.
        detector: Finds the faces in place of the folder's.

    Returns:
        The figures of each source, see `measure_tables`.
    """
    data, roots = identify_data(prepared)
    faces = read_faces(prepared)
    faces = faces[faces["split"] == VALID]
    predictor = Predictor.load(weights, device=device, detector=detector, thresh=THRESH)
    assert predictor.classifier is not None
    learnt_from = predictor.classifier.card.training.get("data", {}).get("faces_sha256")
    if learnt_from != data["faces_sha256"]:
        log(
            "note: the weights were not trained on this split; they may have learnt from photos "
            "that are measured here."
        )
    results: dict[str, Any] = {"split": VALID, "faces_sha256": data["faces_sha256"]}
    for source in sorted(set(faces["source"])):
        rows = faces[faces["source"] == source]
        images = tuple(sorted(set(rows["image"])))
        log(f"{source}: {len(images)} photos, {len(rows)} faces")
        with tempfile.TemporaryDirectory() as folder:
            tables = Tables(Path(folder) / "predictions.csv", Path(folder) / "crops.csv")
            predict_folder(PhotoSet(roots[source], images), Path(folder), predictor, draw=False)
            classify_crops(rows, prepared, predictor.classifier, tables.crops)
            results[source] = measure_tables(prepared, source, tables, split=VALID)
            if reports is not None:
                write_report(prepared, source, tables, reports / source, split=VALID)
                log(f"{source}: {reports / source / REPORT}")
    return results


def write_to_cards(results: dict[str, Any], weights: Path) -> None:
    """Put the figures on the cards; the weights and their hashes stay as they are.

    Raises:
        WeightsError: A card can't be read.
        OutputError: A card can't be written.
    """
    detector = read_card(weights / f"{DETECTOR}.json", DetectorCard)
    classifier = read_card(weights / f"{CLASSIFIER}.json", ClassifierCard)
    detector.results["measured"] = _leave_out(results, {"both_stages", "classifier_alone"})
    classifier.results["measured"] = _leave_out(results, {"detector_alone"})
    write_json(weights / f"{DETECTOR}.json", detector.model_dump(mode="json"))
    write_json(weights / f"{CLASSIFIER}.json", classifier.model_dump(mode="json"))


def describe_results(results: dict[str, Any]) -> str:
    """The figures as a Markdown table, a column per source."""
    sources = {name: figures for name, figures in results.items() if isinstance(figures, dict)}
    heads = [f"{s}: {f['photos']} photos, {f['faces']} faces" for s, f in sources.items()]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for stage in ("both_stages", "detector_alone", "classifier_alone"):
        for name, title in _titles(next(iter(sources.values()))[stage]):
            cells = [_show(_look_up(figures[stage], name)) for figures in sources.values()]
            lines.append(f"| {stage.replace('_', ' ')}: {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _titles(figures: dict[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """Paths into nested figures, with their names for people."""
    paths: list[tuple[tuple[str, ...], str]] = []
    for name, value in figures.items():
        title = NAMES.get(name, name)
        if isinstance(value, dict):
            paths += [((name, key), f"{title}, {key}") for key in value]
        else:
            paths.append(((name,), title))
    return paths


def _look_up(figures: dict[str, Any], path: tuple[str, ...]) -> list[float] | None:
    value: Any = figures
    for key in path:
        value = value[key]
    return value


def _show(value: list[float] | None) -> str:
    return "–" if value is None else f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"


def _leave_out(results: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {
        key: {k: v for k, v in value.items() if k not in names}
        if isinstance(value, dict)
        else value
        for key, value in results.items()
    }


def measure(options: MeasureOptions) -> None:
    """Measure weights on the validation split, with intervals, as a Markdown table."""
    other = choose_detector(options.detector, options.detector_model)
    if options.write and other is not None:
        raise WeightsError("--write is for the nets of the cards, not for another detector.")
    results = measure_weights(
        options.prepared,
        options.weights,
        device=pick_device(options.device),
        log=log,
        reports=options.reports,
        detector=other,
    )
    typer.echo(describe_results(results))
    if options.write:
        write_to_cards(results, options.weights)
