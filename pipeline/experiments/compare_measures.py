"""The figures of a system, all on the same validation photos and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.labels import BARE, CLASSES, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.grouping.split import VALID
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import place_predictions
from evaluate.inputs.truth import take_faces
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.bootstrap import share
from evaluate.measures.case import Case, Plan, count_confusion
from evaluate.measures.headline import describe_headline
from pipeline.experiments.engine import PreparedData
from pipeline.experiments.measure import THRESH, predict_photos
from pipeline.experiments.tables import Figure, pick_figure
from pipeline.inference.classifier import Classifier
from pipeline.inference.predictor import Predictor
from pipeline.runs.recipe import Incorrect
from pipeline.training.drawn_faces import mask_bare_faces

SURE = 0.5
"""Detection score at which precision, recall and alarms are counted."""

ALARM = ("tnr", "fnr", "auc")

Figures = dict[str, Any]
"""Names to [value, low, high], the 95 % bootstrap interval by photo; None where not defined."""

Sides = tuple[GroundTruth, Detections]

_BARE, _RARE = CLASSES.index(BARE), CLASSES.index(RARE_CLASS)


def merge_incorrect(truth: GroundTruth, detections: Detections) -> tuple[GroundTruth, Detections]:
    """Masks worn wrongly count as no mask, in the annotations and in what is predicted."""
    assert detections.probabilities is not None
    labels = np.where(truth.labels == _RARE, _BARE, truth.labels)
    shares = detections.probabilities.copy()
    shares[:, _BARE] += shares[:, _RARE]
    shares[:, _RARE] = 0
    return replace(truth, labels=labels), _relabel(detections, shares)


def leave_out_incorrect(
    truth: GroundTruth, detections: Detections
) -> tuple[GroundTruth, Detections]:
    """Faces with masks worn wrongly are not asked about, as if difficult.

    The probabilities of the other two classes are scaled to add up to 1; where both are 0, each is
    a half.
    """
    assert detections.probabilities is not None
    shares = detections.probabilities.copy()
    shares[:, _RARE] = 0
    total = shares.sum(axis=1, keepdims=True)
    two = np.arange(len(CLASSES)) != _RARE
    shares = np.where(total > 0, shares / np.where(total > 0, total, 1), 0.5 * two)
    difficult = truth.difficult | (truth.labels == _RARE)
    return replace(truth, difficult=difficult), _relabel(detections, shares)


def _relabel(detections: Detections, shares: np.ndarray) -> Detections:
    return replace(
        detections,
        labels=shares.argmax(axis=1),
        scores=detections.detection * shares.max(axis=1, initial=0),
        probabilities=shares,
    )


READINGS: Mapping[Incorrect, Callable[[GroundTruth, Detections], Sides]] = {
    "own": lambda truth, detections: (truth, detections),
    "without_mask": merge_incorrect,
    "exclude": leave_out_incorrect,
}
"""What a system's classes make of annotations and predictions."""


def measure_system(
    nets: Predictor, incorrect: Incorrect, base: PreparedData, crops: PreparedData, *, seed: int
) -> dict[str, Figures]:
    """Run a system over the validation photos of each source; `base` gives photos and labels.

    `incorrect` is what a mask worn wrongly is to the system, `crops` the same faces cut at the
    scale of its classifier.

    Returns:
        For each source `photos` and `faces`; by its own classes `map50`, `map50_95`, `precision`
        and `recall` (of faces found and told right, at a detection score of `SURE`), and on
        annotated boxes `accuracy` and `macro_recall`, with `incorrect_recall`; by two classes that
        every system has, masks worn wrongly left out, `two_map50`, `two_map50_95`,
        `two_accuracy`; as an alarm, for which masks worn wrongly are as good as none, `tnr`,
        `fnr`, `auc`.
    """
    results = {}
    for source, faces in base.valid.items():
        truth = take_faces(faces)
        found = predict_photos(replace(nets, thresh=THRESH), base, source)
        files = {f"{source}/{image}": base.roots[source] / image for image in faces["image"]}
        detections = place_predictions(found, truth, files).detections
        own = READINGS[incorrect](truth, detections)
        two = leave_out_incorrect(truth, detections)
        alarm = describe_alarm(Case(truth, detections, Plan(thresh=SURE, seed=seed)))
        figures = {
            "photos": len(truth.photos),
            "faces": len(truth.labels),
            **_headline(own, seed, "map50", "map50_95"),
            **_precision_recall(*own, seed),
            **{f"two_{k}": v for k, v in _headline(two, seed, "map50", "map50_95").items()},
            **{name: pick_figure(alarm, name) for name in ALARM},
        }
        if nets.classifier is not None:
            # The labels are the base's: those of the crops' folder may be cleaned ones.
            _, told = _classify(nets.classifier, crops, crops.valid[source])
            own, two = READINGS[incorrect](truth, told), leave_out_incorrect(truth, told)
            record = describe_headline(Case(*own, Plan(seed=seed)))
            figures |= {
                "accuracy": pick_figure(record, "accuracy"),
                "macro_recall": pick_figure(record, "macro_recall"),
                "incorrect_recall": pick_figure(record, "recall", RARE_CLASS),
                "two_accuracy": _headline(two, seed, "accuracy")["accuracy"],
            }
        results[source] = figures
    return results


