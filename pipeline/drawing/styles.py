"""The masks that can be drawn: their shapes and their styles, as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

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


_HEAD_BANDS = ((1.2, -0.05), (1.2, 0.75))

SHAPES = {
    "surgical": MaskShape(
        properly=((0.0, 0.32), (0.3, 0.42), (0.75, 0.58), (0.98, 0.7)),
        below_nose=((0.0, 0.88), (0.35, 0.86), (0.75, 0.8), (0.95, 0.86)),
        on_chin=((0.0, 1.3), (0.3, 1.27), (0.62, 1.12), (0.86, 1.02)),
        lower=((0.95, 1.25), (0.72, 1.7), (0.35, 1.98), (0.0, 2.04)),
        lower_pulled=(
            ((0.9, 1.35), (0.7, 1.75), (0.35, 2.02), (0.0, 2.08)),
            ((0.85, 1.4), (0.66, 1.85), (0.34, 2.14), (0.0, 2.2)),
        ),
        pleats=(0.45, 0.6, 0.75),
    ),
    "cup": MaskShape(
        properly=((0.0, 0.2), (0.16, 0.26), (0.32, 0.5), (0.62, 0.7), (0.86, 0.86)),
        below_nose=((0.0, 0.84), (0.2, 0.85), (0.45, 0.86), (0.66, 0.88), (0.84, 1.0)),
        on_chin=((0.0, 1.27), (0.2, 1.26), (0.42, 1.2), (0.62, 1.14), (0.8, 1.16)),
        lower=((0.9, 1.12), (0.8, 1.5), (0.56, 1.84), (0.28, 2.02), (0.0, 2.08)),
        straps=_HEAD_BANDS,
    ),
    "folded": MaskShape(
        properly=((0.0, 0.24), (0.2, 0.36), (0.55, 0.62), (1.0, 0.74)),
        below_nose=((0.0, 0.86), (0.25, 0.87), (0.6, 0.84), (0.98, 0.86)),
        on_chin=((0.0, 1.28), (0.25, 1.26), (0.6, 1.14), (0.9, 1.04)),
        lower=((1.0, 0.98), (0.82, 1.45), (0.45, 1.88), (0.0, 2.16)),
        centre_fold=True,
    ),
    "duckbill": MaskShape(
        properly=((0.0, 0.3), (0.26, 0.4), (0.6, 0.62), (0.98, 0.86)),
        below_nose=((0.0, 0.87), (0.3, 0.86), (0.65, 0.9), (0.98, 1.02)),
        on_chin=((0.0, 1.29), (0.3, 1.26), (0.6, 1.18), (0.92, 1.16)),
        lower=((1.04, 1.16), (0.86, 1.66), (0.66, 1.94), (0.0, 1.98)),
        pleats=(0.62,),
        sag=-0.08,
        straps=_HEAD_BANDS,
    ),
    "fish": MaskShape(
        properly=((0.0, 0.26), (0.3, 0.42), (0.62, 0.66), (1.08, 0.92)),
        below_nose=((0.0, 0.87), (0.3, 0.86), (0.64, 0.9), (1.04, 1.06)),
        on_chin=((0.0, 1.28), (0.3, 1.25), (0.62, 1.17), (0.98, 1.18)),
        lower=((1.08, 1.04), (0.74, 1.56), (0.42, 1.92), (0.0, 2.06)),
        pleats=(0.36, 0.7),
        sag=0.0,
    ),
    "cloth": MaskShape(
        properly=((0.0, 0.28), (0.28, 0.4), (0.66, 0.6), (1.06, 0.58)),
        below_nose=((0.0, 0.86), (0.32, 0.85), (0.7, 0.8), (1.04, 0.72)),
        on_chin=((0.0, 1.28), (0.32, 1.25), (0.64, 1.1), (0.96, 0.94)),
        lower=((1.08, 0.92), (0.88, 1.48), (0.5, 1.9), (0.0, 2.12)),
        centre_fold=True,
    ),
    "bandana": MaskShape(
        properly=((0.0, 0.32), (0.32, 0.36), (0.8, 0.38), (1.25, 0.28)),
        below_nose=((0.0, 0.88), (0.35, 0.86), (0.8, 0.74), (1.22, 0.5)),
        on_chin=((0.0, 1.32), (0.35, 1.28), (0.75, 1.06), (1.1, 0.76)),
        lower=((1.2, 0.9), (1.0, 1.5), (0.62, 2.2), (0.26, 2.8), (0.0, 3.02)),
        pulled=(0.1, 0.3),
        pleats=(0.24, 0.4),
        sag=0.16,
        straps=(),
    ),
    "gaiter": MaskShape(
        properly=((0.0, 0.34), (0.32, 0.38), (0.72, 0.46), (1.12, 0.5)),
        below_nose=((0.0, 0.88), (0.35, 0.87), (0.75, 0.82), (1.1, 0.76)),
        on_chin=((0.0, 1.32), (0.35, 1.28), (0.72, 1.12), (1.04, 1.0)),
        lower=((1.08, 1.2), (0.9, 1.8), (0.84, 2.3), (0.9, 2.9), (0.45, 3.04), (0.0, 3.08)),
        pulled=(0.0, 0.0),
        pleats=(0.55, 0.68, 0.8),
        sag=0.14,
        straps=(),
    ),
}


@dataclass(frozen=True)
class MaskStyle:
    """How a mask looks."""

    name: str  # What tables call it.
    shape: str  # One of `SHAPES`.
    colours: tuple[Colour, ...]  # Of the cloth, then of what its pattern lays on it.
    pattern: Pattern = "plain"
    valve: bool = False  # An exhalation valve, beside the mouth.
    window: bool = False  # A transparent one, through which the mouth is seen.


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
