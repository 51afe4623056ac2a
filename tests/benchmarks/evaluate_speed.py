"""How fast AP is computed here, next to a loop over boxes and to faster-coco-eval.

`python -m tests.benchmarks.evaluate_speed` makes boxes, computes
their AP in every way within one process, in turn
and several times over, and shows the ratios: those hold on a busy machine too, unlike the seconds.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from faster_coco_eval import COCO, COCOeval_faster
from rich.console import Console
from rich.table import Table

from evaluate.arrays import Detections, FloatArray, GroundTruth
from evaluate.measures.average_precision import Rules, average_precisions, rank_classes
from evaluate.measures.case import IOUS, match_predictions
from evaluate.measures.coco import build_coco_dataset, build_coco_results
from evaluate.measures.headline import compute_headline
from evaluate.measures.matching import MATCH_IOU

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


_PLAIN = f"AP at IoU {MATCH_IOU}, arrays"
_LOOP = f"AP at IoU {MATCH_IOU}, loop over boxes"
_LOOKED_UP = f"AP at IoU {MATCH_IOU}, loop, faces looked up by photo"
_TEN = "AP at 10 IoUs, arrays"
_COCO = "AP at 10 IoUs, faster-coco-eval"
_COCO_DICTS = "making its dictionaries"
_HEADLINE = "all headline numbers, arrays"

_RATIOS = (
    (_LOOP, _PLAIN, "times as fast as the loop over boxes (target: 50 or more)"),
    (_LOOKED_UP, _PLAIN, "times as fast as that loop with faces looked up by photo"),
    (_COCO, _TEN, "times as fast as faster-coco-eval (target: 0.5 or more)"),
)
"""Slower way, faster way, and what their ratio says."""

LOOP_EVERY = 20
"""See `time_all`."""

_TIMES = 5
"""The arrays take so little time that one run of them would be at the mercy of other programs."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Timing:
    """What `time_all` found.

    Attributes:
        seconds: By way of computing, the seconds of each round.
        ap: (C,) of each class at IoU 0.5, from arrays.
        loop_ap: (C,) the same from the loop with faces looked up.
        map50_95: AP over classes and IoUs, from arrays.
        coco_map50_95: The same by COCO's definition, so close to it but not equal.
        peak_bytes: Largest memory taken while computing AP at 10 IoUs from arrays, over that of the
            boxes themselves, as tracemalloc counts it.
    """

    seconds: dict[str, list[float]]
    ap: FloatArray
    loop_ap: FloatArray
    map50_95: float
    coco_map50_95: float
    peak_bytes: int

    def compute_ratios(self, slower: str, faster: str) -> FloatArray:
        """Seconds of one way over those of another, round by round."""
        return np.array(self.seconds[slower]) / np.array(self.seconds[faster])


