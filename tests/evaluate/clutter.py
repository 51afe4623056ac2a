"""Random photos in which faces and detections crowd, so that every kind of mix-up happens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth


def make_clutter(
    seed: int,
    *,
    photos: int = 6,
    faces: int = 30,
    found: int = 40,
    room: int = 120,
    classes: tuple[str, ...] = CLASSES,
    difficult: float = 0.15,
) -> tuple[GroundTruth, Detections]:
    """Boxes of whole pixels, half of the detections near a face; scores in eighths, so some tie."""
    rng = np.random.default_rng(seed)
    photo = np.sort(rng.integers(0, photos, faces))
    boxes = _place(rng, faces, room)
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
    all_boxes = np.concatenate([moved, _place(rng, rest, room)])
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


def _place(rng: np.random.Generator, count: int, room: int) -> np.ndarray:
    corner = rng.integers(0, room, (count, 2))
    side = rng.choice([8, 12, 16, 20, 32, 40, 64, 80, 100], (count, 1))
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
