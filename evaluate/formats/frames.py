"""Predictions on photos turned upright by EXIF, brought to the pixels that annotations refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.photo import PhotoError, PhotoFrame, Size, read_frame
from data_prep.records import Box
from data_prep.turns import SWAPS_SIDES, UPRIGHT, turn_box_back
from evaluate.records import Detections, GroundTruth, IntArray


def turn_detections_back(
    rows: Detections, orientation: IntArray, truth: GroundTruth, files: Mapping[str, Path]
) -> tuple[Detections, list[str]]:
    """Rows with boxes in the frame of the annotations, which is the stored photo.

    Left as they are where annotations are proven to refer to the upright photo: by their format,
    or since only the upright photo has the size they state.

    Args:
        rows: Placed on the photos of `truth`; boxes of the upright photo.
        orientation: EXIF orientation of the photo of each row.
        truth: Annotated faces.
        files: Photos by name, as far as they are found.

    Returns:
        The rows, without those that can't be turned back, and warnings for a person.
    """
    if truth.upright:
        return rows, []
    boxes = rows.boxes.copy()
    kept = np.ones(len(rows), dtype=np.bool_)
    lost: list[str] = []
    guessed: list[str] = []
    for photo in np.unique(rows.photo[orientation != UPRIGHT]).tolist():
        name, stated = truth.photos[photo], truth.find_size(photo)
        own = np.flatnonzero((rows.photo == photo) & (orientation != UPRIGHT))
        frame = _read_frame(files.get(name), stated)
        if frame is not None and frame.upright:
            continue
        size = stated if frame is None else (frame.width, frame.height)
        if size is None:
            lost.append(name)
            kept[own] = False
            continue
        if frame is None and size[0] != size[1] and int(orientation[own[0]]) in SWAPS_SIDES:
            guessed.append(name)
        for row in own:
            boxes[row] = turn_box_back(Box(*boxes[row]), *size, int(orientation[row]))
    warnings = []
    if lost:
        warnings.append(
            f"{len(lost)} photos are turned by EXIF and can't be compared, since neither their "
            f"size nor the photos are known, the first: {lost[0]}. Their {int((~kept).sum())} "
            "predictions are left out and their faces count as missed; give --photos FOLDER."
        )
    if guessed:
        warnings.append(
            f"{len(guessed)} photos are turned by EXIF and were not found, the first: "
            f"{guessed[0]}; their annotations are taken for boxes of the photo as stored. Give "
            "--photos FOLDER to be sure."
        )
    places = np.flatnonzero(kept)
    return replace(rows, boxes=boxes).take(places, rows.photo[places]), warnings


def _read_frame(path: Path | None, stated: Size | None) -> PhotoFrame | None:
    try:
        return None if path is None else read_frame(path, fit_size=stated)
    except PhotoError:
        # A damaged photo is as good as none: annotations may state its size.
        return None