def time_all(
    truth: GroundTruth, detections: Detections, *, rounds: int = 3, loop_every: int = LOOP_EVERY
) -> Timing:
    """Compute AP in every way, in turn, so that a busy machine slows all of them alike.

    Every way starts from the same arrays and ends with one AP per class and IoU. faster-coco-eval
    looks only at 100 detections and all areas, like the arrays; building its index is timed with
    it, making dictionaries from the arrays apart from it.

    Args:
        truth: Annotated faces.
        detections: Predicted faces, placed on the photos of `truth` and sorted by photo.
        rounds: How often each way is timed, at least 1.
        loop_every: The loop that searches all faces anew for each detection takes minutes, which
            grow with the detections: it goes over every so many-th of them, and the time is
            multiplied.
    """
    seconds: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any], *, times: int = 1, factor: float = 1) -> Any:
        start = time.perf_counter()
        for _ in range(times):
            result = work()
        spent = time.perf_counter() - start
        seconds.setdefault(name, []).append(spent * factor / times)
        return result

    def run_loop(*, search: bool, every: int = 1) -> FloatArray:
        return loop_average_precision(truth, detections, iou=MATCH_IOU, search=search, every=every)

    for _ in range(rounds):
        ap = timed(_PLAIN, lambda: _compute_at(truth, detections, (MATCH_IOU,))[:, 0], times=_TIMES)
        loop_ap = timed(_LOOKED_UP, lambda: run_loop(search=False))
        timed(_LOOP, lambda: run_loop(search=True, every=loop_every), factor=loop_every)
        aps = timed(_TEN, lambda: _compute_at(truth, detections, IOUS), times=_TIMES)
        # Anew each time: the library writes into them.
        made = timed(
            _COCO_DICTS, lambda: (build_coco_dataset(truth), build_coco_results(detections))
        )
        coco_aps = timed(_COCO, partial(_compute_by_coco, *made))
        timed(
            _HEADLINE,
            lambda: compute_headline(
                match_predictions(truth, detections), np.ones((1, len(truth.photos)))
            ),
        )
    tracemalloc.start()
    _compute_at(truth, detections, IOUS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Timing(
        seconds=seconds,
        ap=ap,
        loop_ap=loop_ap,
        map50_95=float(np.nanmean(aps)),
        coco_map50_95=float(coco_aps[coco_aps > -1].mean()),
        peak_bytes=peak,
    )


@app.command()
def main(
    photos: Annotated[int, typer.Option(min=1, help="Number of photos.")] = 5000,
    boxes: Annotated[
        int, typer.Option(min=1, help="Faces per photo, and about as many found.")
    ] = 20,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is timed.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the boxes.")] = 0,
    loop_every: Annotated[
        int,
        typer.Option(
            min=1,
            help="The slow loop goes over every so many-th detection and its time is multiplied; "
            "1 for all of them (minutes).",
        ),
    ] = LOOP_EVERY,
) -> None:
    """Time AP from arrays, by a loop over boxes and by faster-coco-eval on made-up boxes."""
    truth, detections = make_boxes(photos=photos, boxes=boxes, classes=classes, seed=seed)
    timing = time_all(truth, detections, rounds=rounds, loop_every=loop_every)
    console = Console()
    table = Table(
        title=f"{photos} photos, {len(truth.labels)} faces, {len(detections)} detections, "
        f"{classes} classes, {rounds} rounds",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("median s", justify="right")
    table.add_column("min – max s", justify="right")
    for name, values in timing.seconds.items():
        table.add_row(name, f"{np.median(values):.3f}", f"{min(values):.3f} – {max(values):.3f}")
    console.print(table)
    for slower, faster, words in _RATIOS:
        ratios = timing.compute_ratios(slower, faster)
        typer.echo(f"{np.median(ratios):.1f} ({ratios.min():.1f} – {ratios.max():.1f}) {words}")
    if loop_every > 1:
        typer.echo(f"The loop over boxes went over one detection in {loop_every}, times that many.")
    difference = np.nanmax(np.abs(timing.ap - timing.loop_ap), initial=0.0)
    typer.echo(f"{difference:.1e} largest difference of AP between arrays and loop")
    typer.echo(
        f"{timing.map50_95:.4f} mAP over the 10 IoUs as VOC defines it, "
        f"{timing.coco_map50_95:.4f} as COCO does"
    )
    typer.echo(
        f"{timing.peak_bytes / 2**20:.0f} MiB peak memory of AP at 10 IoUs from arrays, beside the "
        "boxes (tracemalloc)"
    )


def _compute_at(truth: GroundTruth, detections: Detections, ious: tuple[float, ...]) -> FloatArray:
    """AP of each class at each IoU, (C, T)."""
    once = np.ones((1, len(truth.photos)))
    ranked = rank_classes(truth, detections, Rules(), ious)
    return np.array([average_precisions(hits, once)[0] for hits in ranked])


def _compute_by_coco(dataset: dict[str, Any], results: list[dict[str, Any]]) -> FloatArray:
    """Precision at 10 IoUs, 101 recalls, of each class, by faster-coco-eval; -1 if not defined."""
    faces = COCO(dataset)
    evaluation = COCOeval_faster(faces, faces.loadRes(results), iouType="bbox")
    every_area = evaluation.params.areaRngLbl.index("all")
    evaluation.params.areaRng = [evaluation.params.areaRng[every_area]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, 0]


if __name__ == "__main__":
    app()
