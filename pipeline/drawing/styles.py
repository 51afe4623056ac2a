"""The masks that can be drawn: shapes, colours and patterns under names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from data_prep.base.errors import UserError
from pipeline.drawing.geometry import (
    SHAPES,
    Worn,
    cover_line,
    cover_polygon,
    eye_distance,
    locate_pixels,
    place,
    shade_of,
)

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

Pattern = Literal["plain", "dots", "stripes", "checks", "flowers", "blotches"]

Field = np.ndarray
"""Rows × columns, float32."""

TABLE = 16
"""Cells of a random pattern until it repeats, in both directions."""


def paint_pattern(
    pattern: Pattern,
    x: Field,
    y: Field,
    colours: tuple[Colour, ...],
    random: np.random.Generator,
) -> np.ndarray:
    """Colours of cloth.

    Args:
        pattern: Its name.
        x: Eye distances from the midline.
        y: Eye-to-mouth distances below the upper edge of the cloth.
        colours: Of the ground, then of what is on it; the last one serves for what is missing.
        random: Places flowers and blotches; the other patterns draw nothing from it.

    Returns:
        Rows × columns × 3, float32, 0 to 255.
    """
    grounds = np.array(colours, np.float32)
    layers = _LAYERS[pattern](x, y, random) if pattern in _LAYERS else []
    result = np.broadcast_to(grounds[0], (*x.shape, 3)).copy()
    for number, share in enumerate(layers, start=1):
        colour = grounds[min(number, len(grounds) - 1)]
        result += (colour - result) * share[..., None]
    return result


def _dots(x: Field, y: Field, _: np.random.Generator) -> list[Field]:
    """Rows of dots, every other one moved by half a step."""
    step, radius = 0.26, 0.075
    row = np.floor(y / step)
    across = (x + (row % 2) * step / 2) % step - step / 2
    down = y - (row + 0.5) * step
    return [_is(across**2 + down**2 < radius**2)]


def _stripes(x: Field, y: Field, _: np.random.Generator) -> list[Field]:
    return [_is(y % 0.26 < 0.11)]


def _checks(x: Field, y: Field, _: np.random.Generator) -> list[Field]:
    """Gingham: half the colour where one thread has it, all of it where both have."""
    step = 0.3
    across, down = _is((x + step / 4) % step < step / 2), _is(y % step < step / 2)
    return [(across + down) / 2]


def _flowers(x: Field, y: Field, random: np.random.Generator) -> list[Field]:
    """In every cell one flower of five petals, at a random place, turn and size."""
    step = 0.36
    table = random.uniform(size=(4, TABLE, TABLE)).astype(np.float32)
    column, row = np.floor(x / step), np.floor(y / step)
    place_x, place_y, turn, size = table[:, row.astype(int) % TABLE, column.astype(int) % TABLE]
    radius = step * (0.26 + 0.12 * size)
    across = x - (column + 0.4 + 0.2 * place_x) * step
    down = y - (row + 0.4 + 0.2 * place_y) * step
    far = np.hypot(across, down)
    petals = radius * (0.72 + 0.28 * np.cos(5 * np.arctan2(down, across) + 2 * np.pi * turn))
    return [_is(far < petals), _is(far < radius * 0.3)]


def _blotches(x: Field, y: Field, random: np.random.Generator) -> list[Field]:
    """Where sums of a few random waves are high, as on camouflage."""
    layers = []
    for _ in range(2):
        total = np.zeros_like(x)
        for _ in range(5):
            angle, phase = random.uniform(0, 2 * np.pi, 2)
            often = random.uniform(4, 9)
            total += np.sin(often * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        layers.append(_is(total > 0.7))
    return layers


def _is(condition: np.ndarray) -> Field:
    return condition.astype(np.float32)


_LAYERS: dict[Pattern, Callable[[Field, Field, np.random.Generator], list[Field]]] = {
    "dots": _dots,
    "stripes": _stripes,
    "checks": _checks,
    "flowers": _flowers,
    "blotches": _blotches,
}


class StyleError(UserError, ValueError):
    """A name that is no style's; the message lists those there are."""


