"""Drawing a mask on a face: cloth and its pattern, straps, folds, valve, window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pipeline.drawing.styles import SHAPES, STYLES, Colour, MaskStyle, Pattern, Worn

Field = np.ndarray  # Rows × columns, float32.

SUPERSAMPLING = 4
_STRAP_COLOUR = (235.0, 235.0, 230.0)
_FOLD_DARKNESS = 0.22
_CIRCLE = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 25)[:-1]])


def measure_turn(landmarks: np.ndarray) -> float:
    """How far the nose lies from the midline of the eyes, in eye distances: 0 from the front.

    >>> measure_turn(np.array([[0, 0], [10, 0], [8, 6], [2, 10], [9, 10]]))
    0.3
    """
    eyes, middle = landmarks[1] - landmarks[0], landmarks[:2].mean(axis=0)
    return float(abs((landmarks[2] - middle) @ eyes) / max(float(eyes @ eyes), 1e-9))


@dataclass(frozen=True, eq=False)
class FaceFrame:
    """A face in a photo: where points of it lie, and which pixels shapes cover.

    x is in eye distances from the midline, to the right as seen; y in eye-to-mouth distances below
    the eyes (nose tip about 0.6, mouth 1, chin about 1.8).
    """

    landmarks: np.ndarray  # 5 × 2, pixels: left eye, right eye, nose, left and right mouth corner.
    size: tuple[int, int]  # Height and width of the photo.

    @cached_property
    def eye_distance(self) -> float:
        """Pixels between the eyes."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Origin, both axes, and how far the midline leans aside on its way to the mouth."""
        eyes, mouth = self.landmarks[:2].mean(axis=0), self.landmarks[3:].mean(axis=0)
        across, down = self.landmarks[1] - self.landmarks[0], mouth - eyes
        middle = (eyes + mouth) / 2
        lean = float((self.landmarks[2] - middle) @ across / (across @ across))
        return eyes, across, down, lean

    def place(self, points: np.ndarray) -> np.ndarray:
        """From the frame to pixels, N × 2; a turned face's midline goes through the nose."""
        eyes, across, down, lean = self._axes
        x, y = points[:, :1], points[:, 1:]
        return eyes + (x + lean * np.minimum(y, 1)) * across + y * down

    def locate_pixels(
        self, left: int, top: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where parts of a rectangle's pixels lie in the frame, x and y; undoes `place`.

        Each has sides times `SUPERSAMPLING`, float32.
        """
        eyes, across, down, lean = self._axes
        # Landmarks on one line span no plane; what is drawn on them is a line anyway.
        inverse = np.linalg.pinv(np.stack([across, down], axis=1).astype(float))
        step = (np.arange(max(width, height) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
        from_eyes_x = (left + step[: width * SUPERSAMPLING] - float(eyes[0]))[None, :]
        from_eyes_y = (top + step[: height * SUPERSAMPLING] - float(eyes[1]))[:, None]
        along = inverse[0, 0] * from_eyes_x + inverse[0, 1] * from_eyes_y
        y = inverse[1, 0] * from_eyes_x + inverse[1, 1] * from_eyes_y
        x = along - lean * np.minimum(y, 1)
        return x.astype(np.float32), y.astype(np.float32)

    def fill(self, polygon: np.ndarray) -> np.ndarray:
        """Share of each pixel that a polygon covers: height × width × 1, float32, 0 to 1."""
        height, width = self.size
        big = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        cv2.fillPoly(big, [np.rint(self.place(polygon) * SUPERSAMPLING).astype(np.int32)], 255)
        small = cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32)[..., None] / 255

    def trace(self, points: np.ndarray, thickness: int) -> np.ndarray:
        """Share of each pixel that a line through points covers, as `fill`; thickness in pixels."""
        layer = np.zeros(self.size, np.uint8)
        line = [np.rint(self.place(points)).astype(np.int32)]
        cv2.polylines(layer, line, False, 255, max(1, thickness), cv2.LINE_AA)
        return layer.astype(np.float32)[..., None] / 255

    def shade(self, photo: np.ndarray) -> np.ndarray:
        """Light and shadow of the face, blurred: height × width × 1, about 1 in its middle."""
        grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
        light = cv2.GaussianBlur(grey, (0, 0), max(1.0, self.eye_distance / 3))
        x, y = np.rint(self.landmarks.mean(axis=0)).astype(int)
        level = light[np.clip(y, 0, len(light) - 1), np.clip(x, 0, light.shape[1] - 1)]
        return np.clip(0.55 + 0.45 * light / max(float(level), 1.0), 0.4, 1.2)[..., None]


def draw_mask(
    photo: np.ndarray,
    landmarks: np.ndarray,
    worn: Worn,
    colour: Colour | None = None,
    *,
    straps: bool = True,
    style: MaskStyle = STYLES[0],
    seed: int = 0,
) -> np.ndarray:
    """A copy of the photo, height × width × 3, uint8, RGB, with a mask on one face.

    Landmarks are 5 × 2, in pixels: left eye, right eye, nose, left and right mouth corner, as seen
    in the photo. A colour takes the place of the style's own; the seed is that of flowers and
    blotches.
    """
    face, shape = FaceFrame(landmarks, photo.shape[:2]), SHAPES[style.shape]
    upper, lower = shape.edges(worn)
    half = np.array(upper + lower)
    outline = np.concatenate([half, half[-2:0:-1] * (-1, 1)])
    top, height = half[0, 1], half[-1, 1] - half[0, 1]
    cloth, shade = face.fill(outline), face.shade(photo)
    thickness = max(1, round(face.eye_distance / 18))
    result = photo.astype(np.float32)
    for end in shape.straps if straps else ():
        for side in (-1, 1):
            strap = face.trace(np.array([upper[-1], end]) * (side, 1), thickness)
            result = result * (1 - strap) + np.array(_STRAP_COLOUR) * shade * strap
    bare = result
    colours = style.colours if colour is None else (colour, *style.colours[1:])
    fabric = _weave(face, cloth, top, colours, style.pattern, seed)
    result = result * (1 - cloth) + fabric * shade * cloth
    for fold in shape.folds(top, height):
        result *= 1 - _FOLD_DARKNESS * (face.trace(fold, thickness // 2) * cloth)
    if style.window:
        result = _open_window(result, bare, face, top, height)
    if style.valve:
        result = _add_valve(result, shade, face, top, height)
    return np.clip(result, 0, 255).astype(np.uint8)


def _weave(
    face: FaceFrame,
    cloth: np.ndarray,
    top: float,
    colours: tuple[Colour, ...],
    pattern: Pattern,
    seed: int,
) -> np.ndarray:
    """Colour of the cloth: one for all pixels, or one for each where there is a pattern."""
    rows, columns = (np.flatnonzero(cloth.any(axis=(axis, 2))) for axis in (1, 0))
    if pattern == "plain" or not len(rows):
        return np.array(colours[0])
    y0, x0 = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) + 1 - y0, int(columns[-1]) + 1 - x0
    x, y = face.locate_pixels(x0, y0, width, height)
    big = paint_pattern(pattern, x, y - top, colours, np.random.default_rng(seed))
    fabric = np.zeros((*face.size, 3), np.float32)
    fabric[y0 : y0 + height, x0 : x0 + width] = cv2.resize(
        big, (width, height), interpolation=cv2.INTER_AREA
    )
    return fabric


def _open_window(
    masked: np.ndarray, bare: np.ndarray, face: FaceFrame, top: float, height: float
) -> np.ndarray:
    """Foil in the middle of the mask: what is behind it, a little paler, and a seam around it."""
    outline = _CIRCLE * (0.46, height * 0.24) + (0, top + height * 0.5)
    share = face.fill(outline)
    seam = face.trace(np.concatenate([outline, outline[:1]]), round(face.eye_distance / 24))
    result = masked * (1 - share) + (bare * 0.82 + 255 * 0.18) * share
    return result * (1 - 0.3 * seam)


def _add_valve(
    masked: np.ndarray, shade: np.ndarray, face: FaceFrame, top: float, height: float
) -> np.ndarray:
    """A round grey valve with bars, on the right."""
    middle, radius = (0.36, top + height * 0.58), np.array((0.19, 0.19))
    result = masked
    for factor, grey in ((1.0, 120.0), (0.84, 176.0)):
        share = face.fill(_CIRCLE * radius * factor + middle)
        result = result * (1 - share) + grey * shade * share
    for y in (-0.4, 0.0, 0.4):
        bar = np.array([(-0.6, y), (0.6, y)]) * radius + middle
        result = result * (1 - 0.45 * face.trace(bar, round(face.eye_distance / 28)))
    return result


def paint_pattern(
    pattern: Pattern, x: Field, y: Field, colours: tuple[Colour, ...], random: np.random.Generator
) -> np.ndarray:
    """Colours of cloth, rows × columns × 3, float32, 0 to 255.

    x is in eye distances from the midline, y in eye-to-mouth distances below the upper edge of the
    cloth. Colours are that of the ground, then of what is on it; the last serves for missing ones.
    """
    grounds = np.array(colours, np.float32)
    result = np.broadcast_to(grounds[0], (*x.shape, 3)).copy()
    for number, share in enumerate(_LAYERS[pattern](x, y, random), start=1):
        colour = grounds[min(number, len(grounds) - 1)]
        result += (colour - result) * share[..., None].astype(np.float32)
    return result


def _dots(x: Field, y: Field, _: np.random.Generator) -> list[np.ndarray]:
    """Rows of dots, every other one moved by half a step."""
    step, radius = 0.26, 0.075
    row = np.floor(y / step)
    across = (x + (row % 2) * step / 2) % step - step / 2
    down = y - (row + 0.5) * step
    return [across**2 + down**2 < radius**2]


def _checks(x: Field, y: Field, _: np.random.Generator) -> list[np.ndarray]:
    """Gingham: half the colour where one thread has it, all of it where both have."""
    step = 0.3
    return [((x + step / 4) % step < step / 2) * 0.5 + (y % step < step / 2) * 0.5]


def _flowers(x: Field, y: Field, random: np.random.Generator) -> list[np.ndarray]:
    """In every cell one flower of five petals, at a random place, turn and size."""
    step, cells = 0.36, 16  # Until the flowers repeat.
    table = random.uniform(size=(4, cells, cells)).astype(np.float32)
    column, row = np.floor(x / step), np.floor(y / step)
    place_x, place_y, turn, size = table[:, row.astype(int) % cells, column.astype(int) % cells]
    radius = step * (0.26 + 0.12 * size)
    across = x - (column + 0.4 + 0.2 * place_x) * step
    down = y - (row + 0.4 + 0.2 * place_y) * step
    far = np.hypot(across, down)
    petals = radius * (0.72 + 0.28 * np.cos(5 * np.arctan2(down, across) + 2 * np.pi * turn))
    return [far < petals, far < radius * 0.3]


def _blotches(x: Field, y: Field, random: np.random.Generator) -> list[np.ndarray]:
    """Where sums of a few random waves are high, as on camouflage."""
    layers = []
    for _ in range(2):
        total = np.zeros_like(x)
        for _ in range(5):
            angle, phase = random.uniform(0, 2 * np.pi, 2)
            often = random.uniform(4, 9)
            total += np.sin(often * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        layers.append(total > 0.7)
    return layers


_LAYERS: dict[Pattern, Callable[[Field, Field, np.random.Generator], list[np.ndarray]]] = {
    "plain": lambda x, y, random: [],
    "dots": _dots,
    "stripes": lambda x, y, random: [y % 0.26 < 0.11],
    "checks": _checks,
    "flowers": _flowers,
    "blotches": _blotches,
}
"""By pattern, the share of each layer over the ground."""
