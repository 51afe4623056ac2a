"""Tiny faces: such photos are enlarged further and looked at again.

One enlargement does not fit all faces of a photo. Enlarged enough for the smallest, large faces
outgrow what the detector has learnt, and its boxes fall on noses and shirts; so tiny faces are
taken from the closer look, and the others from the first.
"""

from __future__ import annotations

import torch
from torchvision.ops import nms

from pipeline.face_boxes import NMS_IOU, FaceBoxes

CLOSER_FACTOR = 1.7
"""Enlargement of the closer look as a multiple of the first."""

SURE_SCORE = 0.3
"""Score from which a tiny face asks for a closer look."""

TINY_SIDE = 20.0
"""Side under which a face is tiny; these three are pixels of the photo as enlarged first."""

FIRST_FROM, CLOSER_BELOW = 30.0, 40.0
"""The first look's faces count from one side on, the closer look's below another. Between them both
do, and the surer box stays."""


def has_tiny_faces(faces: FaceBoxes, factor: float) -> bool:
    """Whether a photo needs a closer look.

    Args:
        faces: As found in the first look.
        factor: Its enlargement.
    """
    tiny = faces.sides * factor < TINY_SIDE
    return bool((tiny & (faces.scores >= SURE_SCORE)).any())


def merge_looks(first: FaceBoxes, closer: FaceBoxes, factor: float) -> FaceBoxes:
    """The faces of both looks, each size from where it is seen best.

    Args:
        first: Found with the first enlargement.
        closer: Found with `CLOSER_FACTOR` times as much.
        factor: The first enlargement.
    """
    large = first.take(first.sides * factor >= FIRST_FROM)
    small = closer.take(closer.sides * factor < CLOSER_BELOW)
    both = large.join(small)
    keep = nms(torch.from_numpy(both.boxes), torch.from_numpy(both.scores), NMS_IOU)
    return both.take(keep.numpy())