def measure_drawn_masks(classifier: Classifier, base: PreparedData, *, seed: int) -> Figures:
    """Bare validation faces, and the same with masks drawn on them: never seen, but artificial."""
    faces = base.faces[base.faces["split"] == VALID].reset_index(drop=True)
    faces, read = mask_bare_faces(
        faces, lambda crop: read_photo(base.folder / crop).pixels, split=VALID, seed=seed
    )
    truth, told = _as_sides(faces, classifier.classify([read(crop) for crop in faces["crop"]]))
    alarm = describe_alarm(Case(truth, told, Plan(policy="leave-out", seed=seed)))
    return {
        "faces": len(faces),
        **_headline(leave_out_incorrect(truth, told), seed, "accuracy"),
        **{name: pick_figure(alarm, name) for name in ALARM},
    }


def measure_own_split(
    classifier: Classifier, incorrect: Incorrect, data: PreparedData, *, seed: int
) -> dict[str, Figures]:
    """`accuracy` and `macro_recall` on the crops of a system's own split, leak or not."""
    results = {}
    for source, faces in data.valid.items():
        truth, told = _classify(classifier, data, faces)
        results[source] = {
            "photos": len(truth.photos),
            "faces": len(truth.labels),
            **_headline(READINGS[incorrect](truth, told), seed, "accuracy", "macro_recall"),
        }
    return results


def _headline(sides: Sides, seed: int, *names: str) -> dict[str, Figure | None]:
    record = describe_headline(Case(*sides, Plan(seed=seed)))
    return {name: pick_figure(record, name) for name in names}


def _classify(classifier: Classifier, data: PreparedData, faces: pd.DataFrame) -> Sides:
    pixels = [read_photo(data.folder / crop).pixels for crop in faces["crop"]]
    return _as_sides(faces, classifier.classify(pixels))


def _as_sides(faces: pd.DataFrame, probabilities: np.ndarray) -> Sides:
    """Annotated faces, and the same boxes as if a perfect detector had found them."""
    photos = (faces["source"] + "/" + faces["image"]).to_numpy()
    order = np.argsort(photos, kind="stable")
    truth, shares = take_faces(faces.iloc[order]), probabilities[order].astype(float)
    told = Detections(
        photo=truth.photo,
        boxes=truth.boxes,
        labels=shares.argmax(axis=1),
        scores=shares.max(axis=1, initial=0),
        detection=np.ones(len(faces)),
        probabilities=shares,
    )
    return truth, told


def _precision_recall(truth: GroundTruth, detections: Detections, seed: int) -> Figures:
    sure = np.flatnonzero(detections.detection >= SURE)
    counts = count_confusion(truth, detections.take(sure, detections.photo[sure]))
    right = np.diagonal(counts, axis1=1, axis2=2)[:, :-1].sum(axis=1)
    found, there = counts[:, :, :-1].sum(axis=(1, 2)), counts[:, :-1].sum(axis=(1, 2))

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        hits = weights @ right
        return {"precision": share(hits, weights @ found), "recall": share(hits, weights @ there)}

    values, ends = Case(truth, detections, Plan(seed=seed)).measure(statistic)
    record = values | {"intervals": ends}
    return {name: pick_figure(record, name) for name in values}
