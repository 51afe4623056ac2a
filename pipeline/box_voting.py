"""Box voting: anchors that agree on a face draw its box together."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

VOTE_IOU = 0.6
"""Boxes that overlap a kept one at least so much have a say in where it lies."""

VOTE_SCORE = 0.02
"""Least score of a box with a say: a fixed one, so that no box depends on the faces asked for."""


def weigh_votes(boxes: Tensor, scores: Tensor, keep: Tensor) -> Tensor:
    """What each box counts for in the kept ones: its score, if it overlaps a kept one well.

    Gidaris and Komodakis 2015, "Object detection via a multi-region and semantic segmentation-aware
    CNN model", section 5.

    Args:
        boxes: N × 4, corners.
        scores: N, positive.
        keep: Indices of the K that non-maximum suppression kept.

    Returns:
        K × N, rows in the order of `keep`; see `take_votes`.
    """
    says = (box_iou(boxes[keep], boxes) >= VOTE_IOU) * scores * (scores >= VOTE_SCORE)
    says[torch.arange(len(keep)), keep] = scores[keep]
    return says


def take_votes(says: Tensor, values: Tensor) -> Tensor:
    """The mean of what all boxes say, each counting for what it has a say in.

    Args:
        says: K × N, from `weigh_votes`.
        values: N × anything, such as the boxes themselves.
    """
    return says @ values / says.sum(dim=1, keepdim=True)
