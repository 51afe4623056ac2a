"""Boxes and labels drawn on a photo."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.base.boxes import shared_areas
from data_prep.base.files import write_atomically
from data_prep.base.photo import Size, list_formats
from pipeline.inference.records import Face

COLOURS: dict[str, tuple[int, int, int]] = {
    "with_mask": (46, 160, 67),
    "without_mask": (218, 54, 51),
    "mask_weared_incorrect": (230, 150, 20),
}
"""RGB of each class; label texts tell them apart for those who can't see the difference."""

TEXT = {"with_mask": "mask", "without_mask": "no mask", "mask_weared_incorrect": "wrong"}
PERSONS = (
    *((31, 119, 180), (148, 103, 189), (23, 152, 166), (227, 119, 194), (140, 86, 75)),
    *((72, 80, 200), (160, 40, 140), (0, 120, 120), (90, 70, 30)),
)
"""RGB of persons in videos, by number; none near those of the classes."""

UNSURE_COLOUR = (128, 128, 128)  # RGB of the boxes of faces that `--unsure` flags.

LABEL_FROM = 24
"""Faces with a shorter side under this many pixels of the drawing get a box without text."""

SMALLEST_DRAWING = 640
UNSURE = 0.8
"""Class probability under which a label says "unsure": of 943 faces found on validation photos 48
are, of which 58 % have the right class, of the others 98 %."""

