"""Face masks drawn on bare faces."""

from __future__ import annotations

import cv2
import numpy as np

from data_prep.face_frame import (
    cover_line,
    cover_polygon,
    eye_distance,
    locate_pixels,
    place,
    shade_of,
)
from data_prep.mask_patterns import Colour, paint_pattern
from data_prep.mask_shapes import SHAPES, Worn
from data_prep.mask_styles import SURGICAL_BLUE, MaskStyle

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
