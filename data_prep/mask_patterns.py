"""Patterns of cloth, in the frame of the face, so that they turn and grow with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

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
