"""Made-up faces and detections, and short ways to measure them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.average_precision import RankedHits, Rules, average_precisions
from evaluate.measures.bootstrap import Statistic
from evaluate.measures.case import Case
from evaluate.measures.matching import BoxGroups, best_overlaps
from evaluate.options import EvaluateOptions

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


def make_clutter(
    seed: int,
    *,
    photos: int = 6,
    faces: int = 30,
    found: int = 40,
    room: int = 120,
    classes: tuple[str, ...] = CLASSES,
    sizes: tuple[int, ...] = (8, 12, 16, 20, 32, 40, 64, 80, 100),
    difficult: float = 0.15,
) -> tuple[GroundTruth, Detections]:
    """Boxes of whole pixels, half of the detections near a face; scores in eighths, so some tie."""
    rng = np.random.default_rng(seed)
    photo = np.sort(rng.integers(0, photos, faces))
    boxes = _place(rng, faces, room, sizes)
    labels = rng.integers(0, len(classes), faces)
    truth = GroundTruth(
        photos=tuple(f"{number}.jpg" for number in range(photos)),
        photo=photo,
        boxes=boxes,
        labels=labels,
        difficult=rng.random(faces) < difficult,
        classes=classes,
    )
    near = rng.integers(0, faces, found // 2 if faces else 0)
    moved = boxes[near] + rng.integers(-6, 7, (len(near), 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    rest = found - len(near)
    all_photo = np.r_[photo[near], rng.integers(0, photos, rest)]
    all_boxes = np.concatenate([moved, _place(rng, rest, room, sizes)])
    guesses = rng.integers(0, len(classes), found)
    guesses[: len(near)] = np.where(rng.random(len(near)) < 0.7, labels[near], guesses[: len(near)])
    order = np.argsort(all_photo, kind="stable")
    scores, detection = rng.integers(0, 9, (2, found)) / 8
    return truth, Detections(
        photo=all_photo[order],
        boxes=all_boxes[order],
        labels=guesses[order],
        scores=scores,
        detection=detection,
        probabilities=None,
    )


def _place(rng: np.random.Generator, count: int, room: int, sizes: tuple[int, ...]) -> np.ndarray:
    corner = rng.integers(0, room, (count, 2))
    side = rng.choice(sizes, (count, 1))
    return np.concatenate([corner, corner + side + rng.integers(0, 5, (count, 2))], axis=1) * 1.0


class Seen(NamedTuple):
    photo: int
    label: int
    box: tuple[float, float, float, float]
    score: float = 1.0
    difficult: bool = False


def as_truth(
    rows: list[Seen], *, photos: int = 1, classes: tuple[str, ...] = CLASSES
) -> GroundTruth:
    """Faces by hand; the scores do not matter."""
    return GroundTruth(
        photos=tuple(f"{number}.jpg" for number in range(photos)),
        photo=np.array([row.photo for row in rows], dtype=np.int64),
        boxes=np.array([row.box for row in rows], dtype=float).reshape(-1, 4),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        difficult=np.array([row.difficult for row in rows], dtype=bool),
        classes=classes,
    )


def as_detections(rows: list[Seen]) -> Detections:
    """Detections by hand, sorted by photo; both scores are the same."""
    scores = np.array([row.score for row in rows], dtype=float)
    return Detections(
        photo=np.array([row.photo for row in rows], dtype=np.int64),
        boxes=np.array([row.box for row in rows], dtype=float).reshape(-1, 4),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        scores=scores,
        detection=scores,
        probabilities=None,
    )


def make_case(
    truth: GroundTruth,
    detections: Detections,
    *,
    crops: Detections | None = None,
    other: Detections | None = None,
    resamples: int = 0,
    **options: Any,
) -> Case:
    """A case without resamples; further options are those of `EvaluateOptions`."""
    how = EvaluateOptions(bootstrap=resamples, **options)
    return Case(truth, detections, how, crops, other)


def collect_statistics(measure: Callable[[Case], Any], case: Case) -> list[Statistic]:
    """What a measure computes from weights of the photos."""
    seen: list[Statistic] = []
    whole = Case.measure

    def record(self: Case, statistic: Statistic, *axes: Any, **options: Any) -> Any:
        seen.append(statistic)
        return whole(self, statistic, *axes, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "measure", record)
        measure(case)
    return seen


def find_average_precision(
    truths: BoxGroups,
    detections: BoxGroups,
    scores: np.ndarray,
    *,
    difficult: np.ndarray | None = None,
    iou: float = 0.5,
    inclusive: bool = False,
    eleven_point: bool = False,
) -> float:
    """AP of one class at one IoU threshold; NaN without ground truth."""
    photos = 1 + max(int(groups.max(initial=-1)) for groups in (truths.photo, detections.photo))
    if difficult is None:
        difficult = np.zeros(len(truths.photo), dtype=bool)
    widen = Rules(inclusive).widen
    best = [column[:, 0] for column in best_overlaps(widen(detections), widen(truths))]
    asked = np.bincount(truths.photo[~difficult], minlength=photos)
    hits = RankedHits.match(best, detections.photo, scores, difficult, asked, [iou])
    hits = replace(hits, eleven_point=eleven_point)
    return average_precisions([hits], np.ones((1, photos)))[0].item()
