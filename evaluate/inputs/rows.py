"""From boxes as they are read, one by one, to the arrays that are measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.base.boxes import DegenerateBoxError, clip_box
from data_prep.base.labels import Vocabulary
from data_prep.base.photo import Size
from data_prep.base.records import Box
from data_prep.formats.input_files import InputError
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import Predictions

_NO_LIMIT = 2**31
"""Stands for the side of a photo of unknown size."""

_ROUNDING = 1e-6
"""How far above 1 a written score may lie."""

_VISIBLE = 0.1
"""Pixels: relative coordinates of few decimals reach over the border by less than this."""


@dataclass(frozen=True, slots=True)
class BoxRow:
    """One box.

    Attributes:
        where: File and line, or index, for messages.
        photo: Name of the photo.
        label: Index into the classes.
        box: In pixels, with far edges.
        score: From 0 to 1; of predictions only.
        difficult: VOC's flag; of annotations only.
    """

    where: str
    photo: str
    label: int
    box: Box
    score: float = 1.0
    difficult: bool = False


def check_score(score: float, where: str) -> float:
    """The score itself, when it lies between 0 and 1.

    Raises:
        InputError: It lies elsewhere.
    """
    if not 0 <= score <= 1 + _ROUNDING:
        raise InputError(
            f"{where}: score is {score:g}; scores lie between 0 and 1. Divide percentages by 100, "
            "and bring scores without bounds between 0 and 1 in the same order."
        )
    return score


def build_truth(
    photos: Mapping[str, Size | None],
    rows: Sequence[BoxRow],
    vocabulary: Vocabulary,
    warnings: Sequence[str] = (),
    *,
    upright: bool = False,
) -> GroundTruth:
    """Make a ground truth of annotated boxes.

    Boxes are clipped to their photos as those of VOC files are; what
    has a side under one pixel then is left out. Both are counted in warnings.

    Args:
        photos: Every photo, with or without a box, and its size in pixels if it is known.
        rows: The boxes, each on one of `photos`; those of a photo stay in this order.
        vocabulary: The classes there are.
        warnings: What is doubtful already.
        upright: See `GroundTruth`.
    """
    names = tuple(sorted(photos))
    places = {name: place for place, name in enumerate(names)}
    kept: list[BoxRow] = []
    boxes: list[Box] = []
    clipped: list[str] = []
    left_out: list[str] = []
    for row in rows:
        width, height = photos[row.photo] or (_NO_LIMIT, _NO_LIMIT)
        try:
            box, _ = clip_box(row.box, width, height)
        except DegenerateBoxError as error:
            left_out.append(f"{row.where}: {error}")
            continue
        if any(abs(new - old) > _VISIBLE for new, old in zip(box, row.box, strict=True)):
            clipped.append(row.where)
        kept.append(row)
        boxes.append(box)
    messages = list(warnings)
    if clipped:
        messages.append(
            f"{len(clipped)} annotated boxes reach over the border of their photo and are clipped, "
            f"the first: {clipped[0]}"
        )
    if left_out:
        messages.append(
            f"{len(left_out)} annotated boxes can't be used and are left out, the first: "
            f"{left_out[0]}"
        )
    photo = np.array([places[row.photo] for row in kept], dtype=np.int64)
    order = np.argsort(photo, kind="stable")
    return GroundTruth(
        photos=names,
        photo=photo[order],
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4)[order],
        labels=np.array([row.label for row in kept], dtype=np.int64)[order],
        difficult=np.array([row.difficult for row in kept], dtype=np.bool_)[order],
        warnings=tuple(messages),
        classes=vocabulary.classes,
        sizes=np.array(
            [photos[name] or (math.nan, math.nan) for name in names], dtype=np.float64
        ).reshape(-1, 2),
        upright=upright,
    )


def build_predictions(path: Path, photos: Iterable[str], rows: Sequence[BoxRow]) -> Predictions:
    """Make predictions of boxes with one score each.

    The score serves both as the detector's and as that of the class; there are no class
    probabilities.

    Args:
        path: Where they come from.
        photos: Distinct names of the photos, with or without a box.
        rows: The boxes, each on one of `photos`.
    """
    images = tuple(photos)
    places = {name: place for place, name in enumerate(images)}
    scores = np.array([row.score for row in rows], dtype=np.float64)
    detections = Detections(
        photo=np.array([places[row.photo] for row in rows], dtype=np.int64),
        boxes=np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        scores=scores,
        detection=scores,
        probabilities=None,
    )
    return Predictions(path, images, detections)
