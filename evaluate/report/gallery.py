"""The worst errors of each kind, as pictures."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import cv2
import numpy as np

from data_prep.base.crop import encode_crop, resize_crop
from data_prep.base.html import Picture, jpeg_uri
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.records import Box
from evaluate.arrays import FloatArray
from evaluate.measures.case import Case
from evaluate.measures.errors import list_errors
from evaluate.measures.matching import KINDS, MISSED
from evaluate.report.plots import choose_colours

PER_KIND = 12
SIDE = 168  # Of a picture in pixels.
CONTEXT = 2.4  # Side of what is shown as a multiple of the longer side of the boxes in question.
LEAST_CONTEXT = 40  # Least side of what is shown, in pixels of the photo.
GROUND = 235  # Grey of what lies outside the photo.
QUALITY = 85  # Of its JPEG.


Mark = tuple[FloatArray, str, bool]
"""A box to draw, its colour, and whether it is annotated: a frame, or else the corners."""


def draw_gallery(case: Case) -> dict[str, list[Picture]]:
    """Cut out the errors of each kind, the worst first.

    Faces and detections nearby are drawn too, so that a missing annotation or a box between two
    faces shows. Photos that are not found or can't be read leave an empty picture.
    """
    worst = ((kind, list_errors(case, kind, PER_KIND).itertuples()) for kind in KINDS)
    return {kind: [_draw(one, case) for one in errors] for kind, errors in worst}


def _draw(error: Any, case: Case) -> Picture:
    truth, detections, photo = case.truth, case.detections, error.photo
    box = np.array([getattr(error, side) for side in Box._fields])
    boxes, caption = box[None], f"{error.label}"
    if error.kind == MISSED:
        caption += f", {(box[2:] - box[:2]).min():.0f} px"
    else:
        caption += f" {error.score:.2f}"
    if error.face >= 0:
        boxes = np.vstack([boxes, truth.boxes[error.face]])
        if error.annotated != error.label:
            caption = f"{error.annotated} taken for {caption}"
        caption += f", IoU {error.iou:.2f}"
    name = truth.photos[photo]
    title = f"{name}: {', '.join(f'{value:.0f}' for value in box)}"
    rows = np.flatnonzero((detections.photo == photo) & (detections.detection >= 0.5))
    shown = rows if error.kind == MISSED else np.union1d(rows, [error.row])
    faces = np.flatnonzero(truth.photo == photo)
    colours = choose_colours(truth.classes)
    marks: list[Mark] = [
        (side.boxes[index], colours[truth.classes[side.labels[index]]], side is truth)
        for side, some in ((truth, faces), (detections, shown))
        for index in some
    ]
    pixels, size = None, truth.find_size(photo)
    with suppress(PhotoError, KeyError):  # Not found, or not readable.
        pixels = read_photo(case.files[name], upright=truth.upright, fit_size=size).pixels
    return Picture(_cut_out(pixels, boxes, marks), caption, title)


def _cut_out(pixels: np.ndarray | None, boxes: FloatArray, marks: Sequence[Mark]) -> str:
    """A square around the boxes as a JPEG data URI; empty without a photo."""
    if pixels is None:
        return ""
    # A box may reach far out of the photo, where there is nothing to show.
    limit = np.array(pixels.shape[1::-1], dtype=np.float64)
    low = np.clip(boxes[:, :2].min(axis=0), 0, limit)
    high = np.clip(boxes[:, 2:].max(axis=0), 0, limit)
    side = round(max(CONTEXT * float((high - low).max()), LEAST_CONTEXT))
    corner = np.rint((low + high - side) / 2).astype(int)
    # Where the square reaches over the border it is light grey.
    far = np.maximum(0, corner + side - limit.astype(int))
    (left, top), (right, bottom) = np.maximum(0, -corner), far
    x, y = np.maximum(0, corner)
    inside = pixels[y : corner[1] + side, x : corner[0] + side]
    border = (top, bottom, left, right)
    square = cv2.copyMakeBorder(inside, *border, cv2.BORDER_CONSTANT, value=(GROUND,) * 3)
    picture = resize_crop(square, SIDE)
    for box, colour, annotated in marks:
        corners = (box.reshape(2, 2) - corner) * (SIDE / side)
        _draw_box(picture, corners, colour, frame=annotated)
    return jpeg_uri(encode_crop(picture, QUALITY))


def _draw_box(picture: np.ndarray, corners: FloatArray, colour: str, *, frame: bool) -> None:
    rgb = tuple(bytes.fromhex(colour.lstrip("#")))
    # OpenCV draws no lines that end beyond 16 bits.
    (x0, y0), (x1, y1) = np.rint(corners.clip(-SIDE, 2 * SIDE)).astype(int).tolist()
    if frame:
        cv2.rectangle(picture, (x0, y0), (x1, y1), rgb, 1, cv2.LINE_AA)
        return
    arm = max(3, min(x1 - x0, y1 - y0) // 4)
    for x, y, right, down in ((x0, y0, 1, 1), (x1, y0, -1, 1), (x0, y1, 1, -1), (x1, y1, -1, -1)):
        cv2.line(picture, (x, y), (x + right * arm, y), rgb, 2, cv2.LINE_AA)
        cv2.line(picture, (x, y), (x, y + down * arm), rgb, 2, cv2.LINE_AA)
