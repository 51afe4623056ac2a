"""All figures of a weights folder on the validation split, as they stand on cards and README."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from data_prep.faces import read_faces
from data_prep.files import write_json
from data_prep.split import VALID
from evaluate.report.page import REPORT
from pipeline.classify_crops import classify_crops
from pipeline.detectors import FaceDetector
from pipeline.folder import FolderOptions, predict_folder
from pipeline.measure_tables import THRESH, Tables, measure_tables, write_report
from pipeline.photos import PhotoSet
from pipeline.predict import TwoStage
from pipeline.runs import identify_data
from pipeline.weights import CLASSIFIER, DETECTOR, ClassifierCard, DetectorCard, read_card

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
    say: Callable[[str], None],
    reports: Path | None = None,
    detector: FaceDetector | None = None,
) -> dict[str, Any]:
    """Run both stages over the validation photos of each source, and the classifier on its crops.

    Args:
        prepared: The folder whose validation split is used; its datasets must still be there.
        weights: Weights folder.
        device: Where to run.
        say: Gets a line per source.
        reports: Folder that gets a whole evaluation of each source, in a folder of its name.
        detector: Finds the faces in place of the folder's.

    Returns:
        The figures of each source, see `measure_tables`.
    """
    data, roots = identify_data(prepared)
    faces = read_faces(prepared)
    faces = faces[faces["split"] == VALID]
    stages = TwoStage.load(weights, device=device, detector=detector)
    options = FolderOptions(thresh=THRESH, draw_from=1.0, draw=False)
    learnt_from = stages.classifier.card.training.get("data", {}).get("faces_sha256")
    if learnt_from != data["faces_sha256"]:
        say(
            "note: the weights were not trained on this split; they may have learnt from photos "
            "that are measured here."
        )
    results: dict[str, Any] = {"split": VALID, "faces_sha256": data["faces_sha256"]}
    for source in sorted(set(faces["source"])):
        rows = faces[faces["source"] == source]
        images = tuple(sorted(set(rows["image"])))
        say(f"{source}: {len(images)} photos, {len(rows)} faces")
        with tempfile.TemporaryDirectory() as folder:
            tables = Tables(Path(folder) / "predictions.csv", Path(folder) / "crops.csv")
            predict_folder(PhotoSet(roots[source], images), Path(folder), stages, options)
            classify_crops(rows, prepared, stages.classifier, tables.crops)
            results[source] = measure_tables(prepared, source, tables, split=VALID)
            if reports is not None:
                write_report(prepared, source, tables, reports / source, split=VALID)
                say(f"{source}: {reports / source / REPORT}")
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