@dataclass(frozen=True)
class MaskStyle:
    """How a mask looks.

    Attributes:
        name: What tables call it.
        shape: One of `mask_shapes.SHAPES`.
        colours: RGB of the cloth, then of what its pattern lays on it.
        pattern: See `mask_patterns`.
        valve: Whether it has an exhalation valve, beside the mouth.
        window: Whether the mouth is seen through a transparent window.
    """

    name: str
    shape: str
    colours: tuple[Colour, ...]
    pattern: Pattern = "plain"
    valve: bool = False
    window: bool = False


STYLES: tuple[MaskStyle, ...] = (
    MaskStyle("surgical-blue", "surgical", ((120, 170, 205),)),
    MaskStyle("surgical-white", "surgical", ((232, 234, 235),)),
    MaskStyle("surgical-green", "surgical", ((140, 195, 170),)),
    MaskStyle("surgical-black", "surgical", ((44, 44, 48),)),
    MaskStyle("surgical-pink", "surgical", ((228, 172, 188),)),
    MaskStyle("ffp2-white", "folded", ((236, 236, 233),)),
    MaskStyle("n95-cup", "cup", ((233, 230, 220),)),
    MaskStyle("duckbill-white", "duckbill", ((226, 232, 238),)),
    MaskStyle("fish-grey", "fish", ((165, 168, 174),)),
    MaskStyle("valve-respirator", "cup", ((222, 224, 226),), valve=True),
    MaskStyle("cloth-black", "cloth", ((38, 37, 40),)),
    MaskStyle("cloth-red", "cloth", ((176, 38, 44),)),
    MaskStyle("cloth-dots", "cloth", ((36, 52, 98), (236, 236, 232)), "dots"),
    MaskStyle("cloth-stripes", "cloth", ((232, 228, 218), (46, 84, 120)), "stripes"),
    MaskStyle("cloth-checks", "cloth", ((238, 232, 226), (150, 40, 50)), "checks"),
    MaskStyle(
        "cloth-flowers", "cloth", ((58, 96, 88), (232, 150, 166), (246, 214, 110)), "flowers"
    ),
    MaskStyle("bandana-red", "bandana", ((168, 34, 38), (240, 236, 230)), "dots"),
    MaskStyle("gaiter-grey", "gaiter", ((92, 96, 104),)),
    MaskStyle(
        "gaiter-camouflage", "gaiter", ((122, 120, 84), (70, 82, 54), (60, 48, 38)), "blotches"
    ),
    MaskStyle("window-blue", "surgical", ((96, 140, 190),), window=True),
)

SURGICAL_BLUE = STYLES[0]


def choose_styles(names: Sequence[str]) -> tuple[MaskStyle, ...]:
    """Styles by their names, in the order of `STYLES`; all when none is named.

    Raises:
        StyleError: A name is not known.

    >>> [style.shape for style in choose_styles(["gaiter-grey", "cloth-red"])]
    ['cloth', 'gaiter']
    """
    known = {style.name for style in STYLES}
    for name in names:
        if name not in known:
            raise StyleError(f"no style '{name}'; there are: {', '.join(s.name for s in STYLES)}.")
    return tuple(style for style in STYLES if not names or style.name in names)


_STRAP_COLOUR = (235.0, 235.0, 230.0)
_FOLD_DARKNESS = 0.22
_CIRCLE = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 25)[:-1]])


