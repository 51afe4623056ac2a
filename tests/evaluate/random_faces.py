"""Random photos whose right pairing is known: no two faces of a photo come near each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth

STEP, SIDE = 100.0, 40.0


@dataclass(frozen=True)
class Scene:
    """Faces, what was found, and for each face the row that found it, or -1."""

    truth: GroundTruth
    detections: Detections
    crops: Detections
    row_of: np.ndarray


def make_scene(seed: int, *, photos: int = 15, classes: tuple[str, ...] = CLASSES) -> Scene:
    """Up to five faces a photo, most of them found, and some detections on no face."""
    rng = np.random.default_rng(seed)
    photo = np.repeat(np.arange(photos), rng.integers(0, 6, photos))
    faces = len(photo)
    slot = np.arange(faces) - np.searchsorted(photo, photo)
    corner = np.stack([slot * STEP, np.zeros(faces)], axis=1)
    boxes = np.concatenate([corner, corner + SIDE], axis=1)
    labels = rng.integers(0, len(classes), faces)
    truth = GroundTruth(
        photos=tuple(f"{number:03}.jpg" for number in range(photos)),
        photo=photo,
        boxes=boxes,
        labels=labels,
        difficult=rng.random(faces) < 0.1,
        classes=classes,
    )
    found = np.flatnonzero(rng.random(faces) < 0.8)
    false = rng.integers(0, photos, photos // 2)
    far = np.array([0, 5 * STEP, SIDE, 5 * STEP + SIDE])
    all_photo = np.r_[photo[found], false]
    all_boxes = np.r_[
        boxes[found] + rng.uniform(-2, 2, (len(found), 4)), np.tile(far, (len(false), 1))
    ]
    order = np.argsort(all_photo, kind="stable")
    row_of = np.full(faces, -1)
    rows = np.argsort(order)
    row_of[found] = rows[: len(found)]
    likely = np.r_[labels[found], rng.integers(0, len(classes), len(false))]
    detection = rng.uniform(0.3, 1, len(all_photo))
    size = len(classes)
    detections = answer(rng, all_photo, all_boxes, likely, detection, classes=size)
    crops = answer(rng, photo, boxes, labels, np.ones(faces), classes=size)
    return Scene(truth, detections.take(order, all_photo[order]), crops, row_of)


def answer(
    rng: np.random.Generator,
    photo: np.ndarray,
    boxes: np.ndarray,
    likely: np.ndarray,
    detection: np.ndarray,
    *,
    classes: int,
) -> Detections:
    """Detections with probabilities that favour the likely class and, being coarse, often tie."""
    logits = rng.normal(size=(len(photo), classes))
    logits[np.arange(len(photo)), likely] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = (probabilities * 20).round() / 20
    # What rounding took or gave goes to the likeliest class.
    best = probabilities.argmax(axis=1)
    probabilities[np.arange(len(photo)), best] += 1 - probabilities.sum(axis=1)
    labels = probabilities.argmax(axis=1)
    scores = detection * probabilities.max(axis=1)
    return Detections(photo, boxes, labels, scores, detection, probabilities.round(2))


def without_probabilities(detections: Detections) -> Detections:
    return replace(detections, probabilities=None)


def repeat_photos(scene: Scene, times: np.ndarray) -> Scene:
    """Every photo, and all on it, as many times as given; those of 0 times stay without faces."""
    copies = np.repeat(np.arange(len(times)), np.maximum(times, 1))
    filled = np.repeat(times > 0, np.maximum(times, 1))

    def rows_on(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            np.flatnonzero(photo == old) if full else []
            for old, full in zip(copies, filled, strict=True)
        ]
        new = np.repeat(np.arange(len(copies)), [len(part) for part in parts])
        return np.concatenate(parts).astype(np.int64), new

    faces, photo = rows_on(scene.truth.photo)
    truth = replace(
        scene.truth,
        photos=tuple(f"{number:04}.jpg" for number in range(len(copies))),
        photo=photo,
        boxes=scene.truth.boxes[faces],
        labels=scene.truth.labels[faces],
        difficult=scene.truth.difficult[faces],
    )
    return Scene(
        truth,
        scene.detections.take(*rows_on(scene.detections.photo)),
        scene.crops.take(*rows_on(scene.crops.photo)),
        np.empty(0),
    )
