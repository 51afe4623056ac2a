"""Where the nets fail, drawn: one public-domain portrait, altered by code, and their answers."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from data_prep.base.crop import crop_face
from data_prep.base.files import write_atomically
from data_prep.base.labels import BARE, CLASS_WORDS, MASKED, RARE_CLASS
from data_prep.base.records import Box
from pipeline.drawing.masks import Worn, draw_mask
from pipeline.inference.detector import Detector
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Face, Frame
from tests.demo import read_portrait

WALL = (300, 400)
"""Height and width in pixels of the photo that a small face hangs in, as large as real ones."""

BLUE, RED, BLACK = (120, 170, 205), (170, 40, 45), (35, 33, 35)


@dataclass(frozen=True)
class HardCase:
    """One altered portrait."""

    kind: str  # Row of the sheet.
    what: str
    truth: str  # The class it was drawn as.
    photo: np.ndarray  # Height × width × 3, uint8, RGB, with one face.
    face: tuple[float, float]  # Around which pixel it lies, x and y.
    side: float  # About how large the head is, in pixels.


def make_hard_cases(detector: Detector) -> list[HardCase]:
    """Alter the portrait in the ways that real photos are hard."""
    bare = read_portrait()
    found = detector.detect([bare])[0]
    marks, box = found.landmarks[0], found.boxes[0]
    middle = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    side = float(max(box[2] - box[0], box[3] - box[1]))
    skin = _colour_at(bare, marks[2])

    def masked(worn: Worn, colour: tuple[int, int, int] = BLUE) -> tuple[str, np.ndarray]:
        truth = MASKED if worn == "properly" else RARE_CLASS
        return truth, draw_mask(bare, marks, worn, colour)

    plain = {
        "bare": (BARE, bare),
        "worn": masked("properly"),
        "nose bare": masked("below_nose"),
        "on chin": masked("on_chin"),
    }
    cloths = {
        "black, worn": masked("properly", BLACK),
        "skin, worn": masked("properly", skin),
        "skin, nose bare": masked("below_nose", skin),
        "black, on chin": masked("on_chin", BLACK),
    }
    held = {
        "hand": draw_hand(bare, marks, skin),
        "scarf": draw_scarf(bare, marks, RED),
        "beard": draw_beard(bare, marks),
        "paper held up": draw_paper(bare, marks),
    }
    edge = round(middle[0])
    half = (edge - side / 4, middle[1])
    spoilt: dict[str, tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float]]] = {
        "as drawn": (lambda photo: photo, middle),
        "dark": (lambda photo: (photo * 0.12).astype(np.uint8), middle),
        "moved": (lambda photo: cv2.blur(photo, (int(side / 4), 1)), middle),
        "turned 60°": (lambda photo: _turn(photo, middle, 60), middle),
        "cut in half": (lambda photo: photo[:, :edge], half),
    }
    cases = [
        HardCase(kind, what, truth, alter(photo), face, side)
        for kind, (alter, face) in spoilt.items()
        for what, (truth, photo) in plain.items()
    ]
    small = [
        HardCase(f"{pixels} px", what, truth, *_hang_small(photo, middle, pixels / side), pixels)
        for pixels in (20, 12, 8)
        for what, (truth, photo) in plain.items()
    ]
    cases[4:4] = small
    cases += [HardCase("cloth", what, *drawn, middle, side) for what, drawn in cloths.items()]
    cases += [HardCase("no mask", w, BARE, photo, middle, side) for w, photo in held.items()]
    return cases


def answer_hard_case(nets: Predictor, case: HardCase) -> Face | None:
    """What the nets tell of the face, through JPEG as photos come; None when it isn't found."""
    stored = io.BytesIO()
    Image.fromarray(case.photo).save(stored, format="JPEG", quality=90)
    (faces,) = nets([Frame(case.what, pixels=np.asarray(Image.open(stored)))])
    for face in faces:
        x, y = (face.box.xmin + face.box.xmax) / 2, (face.box.ymin + face.box.ymax) / 2
        if np.hypot(x - case.face[0], y - case.face[1]) < case.side / 2:
            return face
    return None


def _hang_small(
    photo: np.ndarray, middle: tuple[float, float], factor: float
) -> tuple[np.ndarray, tuple[float, float]]:
    """The portrait shrunk, on a wall."""
    sides = (round(photo.shape[1] * factor), round(photo.shape[0] * factor))
    small = np.asarray(Image.fromarray(photo).resize(sides, Image.Resampling.LANCZOS))
    wall = np.full((*WALL, 3), (178, 170, 158), np.uint8)
    top, left = WALL[0] // 3, WALL[1] // 3
    wall[top : top + sides[1], left : left + sides[0]] = small
    return wall, (left + middle[0] * factor, top + middle[1] * factor)


def _turn(photo: np.ndarray, middle: tuple[float, float], degrees: float) -> np.ndarray:
    size = (photo.shape[1], photo.shape[0])
    turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    return cv2.warpAffine(photo, turn, size, borderMode=cv2.BORDER_REFLECT_101)


