"""How fast AP is computed, next to a loop over boxes and to faster-coco-eval.

`python -m tests.benchmarks.evaluate_speed` computes the AP of made-up boxes in every way within one
process, in turn and several times over, and shows the ratios: those hold on a busy machine too,
unlike the seconds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from evaluate.arrays import Detections, FloatArray, GroundTruth
from evaluate.measures.average_precision import Rules, average_precisions, rank_classes
from evaluate.measures.case import IOUS
from evaluate.measures.matching import MATCH_IOU, Overlaps

LOOP_EVERY = 20
"""The loop that searches all faces for each detection takes minutes: it goes over every so many-th
detection, and its time is multiplied."""

ARRAYS, TEN, COCO_EVAL = "AP, arrays", "AP at 10 IoUs, arrays", "AP at 10 IoUs, faster-coco-eval"
LOOP, LOOKED_UP = "AP, loop over boxes", "AP, loop, faces looked up by photo"
RATIOS = (
    (LOOP, ARRAYS, "times as fast as the loop over boxes (target: 50 or more)"),
    (LOOKED_UP, ARRAYS, "times as fast as that loop with faces looked up by photo"),
    (COCO_EVAL, TEN, "times as fast as faster-coco-eval (target: 0.5 or more)"),
)
"""Slower way, faster way, and what their ratio says."""


def make_boxes(
    *, photos: int, boxes: int, classes: int, seed: int
) -> tuple[GroundTruth, Detections]:
    """Faces in photos, and as many detections, most near a face and with its class.

    Six of seven faces are found, with a jitter of a few percent of their side, at high scores;
    false detections, at lower scores, make up for the rest. One face in twenty is difficult.
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
    sides = np.tile(faces[:, 2:] - faces[:, :2], 2)
    jittered = faces + generator.normal(0, 0.06, sides.shape) * sides
    jittered[:, 2:] = np.maximum(jittered[:, 2:], jittered[:, :2] + 1)
    guessed = np.where(generator.random(count) < 9 / 10, labels, labels[::-1])
    scores = np.where(found, generator.beta(5, 2, count), generator.beta(2, 4, count))
    boxes_found = np.where(found[:, None], jittered, _place(generator, count))
    return truth, Detections(photo, boxes_found, guessed, scores, scores, None)


def _place(generator: np.random.Generator, count: int) -> FloatArray:
    """Boxes (count, 4) of sides from about 10 to about 100 pixels."""
    corners = generator.uniform(0, 900, (count, 2))
    sides = generator.lognormal(3.5, 0.6, (count, 1)) * generator.uniform(0.8, 1.2, (count, 2))
    return np.hstack([corners, corners + sides])


def loop_average_precision(
    truth: GroundTruth, detections: Detections, label: int, *, search: bool = False, every: int = 1
) -> float:
    """AP of a class as plain Python computes it, box by box; NaN without a face.

    With `search` it goes through all faces of the class to find those of a photo, once for each
    detection, as evaluators in plain Python do. Only every so many-th detection is taken.
    """
    own = np.flatnonzero(truth.labels == label)
    columns = (truth.photo[own], truth.boxes[own], truth.difficult[own])
    faces = list(enumerate(zip(*(column.tolist() for column in columns), strict=True)))
    by_photo = defaultdict(list)
    for face in faces:
        by_photo[face[1][0]].append(face)
    to_find = sum(not difficult for _, (_, _, difficult) in faces)
    if not to_find:
        return math.nan
    rows = np.flatnonzero(detections.labels == label)
    rows = rows[np.argsort(-detections.scores[rows], kind="stable")][::every]
    taken: set[int] = set()
    precisions, true = [], 0
    for photo, box in zip(
        detections.photo[rows].tolist(), detections.boxes[rows].tolist(), strict=True
    ):
        best, hit, ignored = 0.0, -1, False
        near = [face for face in faces if face[1][0] == photo] if search else by_photo[photo]
        for number, (_, other, difficult) in near:
            overlap = _overlap(box, other)
            if overlap > best:
                best, hit, ignored = overlap, number, difficult
        if best >= MATCH_IOU and ignored:
            continue
        right = best >= MATCH_IOU and hit not in taken
        taken.add(hit if right else -1)
        true += right
        precisions.append((right, true / (1 + len(precisions))))
    area, highest = 0.0, 0.0
    for right, precision in reversed(precisions):
        highest = max(highest, precision)
        area += highest * right / to_find
    return area


