"""The masks that can be drawn: their shapes and their styles, as in `masks.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pydantic import TypeAdapter

Worn = Literal["properly", "below_nose", "on_chin"]
"""Over nose and mouth, with the nose bare, or with nose and mouth bare."""

WAYS_TO_WEAR: tuple[Worn, ...] = get_args(Worn)

Points = tuple[tuple[float, float], ...]  # In the frame of the face; see `FaceFrame`.

Colour = tuple[int, int, int]  # RGB, 0 to 255.
Pattern = Literal["plain", "dots", "stripes", "checks", "flowers", "blotches"]


@dataclass(frozen=True)
class MaskShape:
    """A kind of mask. Of its edges the right half is given; straps begin where both meet."""

    properly: Points  # Upper edge by the way of wearing, from the midline outwards.
    below_nose: Points
    on_chin: Points
    lower: Points  # Lower edge when worn properly, from the outside to the midline.
    pulled: tuple[float, float] = (0.04, 0.16)  # How far it moves below the nose and on the chin.
    lower_pulled: tuple[Points, Points] | None = None  # Where it does more than move.
    pleats: tuple[float, ...] = ()  # Where folds cross, as shares of the height at the midline.
    sag: float = 0.06  # How far the middle of a pleat hangs below its ends.
    centre_fold: bool = False  # Down the midline.
    straps: Points = ((1.25, 0.25),)  # Where they end: at the ears, if nothing else is said.

    def edges(self, worn: Worn) -> tuple[Points, Points]:
        """Right half of the upper and of the lower edge."""
        if worn == "properly":
            return self.properly, self.lower
        upper, way = (self.below_nose, 0) if worn == "below_nose" else (self.on_chin, 1)
        if self.lower_pulled is not None:
            return upper, self.lower_pulled[way]
        return upper, tuple((x, y + self.pulled[way]) for x, y in self.lower)

    def folds(self, top: float, height: float) -> list[np.ndarray]:
        """Lines of points, each N × 2, on a mask of that upper edge and height."""
        x = np.linspace(-0.85, 0.85, 9)
        lines = [
            np.stack([x, top + height * share + self.sag * (1 - x * x)], axis=1)
            for share in self.pleats
        ]
        if self.centre_fold:
            lines.append(np.array([(0.0, top), (0.0, top + height)]))
        return lines


@dataclass(frozen=True)
class MaskStyle:
    """How a mask looks."""

    name: str  # What tables call it.
    shape: str  # One of `SHAPES`.
    colours: tuple[Colour, ...]  # Of the cloth, then of what its pattern lays on it.
    pattern: Pattern = "plain"
    valve: bool = False  # An exhalation valve, beside the mouth.
    window: bool = False  # A transparent one, through which the mouth is seen.


_TABLES = tomllib.loads(Path(__file__).with_name("masks.toml").read_text(encoding="utf-8"))
SHAPES = TypeAdapter(dict[str, MaskShape]).validate_python(_TABLES["shapes"])
STYLES = TypeAdapter(tuple[MaskStyle, ...]).validate_python(_TABLES["styles"])
