"""The figures of a system, all on the same validation photos and labels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.labels import BARE, CLASSES, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.base.tables import KEY
from data_prep.grouping.split import VALID
from evaluate.arrays import Detections, FloatArray, GroundTruth
from evaluate.inputs.predictions import Placed, place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.bootstrap import bootstrap_intervals, share
from evaluate.measures.case import Case, Plan, count_confusion
from evaluate.measures.headline import describe_headline
from pipeline.experiments.systems import SystemData, valid_faces
from pipeline.inference.classifier import Classifier
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.sources import PhotoSet
from pipeline.runs.recipe import Incorrect
from pipeline.training.drawn_faces import mask_bare_faces

_BARE, _RARE = CLASSES.index(BARE), CLASSES.index(RARE_CLASS)


def merge_incorrect(truth: GroundTruth, detections: Detections) -> tuple[GroundTruth, Detections]:
    """Masks worn wrongly count as no mask, in the annotations and in what is predicted.

    Args:
        truth: Annotated faces of the three mask classes.
        detections: Predicted faces with class probabilities.

    Returns:
        Both with the third class empty.

    Raises:
        ValueError: There are no class probabilities.
    """
    labels = np.where(truth.labels == _RARE, _BARE, truth.labels)
    shares = _probabilities(detections).copy()
    shares[:, _BARE] += shares[:, _RARE]
    shares[:, _RARE] = 0
    return replace(truth, labels=labels), _relabel(detections, shares)


def leave_out_incorrect(
    truth: GroundTruth, detections: Detections
) -> tuple[GroundTruth, Detections]:
    """Faces with masks worn wrongly are not asked about, as if difficult.

    The probabilities of the other two classes are scaled to add up to 1; where both are 0, each is
    a half.

    Args:
        truth: Annotated faces of the three mask classes.
        detections: Predicted faces with class probabilities.

    Returns:
        Both without an answer of the third class.

    Raises:
        ValueError: There are no class probabilities.
    """
    shares = _probabilities(detections).copy()
    shares[:, _RARE] = 0
    total = shares.sum(axis=1, keepdims=True)
    two = np.arange(len(CLASSES)) != _RARE
    shares = np.where(total > 0, shares / np.where(total > 0, total, 1), 0.5 * two)
    difficult = truth.difficult | (truth.labels == _RARE)
    return replace(truth, difficult=difficult), _relabel(detections, shares)


def _probabilities(detections: Detections) -> FloatArray:
    if detections.probabilities is None:
        raise ValueError("class probabilities are needed to merge classes or leave one out")
    return detections.probabilities


def _relabel(detections: Detections, shares: FloatArray) -> Detections:
    return replace(
        detections,
        labels=shares.argmax(axis=1),
        scores=detections.detection * shares.max(axis=1, initial=0),
        probabilities=shares,
    )


THRESH = 0.02
"""Least detection score for AP, which needs the whole curve."""

SURE = 0.5
"""Detection score at which precision, recall and alarms are counted."""

Figures = dict[str, Any]
"""Names to [value, low, high], the 95 % bootstrap interval by photo; None where not defined."""

Reading = Callable[[GroundTruth, Detections], tuple[GroundTruth, Detections]]

READINGS: Mapping[Incorrect, Reading] = {
    "own": lambda truth, detections: (truth, detections),
    "without_mask": merge_incorrect,
    "exclude": leave_out_incorrect,
}
"""What a system's classes make of annotations and predictions."""


def measure_system(
    nets: Predictor, incorrect: Incorrect, base: SystemData, crops: SystemData, *, seed: int
) -> dict[str, Figures]:
    """Run a system over the validation photos of each source.

    Args:
        nets: The system.
        incorrect: What a mask worn wrongly is to it.
        base: Gives photos and labels.
        crops: The same faces, cut at the scale of its classifier.
        seed: Of the bootstrap.

    Returns:
        For each source `photos` and `faces`; by its own classes `map50`, `map50_95`, `precision`
        and `recall` (of faces found and told right, at a detection score of `SURE`), and on
        annotated boxes `accuracy` and `macro_recall`, with `incorrect_recall`; by two classes that
        every system has, masks worn wrongly left out, `two_map50`, `two_map50_95`,
        `two_accuracy`; as an alarm, for which masks worn wrongly are as good as none, `tnr`,
        `fnr`, `auc`.
    """
    results = {}
    for source in sorted(set(base.faces["source"])):
        truth = read_ground_truth(base.folder / "faces.csv", split=VALID, source=source)
        placed = _predict(nets, base, source, truth)
        figures: Figures = {"photos": len(truth.photos), "faces": len(truth.labels)}
        own = READINGS[incorrect](truth, placed.detections)
        record = _record(placed, *own, seed)
        figures |= {name: _pick(record, name) for name in ("map50", "map50_95")}
        figures |= _precision_recall(*own, seed)
        two = _record(placed, *leave_out_incorrect(truth, placed.detections), seed)
        figures |= {f"two_{name}": _pick(two, name) for name in ("map50", "map50_95")}
        alarm = describe_alarm(Case(truth, placed.detections, Plan(thresh=SURE, seed=seed)))
        figures |= {name: _pick(alarm, name) for name in ("tnr", "fnr", "auc")}
        if nets.classifier is not None:
            figures |= _measure_crops(nets.classifier, incorrect, truth, crops, source, seed)
        results[source] = figures
    return results