def _overlap(first: list[float], second: list[float]) -> float:
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def compute_at(truth: GroundTruth, detections: Detections, *ious: float) -> FloatArray:
    """AP of each class at each IoU from arrays, (C, T)."""
    once = np.ones((1, len(truth.photos)))
    ranked = rank_classes(Overlaps.find(truth, detections), Rules(), ious)
    return np.array([aps[0] for aps in average_precisions(ranked, once)])


def build_coco_dataset(truth: GroundTruth) -> dict[str, Any]:
    """Annotated faces as COCO's dictionary.

    Photos, faces and classes are numbered from 1 in the order of `truth`: the library takes a face
    numbered 0 for none.
    """
    boxes = _as_xywh(truth.boxes)
    return {
        "images": [{"id": index + 1, "file_name": name} for index, name in enumerate(truth.photos)],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(truth.classes)],
        "annotations": _as_dicts(
            id=np.arange(1, len(boxes) + 1),
            image_id=truth.photo + 1,
            category_id=truth.labels + 1,
            bbox=boxes,
            area=boxes[:, 2:].prod(axis=1),
            iscrowd=truth.difficult.astype(int),
        ),
    }


def build_coco_results(detections: Detections) -> list[dict[str, Any]]:
    """Predicted faces as COCO's list of results, numbered as in `build_coco_dataset`."""
    return _as_dicts(
        image_id=detections.photo + 1,
        category_id=detections.labels + 1,
        bbox=_as_xywh(detections.boxes),
        score=detections.scores,
    )


def _as_xywh(boxes: FloatArray) -> FloatArray:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def _as_dicts(**columns: NDArray[Any]) -> list[dict[str, Any]]:
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def compute_by_coco(dataset: dict[str, Any], results: list[dict[str, Any]]) -> FloatArray:
    """Precision at 10 IoUs, 101 recalls, of each class, by faster-coco-eval; -1 if not defined."""
    faces = COCO(dataset)
    evaluation = COCOeval_faster(faces, faces.loadRes(results), iouType="bbox")
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, 0]


@dataclass(frozen=True)
class Timing:
    """Seconds of each round by way of computing, and the last result of each."""

    seconds: dict[str, list[float]]
    results: dict[str, Any]


def time_all(truth: GroundTruth, detections: Detections, *, rounds: int) -> Timing:
    """Compute AP in every way, in turn, so that a busy machine slows all of them alike."""

    def loop(**options: Any) -> list[float]:
        classes = range(len(truth.classes))
        return [loop_average_precision(truth, detections, label, **options) for label in classes]

    timing = Timing(defaultdict(list), {})
    for _ in range(rounds):
        # Anew each time: the library writes into them. Making them is not timed.
        made = build_coco_dataset(truth), build_coco_results(detections)
        ways: dict[str, Callable[[], Any]] = {
            ARRAYS: lambda: compute_at(truth, detections, MATCH_IOU)[:, 0],
            LOOKED_UP: loop,
            LOOP: lambda: loop(search=True, every=LOOP_EVERY),
            TEN: lambda: compute_at(truth, detections, *IOUS),
            COCO_EVAL: lambda made=made: compute_by_coco(*made),
        }
        for name, work in ways.items():
            start = time.perf_counter()
            timing.results[name] = work()
            spent = time.perf_counter() - start
            timing.seconds[name].append(spent * (LOOP_EVERY if name == LOOP else 1))
    return timing


def main(arguments: list[str] | None = None) -> None:
    """Time AP in every way on made-up boxes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name, value in {"photos": 5000, "boxes": 20, "classes": 3, "rounds": 3, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = vars(parser.parse_args(arguments))
    rounds = options.pop("rounds")
    timing = time_all(*make_boxes(**options), rounds=rounds)
    for name, values in timing.seconds.items():
        print(f"{np.median(values):8.3f} s  {name}")  # noqa: T201
    for slower, faster, words in RATIOS:
        ratios = np.array(timing.seconds[slower]) / np.array(timing.seconds[faster])
        print(f"{np.median(ratios):.1f} ({ratios.min():.1f} – {ratios.max():.1f}) {words}")  # noqa: T201


if __name__ == "__main__":
    main()
