"""Outlines of masks, their folds and straps, in the frame of the face (see `face_frame`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Worn = Literal["properly", "below_nose", "on_chin"]
"""Over nose and mouth, with the nose bare, or with nose and mouth bare."""

WAYS_TO_WEAR: tuple[Worn, ...] = get_args(Worn)

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class MaskShape:
    """A kind of mask.

    Attributes:
        upper: Right half of the upper edge for each way of wearing, from the midline outwards.
        lower: Right half of the lower edge, from the outside to the midline, for each way.
        pleats: Where folds cross it, as shares of its height at the midline.
        sag: How far the middle of a pleat hangs below its ends, in eye-to-mouth distances.
        centre_fold: Whether a fold runs down the midline.
        straps: Where straps end, on the right side; they begin at the outer end of `upper`.
    """

    upper: Mapping[Worn, Points]
    lower: Mapping[Worn, Points]
    pleats: tuple[float, ...] = ()
    sag: float = 0.06
    centre_fold: bool = False
    straps: Points = ()

    def outline(self, worn: Worn) -> np.ndarray:
        """The whole outline, N × 2, clockwise from the middle of the upper edge."""
        half = np.array(self.upper[worn] + self.lower[worn])
        return np.concatenate([half, half[-2:0:-1] * (-1, 1)])

    def folds(self, worn: Worn) -> list[np.ndarray]:
        """Lines of points, each N × 2."""
        top, bottom = self.upper[worn][0][1], self.lower[worn][-1][1]
        lines = []
        for share in self.pleats:
            y = top + (bottom - top) * share
            lines.append(
                np.array([(x, y + self.sag * (1 - x * x)) for x in np.linspace(-0.85, 0.85, 9)])
            )
        if self.centre_fold:
            lines.append(np.array([(0.0, top), (0.0, bottom)]))
        return lines


def _lowered(lower: Points, below_nose: float = 0.04, on_chin: float = 0.16) -> dict[Worn, Points]:
    """A lower edge, and the same moved down as the mask is pulled down."""
    shifts: dict[Worn, float] = {"properly": 0.0, "below_nose": below_nose, "on_chin": on_chin}
    return {worn: tuple((x, y + by) for x, y in lower) for worn, by in shifts.items()}


_EAR = ((1.25, 0.25),)
_HEAD_BANDS = ((1.2, -0.05), (1.2, 0.75))

SHAPES: dict[str, MaskShape] = {
    "surgical": MaskShape(
        upper={
            "properly": ((0.0, 0.32), (0.3, 0.42), (0.75, 0.58), (0.98, 0.7)),
            "below_nose": ((0.0, 0.88), (0.35, 0.86), (0.75, 0.8), (0.95, 0.86)),
            "on_chin": ((0.0, 1.3), (0.3, 1.27), (0.62, 1.12), (0.86, 1.02)),
        },
        lower={
            "properly": ((0.95, 1.25), (0.72, 1.7), (0.35, 1.98), (0.0, 2.04)),
            "below_nose": ((0.9, 1.35), (0.7, 1.75), (0.35, 2.02), (0.0, 2.08)),
            "on_chin": ((0.85, 1.4), (0.66, 1.85), (0.34, 2.14), (0.0, 2.2)),
        },
        pleats=(0.45, 0.6, 0.75),
        straps=_EAR,
    ),
    "cup": MaskShape(
        upper={
            "properly": ((0.0, 0.2), (0.16, 0.26), (0.32, 0.5), (0.62, 0.7), (0.86, 0.86)),
            "below_nose": ((0.0, 0.84), (0.2, 0.85), (0.45, 0.86), (0.66, 0.88), (0.84, 1.0)),
            "on_chin": ((0.0, 1.27), (0.2, 1.26), (0.42, 1.2), (0.62, 1.14), (0.8, 1.16)),
        },
        lower=_lowered(((0.9, 1.12), (0.8, 1.5), (0.56, 1.84), (0.28, 2.02), (0.0, 2.08))),
        straps=_HEAD_BANDS,
    ),
    "folded": MaskShape(
        upper={
            "properly": ((0.0, 0.24), (0.2, 0.36), (0.55, 0.62), (1.0, 0.74)),
            "below_nose": ((0.0, 0.86), (0.25, 0.87), (0.6, 0.84), (0.98, 0.86)),
            "on_chin": ((0.0, 1.28), (0.25, 1.26), (0.6, 1.14), (0.9, 1.04)),
        },
        lower=_lowered(((1.0, 0.98), (0.82, 1.45), (0.45, 1.88), (0.0, 2.16))),
        centre_fold=True,
        straps=_EAR,
    ),
    "duckbill": MaskShape(
        upper={
            "properly": ((0.0, 0.3), (0.26, 0.4), (0.6, 0.62), (0.98, 0.86)),
            "below_nose": ((0.0, 0.87), (0.3, 0.86), (0.65, 0.9), (0.98, 1.02)),
            "on_chin": ((0.0, 1.29), (0.3, 1.26), (0.6, 1.18), (0.92, 1.16)),
        },
        lower=_lowered(((1.04, 1.16), (0.86, 1.66), (0.66, 1.94), (0.0, 1.98))),
        pleats=(0.62,),
        sag=-0.08,
        straps=_HEAD_BANDS,
    ),
    "fish": MaskShape(
        upper={
            "properly": ((0.0, 0.26), (0.3, 0.42), (0.62, 0.66), (1.08, 0.92)),
            "below_nose": ((0.0, 0.87), (0.3, 0.86), (0.64, 0.9), (1.04, 1.06)),
            "on_chin": ((0.0, 1.28), (0.3, 1.25), (0.62, 1.17), (0.98, 1.18)),
        },
        lower=_lowered(((1.08, 1.04), (0.74, 1.56), (0.42, 1.92), (0.0, 2.06))),
        pleats=(0.36, 0.7),
        sag=0.0,
        straps=_EAR,
    ),
    "cloth": MaskShape(
        upper={
            "properly": ((0.0, 0.28), (0.28, 0.4), (0.66, 0.6), (1.06, 0.58)),
            "below_nose": ((0.0, 0.86), (0.32, 0.85), (0.7, 0.8), (1.04, 0.72)),
            "on_chin": ((0.0, 1.28), (0.32, 1.25), (0.64, 1.1), (0.96, 0.94)),
        },
        lower=_lowered(((1.08, 0.92), (0.88, 1.48), (0.5, 1.9), (0.0, 2.12))),
        centre_fold=True,
        straps=_EAR,
    ),
    "bandana": MaskShape(
        upper={
            "properly": ((0.0, 0.32), (0.32, 0.36), (0.8, 0.38), (1.25, 0.28)),
            "below_nose": ((0.0, 0.88), (0.35, 0.86), (0.8, 0.74), (1.22, 0.5)),
            "on_chin": ((0.0, 1.32), (0.35, 1.28), (0.75, 1.06), (1.1, 0.76)),
        },
        lower=_lowered(((1.2, 0.9), (1.0, 1.5), (0.62, 2.2), (0.26, 2.8), (0.0, 3.02)), 0.1, 0.3),
        pleats=(0.24, 0.4),
        sag=0.16,
    ),
    "gaiter": MaskShape(
        upper={
            "properly": ((0.0, 0.34), (0.32, 0.38), (0.72, 0.46), (1.12, 0.5)),
            "below_nose": ((0.0, 0.88), (0.35, 0.87), (0.75, 0.82), (1.1, 0.76)),
            "on_chin": ((0.0, 1.32), (0.35, 1.28), (0.72, 1.12), (1.04, 1.0)),
        },
        lower=_lowered(
            ((1.08, 1.2), (0.9, 1.8), (0.84, 2.3), (0.9, 2.9), (0.45, 3.04), (0.0, 3.08)), 0, 0
        ),
        pleats=(0.55, 0.68, 0.8),
        sag=0.14,
    ),
}
"""Shapes by name."""