def draw_mask(
    photo: np.ndarray,
    landmarks: np.ndarray,
    worn: Worn,
    colour: Colour | None = None,
    *,
    straps: bool = True,
    style: MaskStyle = SURGICAL_BLUE,
    seed: int = 0,
) -> np.ndarray:
    """A copy of the photo with a mask on one face.

    Args:
        photo: Height × width × 3, uint8, RGB.
        landmarks: 5 × 2, pixels of the photo: left eye, right eye, nose, left and right mouth
            corner, as seen in the photo.
        worn: Over nose and mouth, with the nose bare, or with nose and mouth bare.
        colour: RGB of the cloth in place of the style's own.
        straps: Whether its straps are seen.
        style: Shape, colours, pattern and details.
        seed: Of patterns with flowers or blotches.

    Returns:
        Same shape and type.
    """
    size, shape = photo.shape[:2], SHAPES[style.shape]
    outline = shape.outline(worn)
    cloth = cover_polygon(size, place(outline, landmarks))
    shade = shade_of(photo, landmarks)[..., None]
    colours = style.colours if colour is None else (colour, *style.colours[1:])
    result = photo.astype(np.float32)
    thickness = max(1, round(eye_distance(landmarks) / 18))
    corner = shape.upper[worn][-1]
    for end in shape.straps if straps else ():
        for side in (-1, 1):
            strap = np.array([corner, end]) * (side, 1)
            line = cover_line(size, place(strap, landmarks), thickness)[..., None]
            result = result * (1 - line) + np.array(_STRAP_COLOUR) * shade * line
    bare = result
    fabric = _weave(size, cloth, landmarks, outline[0, 1], colours, style, seed)
    result = result * (1 - cloth[..., None]) + fabric * shade * cloth[..., None]
    for fold in shape.folds(worn):
        line = cover_line(size, place(fold, landmarks), max(1, thickness // 2))
        result *= 1 - _FOLD_DARKNESS * (line * cloth)[..., None]
    top, height = outline[0, 1], outline[len(outline) // 2, 1] - outline[0, 1]
    if style.window:
        result = _open_window(result, bare, landmarks, top, height)
    if style.valve:
        result = _add_valve(result, shade, landmarks, top, height)
    return np.clip(result, 0, 255).astype(np.uint8)


def _weave(
    size: tuple[int, ...],
    cloth: np.ndarray,
    landmarks: np.ndarray,
    top: float,
    colours: tuple[Colour, ...],
    style: MaskStyle,
    seed: int,
) -> np.ndarray:
    """Colour of the cloth: one for all pixels, or one for each where there is a pattern."""
    rows, columns = np.flatnonzero(cloth.any(axis=1)), np.flatnonzero(cloth.any(axis=0))
    if style.pattern == "plain" or not len(rows):
        return np.array(colours[0])
    y0, x0 = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) + 1 - y0, int(columns[-1]) + 1 - x0
    x, y = locate_pixels(x0, y0, width, height, landmarks)
    big = paint_pattern(style.pattern, x, y - top, colours, np.random.default_rng(seed))
    fabric = np.zeros((*size[:2], 3), np.float32)
    fabric[y0 : y0 + height, x0 : x0 + width] = cv2.resize(
        big, (width, height), interpolation=cv2.INTER_AREA
    )
    return fabric


def _open_window(
    masked: np.ndarray, bare: np.ndarray, landmarks: np.ndarray, top: float, height: float
) -> np.ndarray:
    """Foil in the middle of the mask: what is behind it, a little paler, and a seam around it."""
    outline = _CIRCLE * (0.46, height * 0.24) + (0, top + height * 0.5)
    placed = place(outline, landmarks)
    share = cover_polygon(bare.shape, placed)[..., None]
    rim = cover_line(
        bare.shape,
        np.concatenate([placed, placed[:1]]),
        max(1, round(eye_distance(landmarks) / 24)),
    )[..., None]
    result = masked * (1 - share) + (bare * 0.82 + 255 * 0.18) * share
    return result * (1 - 0.3 * rim)


def _add_valve(
    masked: np.ndarray, shade: np.ndarray, landmarks: np.ndarray, top: float, height: float
) -> np.ndarray:
    """A round grey valve with bars, on the right."""
    middle, radius = (0.36, top + height * 0.58), np.array((0.19, 0.19))
    size, line = masked.shape, max(1, round(eye_distance(landmarks) / 28))
    result = masked
    for factor, grey in ((1.0, 120.0), (0.84, 176.0)):
        share = cover_polygon(size, place(_CIRCLE * radius * factor + middle, landmarks))[..., None]
        result = result * (1 - share) + grey * shade * share
    for y in (-0.4, 0.0, 0.4):
        ends = np.array([(-0.6, y), (0.6, y)]) * radius + middle
        result = result * (1 - 0.45 * cover_line(size, place(ends, landmarks), line)[..., None])
    return result