BLURRED = 6
"""Pixels that are left of a blurred face on its longer side: less than any net or person needs."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
NOTE = (58, 71, 80)  # RGB of what is said of the drawing itself.

COARSE, FINE = {"quality": 90}, {"quality": 95, "subsampling": 0}  # How JPEG files are written.


def draw_faces(photo: np.ndarray, faces: Sequence[Face], *, spoil: bool = False) -> np.ndarray:
    """A copy of the photo with its faces marked; small photos are enlarged to be readable.

    Labels tell the class and its probability, "unsure" under `UNSURE`; where it was asked for,
    faces whose class is not sure have a grey box and are told what they may be; those of persons in
    videos a number and the class, on a colour of their own. In crowds a label goes where
    it covers no other one, shortened if need be, or is left out; the surest faces choose first.
    Photo and drawing are height × width × 3, uint8, RGB; the sides of the drawing are times a whole
    number, which is told in a corner. With `spoil` a large photo is itself drawn on.
    """
    factor = max(1, min(4, round(SMALLEST_DRAWING / max(photo.shape[:2]))))
    drawing = photo if spoil else photo.copy()
    if factor > 1:
        drawing = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    height, width = drawing.shape[:2]
    line = max(1, round(max(width, height) / 500))
    scale = max(0.4, max(width, height) / 1800)
    faces = sorted(faces, key=lambda face: -face.detection)
    boxes = np.rint(np.array([face.box for face in faces]).reshape(-1, 4) * factor).astype(int)
    for face, (x0, y0, x1, y1) in reversed(list(zip(faces, boxes.tolist(), strict=True))):
        colour = UNSURE_COLOUR if face.unsure else COLOURS[face.label]
        cv2.rectangle(drawing, (x0, y0), (x1, y1), colour, line, cv2.LINE_AA)
    taken = np.zeros((0, 4), int)
    notes = [f"enlarged {factor}x"] if factor > 1 else []
    if note := ", ".join(notes + ["grey: unsure"] * any(face.unsure for face in faces)):
        wide, high = _measure(note, 0.4)
        taken = np.array([[0, height - high, wide, height]])
        _write(drawing, note, 0.4, taken[0], NOTE)
    for face, box in zip(faces, boxes, strict=True):
        if min(box[2:] - box[:2]) < LABEL_FROM:
            continue
        share = max(face.probabilities)
        colour = UNSURE_COLOUR if face.unsure else COLOURS[face.label]
        name = TEXT[face.label] if share >= UNSURE or face.unsure == "" else "unsure"
        if face.unsure:
            name = " or ".join(TEXT.get(one, "like none") for one in face.unsure.split("|"))
        texts = (f"{name} {share:.2f}", f"{share:.2f}")
        if face.track is not None:
            colour = PERSONS[face.track % len(PERSONS)]
            texts = (f"#{face.track} {TEXT[face.label]}", f"#{face.track}")
        for text in texts:
            place = find_room(box, _measure(text, scale), (width, height), taken, boxes)
            if place is not None:
                taken = np.vstack([taken, place])
                _write(drawing, text, scale, place, colour)
                break
    return drawing


def find_room(
    box: np.ndarray, label: Size, size: Size, taken: np.ndarray, boxes: np.ndarray
) -> np.ndarray | None:
    """Where a label goes: at a box (4 whole pixels), in the drawing, on no rectangle of `taken`.

    Of the places that are free, the first that covers least of other boxes (N × 4); label and
    drawing by width and height. Rectangles are xmin, ymin, xmax, ymax; None where there is no room.
    """
    (x0, y0, x1, y1), (wide, high) = box.tolist(), label
    corners = np.array(
        [
            *((x0, y0 - high), (x1 - wide, y0 - high), (x0, y1), (x1 - wide, y1)),
            *((x1, y0), (x0 - wide, y0), (x0, y0), (x0, y1 - high)),
        ]
    )
    corners[:, 0] = corners[:, 0].clip(0, max(size[0] - wide, 0))
    places = np.hstack([corners, corners + np.array(label)])
    inside = (corners[:, 1] >= 0) & (places[:, 3] <= size[1])
    places = places[inside & ~(shared_areas(places, taken) > 0).any(axis=1)]
    others = boxes[(boxes != box).any(axis=1)]
    covered = shared_areas(places, others).sum(axis=1)
    return places[covered.argmin()] if len(places) else None


def _measure(text: str, scale: float) -> Size:
    (width, height), below = cv2.getTextSize(text, FONT, scale, 1)
    return width + 4, height + below + 4


def _write(
    drawing: np.ndarray, text: str, scale: float, place: np.ndarray, colour: tuple[int, int, int]
) -> None:
    x0, y0, x1, y1 = place.tolist()
    cv2.rectangle(drawing, (x0, y0), (x1 - 1, y1 - 1), colour, -1)
    height = cv2.getTextSize(text, FONT, scale, 1)[0][1]
    start = (x0 + 2, y0 + height + 2)
    cv2.putText(drawing, text, start, FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def blur_faces(photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of the photo (height × width × 3, uint8, RGB) whose faces can't be recognised.

    Each box, a fifth larger, is brought to `BLURRED` pixels on its longer side and back.
    """
    blurred = photo.copy()
    for face in faces:
        x0, y0, x1, y1 = face.box
        margin = np.array([x1 - x0, y1 - y0]) * 0.1
        low = np.floor(np.array([x0, y0]) - margin).clip(0).astype(int)
        high = np.ceil(np.array([x1, y1]) + margin).astype(int)
        part = blurred[low[1] : high[1], low[0] : high[0]]
        height, width = part.shape[:2]
        few = BLURRED / max(width, height, BLURRED)
        small = (max(1, round(width * few)), max(1, round(height * few)))
        means = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR)
    return blurred


def save_drawing(path: Path, drawing: np.ndarray, *, fine: bool = False) -> None:
    """Write a drawing (height × width × 3, uint8, RGB) in the format of its file name, or JPEG.

    With `fine` JPEG spares no colours: for photos to learn from. May raise `OutputError`.
    """
    format_ = list_formats().get(path.suffix.lower(), "JPEG")
    if format_ not in Image.SAVE:
        format_ = "JPEG"
    buffer = io.BytesIO()
    Image.fromarray(drawing).save(
        buffer, format=format_, **((FINE if fine else COARSE) if format_ == "JPEG" else {})
    )
    write_atomically(path, buffer.getvalue())
