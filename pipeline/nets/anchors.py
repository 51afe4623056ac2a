"""RetinaFace's anchors, and from offsets to them to boxes in pixels; for arrays and tensors."""

from functools import lru_cache
from typing import Any

import numpy as np

ANCHORS_PER_CELL = 2
STRIDES: tuple[int, ...] = (8, 16, 32)
ANCHOR_SIZES: tuple[tuple[int, ...], ...] = ((16, 32), (64, 128), (256, 512))
VARIANCES: tuple[float, float] = (0.1, 0.2)
"""Scale of centre offsets and of log sizes, after Liu et al. 2016, "SSD"."""


@lru_cache(maxsize=64)
def make_anchors(
    height: int,
    width: int,
    sizes: tuple[tuple[int, ...], ...] = ANCHOR_SIZES,
    strides: tuple[int, ...] = STRIDES,
) -> np.ndarray:
    """Square anchors for an input of this size in pixels; cached, so don't write into the result.

    Anchors × 4, float32: centre x, centre y, width, height; levels, then rows, columns, sizes.
    """
    levels = []
    for stride, level_sizes in zip(strides, sizes, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        anchors = np.empty((rows, columns, len(level_sizes), 4), np.float32)
        anchors[..., :2] = (cells[:, :, None] + 0.5) * stride
        anchors[..., 2:] = np.array(level_sizes)[:, None]
        levels.append(anchors.reshape(-1, 4))
    return np.concatenate(levels)


def decode_boxes(offsets: Any, anchors: Any, xp: Any = np) -> Any:
    """Network offsets (… × anchors × 4) to boxes: xmin, ymin, xmax, ymax.

    `xp` is the library of both: numpy, or torch, by which gradients go through.
    """
    centre = anchors[:, :2] + offsets[..., :2] * VARIANCES[0] * anchors[:, 2:]
    half = anchors[:, 2:] * xp.exp(offsets[..., 2:] * VARIANCES[1]) / 2
    return xp.concatenate([centre - half, centre + half], axis=-1)


def decode_landmarks(offsets: Any, anchors: Any) -> Any:
    """Network offsets to points, anchors × 5 × 2: eyes, nose, mouth corners, as seen."""
    points = offsets.reshape(-1, 5, 2)
    return anchors[:, None, :2] + points * VARIANCES[0] * anchors[:, None, 2:]