def measure_drawn_masks(classifier: Classifier, base: SystemData, *, seed: int) -> Figures:
    """Bare validation faces, and the same with masks drawn on them: never seen, but artificial.

    Returns:
        `faces`, and `accuracy`, `tnr`, `fnr`, `auc` of the classifier alone on both datasets.
    """
    faces = base.faces[base.faces["split"] == VALID].reset_index(drop=True)
    faces, read = mask_bare_faces(
        faces, lambda crop: read_photo(base.folder / crop).pixels, split=VALID, seed=seed
    )
    truth, detections = _as_detections(faces, classifier.classify([read(c) for c in faces["crop"]]))
    placed = Placed(detections, 0, ())
    record = _record(placed, *leave_out_incorrect(truth, detections), seed)
    alarm = describe_alarm(Case(truth, detections, Plan(policy="leave-out", seed=seed)))
    return {
        "faces": len(faces),
        "accuracy": _pick(record, "accuracy"),
        **{name: _pick(alarm, name) for name in ("tnr", "fnr", "auc")},
    }


def measure_own_split(
    classifier: Classifier, incorrect: Incorrect, data: SystemData, *, seed: int
) -> dict[str, Figures]:
    """`accuracy` and `macro_recall` on the crops of a system's own split, leak or not."""
    results = {}
    for source in sorted(set(data.faces["source"])):
        faces = valid_faces(data, source)
        pixels = [read_photo(data.folder / crop).pixels for crop in faces["crop"]]
        truth, detections = _as_detections(faces, classifier.classify(pixels))
        reading = READINGS[incorrect](truth, detections)
        record = _record(Placed(detections, 0, ()), *reading, seed)
        results[source] = {
            "photos": len(truth.photos),
            "faces": len(faces),
            **{name: _pick(record, name) for name in ("accuracy", "macro_recall")},
        }
    return results


def _predict(nets: Predictor, base: SystemData, source: str, truth: GroundTruth) -> Placed:
    images = tuple(sorted(set(valid_faces(base, source)["image"])))
    with tempfile.TemporaryDirectory() as folder:
        photos = PhotoSet(base.roots[source], images)
        predict_folder(photos, Path(folder), replace(nets, thresh=THRESH), draw=False)
        table = read_predictions(Path(folder) / "predictions.csv", probabilities=True)
    files = {f"{source}/{image}": base.roots[source] / image for image in images}
    return place_predictions(table, truth, files)


def _measure_crops(
    classifier: Classifier,
    incorrect: Incorrect,
    truth: GroundTruth,
    crops: SystemData,
    source: str,
    seed: int,
) -> Figures:
    # The labels are the base's: those of the crops' folder may be cleaned ones.
    faces = valid_faces(crops, source).sort_values(list(KEY), ignore_index=True)
    pixels = [read_photo(crops.folder / crop).pixels for crop in faces["crop"]]
    _, detections = _as_detections(faces, classifier.classify(pixels))
    placed = Placed(detections, 0, ())
    record = _record(placed, *READINGS[incorrect](truth, detections), seed)
    two = _record(placed, *leave_out_incorrect(truth, detections), seed)
    told = record["recall"][RARE_CLASS]
    return {
        "accuracy": _pick(record, "accuracy"),
        "macro_recall": _pick(record, "macro_recall"),
        "incorrect_recall": None if told is None else _pick(record, "recall", RARE_CLASS),
        "two_accuracy": _pick(two, "accuracy"),
    }


def _as_detections(
    faces: pd.DataFrame, probabilities: np.ndarray
) -> tuple[GroundTruth, Detections]:
    """Annotated faces, and the same boxes as if a perfect detector had found them."""
    names = (faces["source"] + "/" + faces["image"]).to_numpy()
    photos, photo = np.unique(names, return_inverse=True)
    order = np.argsort(photo, kind="stable")
    boxes = faces[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)[order]
    labels = np.array([CLASSES.index(label) for label in faces["label"]], np.int64)[order]
    shares = probabilities[order].astype(float)
    truth = GroundTruth(
        photos=tuple(photos.tolist()),
        photo=photo[order].astype(np.int64),
        boxes=boxes,
        labels=labels,
        difficult=faces["difficult"].to_numpy(bool)[order],
    )
    ones = np.ones(len(faces))
    detections = Detections(
        photo=truth.photo,
        boxes=boxes,
        labels=shares.argmax(axis=1),
        scores=shares.max(axis=1, initial=0),
        detection=ones,
        probabilities=shares,
    )
    return truth, detections


def _record(
    placed: Placed, truth: GroundTruth, detections: Detections, seed: int
) -> dict[str, Any]:
    return describe_headline(Case(truth, detections, Plan(seed=seed)))


def _precision_recall(truth: GroundTruth, detections: Detections, seed: int) -> Figures:
    sure = np.flatnonzero(detections.detection >= SURE)
    counts = count_confusion(truth, detections.take(sure, detections.photo[sure]))
    right = np.diagonal(counts, axis1=1, axis2=2)[:, :-1].sum(axis=1)
    said, there = counts[:, :, :-1].sum(axis=(1, 2)), counts[:, :-1].sum(axis=(1, 2))

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        hits = weights @ right
        return {"precision": share(hits, weights @ said), "recall": share(hits, weights @ there)}

    values = statistic(np.ones((1, len(counts))))
    ends = bootstrap_intervals(statistic, photos=len(counts), resamples=1000, seed=seed)
    return {name: _round(values[name][0], ends[name]) for name in values}


def _pick(record: Mapping[str, Any], *names: str) -> list[float] | None:
    value, ends = record, record["intervals"]
    for name in names:
        value, ends = value[name], ends[name]
    return _round(value, ends)


def _round(value: Any, ends: Any) -> list[float] | None:
    if value is None or ends is None:
        return None
    numbers = [float(value), *map(float, ends)]
    return None if np.isnan(numbers).any() else [round(number, 4) for number in numbers]
