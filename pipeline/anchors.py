"""Anchors of the detector, and boxes relative to them. All in pixels of the network's input."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

AnchorSizes = tuple[tuple[int, ...], ...]

STRIDES: tuple[int, ...] = (8, 16, 32)
ANCHOR_SIZES: AnchorSizes = ((16, 32), (64, 128), (256, 512))
VARIANCES: tuple[float, float] = (0.1, 0.2)
"""Scale of centre offsets and of log sizes, after Liu et al. 2016, "SSD"."""


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # or else training could not use what detection made
def make_anchors(
    height: int,
    width: int,
    sizes: AnchorSizes = ANCHOR_SIZES,
    strides: tuple[int, ...] = STRIDES,
) -> Tensor:
    """Square anchors for one input size; cached, so don't write into the result.

    Args:
        height: Input height in pixels.
        width: Input width in pixels.
        sizes: Sides of the anchors of each level.
        strides: Stride of each level.

    Returns:
        Anchors × 4: centre x, centre y, width, height; levels one after the other, rows before
        columns, then sizes.
    """
    levels = []
    for stride, level_sizes in zip(strides, sizes, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres = (torch.stack([x, y], dim=-1).float() + 0.5) * stride
        centres = centres[:, :, None, :].expand(-1, -1, len(level_sizes), -1)
        sides = torch.tensor(level_sizes).float()[None, None, :, None].expand_as(centres)
        levels.append(torch.cat([centres, sides], dim=-1).reshape(-1, 4))
    return torch.cat(levels)


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Network offsets to corner boxes.

    Args:
        offsets: … × anchors × 4.
        anchors: Anchors × 4, from `make_anchors`.

    Returns:
        … × anchors × 4: xmin, ymin, xmax, ymax.
    """
    centre = anchors[:, :2] + offsets[..., :2] * VARIANCES[0] * anchors[:, 2:]
    half = anchors[:, 2:] * torch.exp(offsets[..., 2:] * VARIANCES[1]) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def decode_landmarks(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Network offsets to points.

    Args:
        offsets: … × anchors × 10.
        anchors: Anchors × 4.

    Returns:
        … × anchors × 5 × 2: left eye, right eye, nose, left and right mouth corner, as seen in
        the photo.
    """
    points = offsets.unflatten(-1, (5, 2))
    return anchors[:, None, :2] + points * VARIANCES[0] * anchors[:, None, 2:]