def _colour_at(photo: np.ndarray, point: np.ndarray) -> tuple[int, int, int]:
    x, y = np.rint(point).astype(int)
    red, green, blue = np.median(photo[y - 6 : y + 6, x - 6 : x + 6].reshape(-1, 3), axis=0)
    return int(red), int(green), int(blue)


def _unit(marks: np.ndarray) -> float:
    """Distance of the eyes."""
    return float(np.linalg.norm(marks[1] - marks[0]))


def _blend(photo: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    soft = cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 1.2)[..., None]
    return np.clip(photo * (1 - soft) + colour * soft, 0, 255).astype(np.uint8)


def draw_hand(photo: np.ndarray, marks: np.ndarray, skin: tuple[int, int, int]) -> np.ndarray:
    """Four fingers across the mouth and a palm beside it."""
    unit, mouth = _unit(marks), marks[3:].mean(axis=0)
    result = photo
    for finger in range(4):
        cover = np.zeros(photo.shape[:2], np.uint8)
        start = mouth + unit * np.array([1.15, 0.45 + 0.1 * finger])
        end = mouth + unit * np.array([-0.75, -0.35 + 0.24 * finger])
        points = [tuple(int(v) for v in np.rint(point)) for point in (start, end)]
        cv2.line(cover, points[0], points[1], 1, max(2, round(unit * 0.24)), cv2.LINE_AA)
        result = _blend(result, cover, np.array(skin) * (0.98 - 0.06 * (finger % 2)))
    return result


def draw_scarf(photo: np.ndarray, marks: np.ndarray, cloth: tuple[int, int, int]) -> np.ndarray:
    """Knitted cloth from below the nose to the chest."""
    unit, nose = _unit(marks), marks[2]
    cover = np.zeros(photo.shape[:2], np.uint8)
    outline = nose + unit * np.array(
        [(-1.3, 0.25), (-0.5, 0.2), (0, 0.15), (0.5, 0.2), (1.3, 0.25), (1.8, 2.6), (-1.8, 2.6)]
    )
    cv2.fillPoly(cover, [np.rint(outline).astype(np.int32)], 1)
    rows = np.arange(photo.shape[0])[:, None, None]
    knit = 1 + 0.12 * np.sin(rows * 2 * np.pi / (unit * 0.22))
    return _blend(photo, cover, np.array(cloth) * np.broadcast_to(knit, photo.shape))


def draw_beard(photo: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Dark hair on cheeks, lip and chin, the mouth left free."""
    unit, mouth = _unit(marks), marks[3:].mean(axis=0)
    cover = np.zeros(photo.shape[:2], np.uint8)
    centre = tuple(int(v) for v in np.rint(mouth + np.array([0, unit * 0.2])))
    cv2.ellipse(cover, centre, (round(unit * 0.95), round(unit * 0.85)), 0, -20, 200, 1, -1)
    lips = tuple(int(v) for v in np.rint(mouth))
    cv2.ellipse(cover, lips, (round(unit * 0.42), round(unit * 0.2)), 0, 0, 360, 0, -1)
    hair = np.random.default_rng(0).normal(45, 14, photo.shape[:2])[..., None]
    return _blend(photo, cover, hair * np.array([1.0, 0.85, 0.72]))


def draw_paper(photo: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """A white sheet in front of nose and mouth."""
    unit, mouth = _unit(marks), marks[3:].mean(axis=0)
    cover = np.zeros(photo.shape[:2], np.uint8)
    left, top = np.rint(mouth - unit * np.array([1.1, 0.62])).astype(int).tolist()
    right, bottom = np.rint(mouth + unit * np.array([1.1, 1.0])).astype(int).tolist()
    cv2.rectangle(cover, (left, top), (right, bottom), 1, -1)
    return _blend(photo, cover, np.array([236.0, 236.0, 232.0]))


RIGHT, WRONG = "#2c8a4b", "#c0392b"
COLUMNS = 8
VIEW = 2.2
"""Side of what is shown, as a multiple of the head."""


def draw_hard_sheet(cases: list[HardCase], answers: list[Face | None], path: Path) -> int:
    """Two kinds in a row, framed green where the answer is right; gives how many are."""
    rows = -(-len(answers) // COLUMNS)
    figure = Figure(figsize=(1.75 * COLUMNS, 2.0 * rows), dpi=75, layout="constrained")
    FigureCanvasAgg(figure)
    cells = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes in cells[len(cases) :]:
        axes.axis("off")
    right = 0
    for case, face, axes in zip(cases, answers, cells, strict=False):
        is_right = face is not None and face.label == case.truth
        right += is_right
        (x, y), half = case.face, case.side / 2
        axes.imshow(crop_face(case.photo, Box(x - half, y - half, x + half, y + half), VIEW))
        axes.set(xticks=[], yticks=[])
        colour = RIGHT if is_right else WRONG
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=3)
        said = (
            "not found"
            if face is None
            else f"{CLASS_WORDS[face.label]} {max(face.probabilities):.2f}"
        )
        axes.set_title(f"{case.kind}: {case.what}", fontsize=8)
        axes.set_xlabel(said, fontsize=8, color=colour)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], pil_kwargs={"quality": 85})
    write_atomically(path, buffer.getvalue())
    return right
