"""What `evaluate.speed` measures on and against: made-up boxes, and AP by a loop over boxes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from evaluate.records import Detections, FloatArray, GroundTruth

PHOTO_SIDE = 900
"""Side of the made-up photos in pixels."""


class _Face(NamedTuple):
    number: int
    photo: int
    box: list[float]
    difficult: bool


def make_boxes(
    *, photos: int, boxes: int, classes: int, seed: int
) -> tuple[GroundTruth, Detections]:
    """Faces in photos, and detections of which most are near a face and some on none.

    Six of seven faces are found, with a jitter of a few percent of their side and nine times in ten
    with their class, at high scores; false detections, at lower scores, make up for the rest, so
    that there are as many detections as faces. One face in twenty is difficult.

    Args:
        photos: Number of photos.
        boxes: Faces in every photo.
        classes: Number of classes, equally frequent.
        seed: The same seed makes the same boxes.
    """
    generator = np.random.default_rng(seed)
    count = photos * boxes
    photo = np.repeat(np.arange(photos), boxes)
    faces = _place(generator, count)
    labels = generator.integers(0, classes, count)
    truth = GroundTruth(
        photos=tuple(f"{number:07}.jpg" for number in range(photos)),
        photo=photo,
        boxes=faces,
        labels=labels,
        difficult=generator.random(count) < 1 / 20,
        classes=tuple(f"class{number}" for number in range(classes)),
    )
    found = generator.random(count) < 6 / 7
    sides = np.tile(faces[found, 2:] - faces[found, :2], 2)
    jittered = faces[found] + generator.normal(0, 0.06, sides.shape) * sides
    jittered[:, 2:] = np.maximum(jittered[:, 2:], jittered[:, :2] + 1)
    false = int(count - found.sum())
    guessed = np.where(
        generator.random(found.sum()) < 9 / 10,
        labels[found],
        generator.integers(0, classes, found.sum()),
    )
    all_photos = np.r_[photo[found], generator.integers(0, photos, false)]
    all_boxes = np.vstack([jittered, _place(generator, false)])
    all_labels = np.r_[guessed, generator.integers(0, classes, false)]
    scores = np.r_[generator.beta(5, 2, found.sum()), generator.beta(2, 4, false)]
    order = np.argsort(all_photos, kind="stable")
    return truth, Detections(
        photo=all_photos[order],
        boxes=all_boxes[order],
        labels=all_labels[order],
        scores=scores[order],
        detection=scores[order],
        probabilities=None,
    )


def loop_average_precision(
    truth: GroundTruth, detections: Detections, *, iou: float, search: bool = False, every: int = 1
) -> FloatArray:
    """AP of each class as plain Python computes it, box by box; (C,), NaN without a face.

    The numbers are those of `evaluate.measures.average_precision.voc_average_precision`.

    Args:
        truth: Annotated faces.
        detections: Predicted faces.
        iou: Smallest IoU of a hit.
        search: Go through all faces of a class to find those of a photo, once for each detection,
            as evaluators in plain Python do; otherwise the faces of a photo are looked up.
        every: Take only every so many-th detection by rank, for timing; AP is then that of those.
    """
    return np.array(
        [
            _loop_one_class(truth, detections, label, iou, search, every)
            for label in range(len(truth.classes))
        ]
    )


def _place(generator: np.random.Generator, count: int) -> FloatArray:
    """Boxes (count, 4) of sides from about 10 to about 100 pixels."""
    corners = generator.uniform(0, PHOTO_SIDE, (count, 2))
    sides = generator.lognormal(3.5, 0.6, (count, 1)) * generator.uniform(0.8, 1.2, (count, 2))
    return np.hstack([corners, corners + sides])


def _loop_one_class(
    truth: GroundTruth, detections: Detections, label: int, iou: float, search: bool, every: int
) -> float:
    faces = _list_faces(truth, label)
    to_find = sum(not face.difficult for face in faces)
    if not to_find:
        return math.nan
    by_photo: dict[int, list[_Face]] = {}
    for face in faces:
        by_photo.setdefault(face.photo, []).append(face)
    rows = np.flatnonzero(detections.labels == label).tolist()
    scores, photos = detections.scores.tolist(), detections.photo.tolist()
    boxes = detections.boxes.tolist()
    rows.sort(key=lambda row: -scores[row])
    taken: set[int] = set()
    precisions, recalls = [], []
    true = false = 0
    for row in rows[::every]:
        photo = photos[row]
        best, hit = 0.0, None
        for face in (
            [face for face in faces if face.photo == photo] if search else by_photo.get(photo, [])
        ):
            overlap = _overlap(boxes[row], face.box)
            if overlap > best:
                best, hit = overlap, face
        if hit and best >= iou and hit.difficult:
            continue
        if hit and best >= iou and hit.number not in taken:
            taken.add(hit.number)
            true += 1
        else:
            false += 1
        precisions.append(true / (true + false))
        recalls.append(true / to_find)
    for rank in range(len(precisions) - 2, -1, -1):
        precisions[rank] = max(precisions[rank], precisions[rank + 1])
    area, before = 0.0, 0.0
    for precision, recall in zip(precisions, recalls, strict=True):
        area += (recall - before) * precision
        before = recall
    return area


def _list_faces(truth: GroundTruth, label: int) -> list[_Face]:
    columns = (truth.photo, truth.boxes, truth.difficult, truth.labels)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        _Face(number, photo, box, difficult)
        for number, (photo, box, difficult, own) in enumerate(rows)
        if own == label
    ]


def _overlap(first: list[float], second: list[float]) -> float:
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    shared = width * height
    first_area = (first[2] - first[0]) * (first[3] - first[1])
    second_area = (second[2] - second[0]) * (second[3] - second[1])
    union = first_area + second_area - shared
    return shared / union if union > 0 else 0.0
