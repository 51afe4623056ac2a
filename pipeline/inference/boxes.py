"""What a detector finds in a photo, and what finds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from data_prep.base.boxes import share_union, shared_areas

NMS_IOU = 0.4  # Of two boxes that overlap more, only the surer one is kept.


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float = np.inf) -> np.ndarray:
    """Non-maximum suppression: indices of the `most` surest boxes that overlap no kept, surer one.

    Best first; of equal scores the first is the surer. As `torchvision.ops.nms` with `NMS_IOU`.
    """
    order, keep = np.argsort(-scores, kind="stable"), list[int]()
    while len(order) and len(keep) < most:
        keep.append(order[0])
        overlaps = share_union(boxes[order[:1]], boxes[order[1:]])[0]
        order = order[1:][~(overlaps > np.float64(NMS_IOU))]
    return np.array(keep, np.intp)


@dataclass(frozen=True)
class FaceBoxes:
    """Faces found in one photo, best first; all float32."""

    boxes: np.ndarray  # Faces × 4, pixels of the photo, clipped to it.
    scores: np.ndarray  # Faces, 0 to 1.
    landmarks: np.ndarray
    """Faces × 5 × 2: left eye, right eye, nose, left and right mouth corner, as seen."""
    probabilities: np.ndarray | None = None
    """Faces × 3, in the order of `CLASSES`; None from a detector that only finds faces."""

    @property
    def sides(self) -> np.ndarray:
        """Faces: the shorter side of each box in pixels of the photo."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1)

    def take(self, rows: np.ndarray) -> FaceBoxes:
        """Some of the faces, by index or flag."""
        shares = None if self.probabilities is None else self.probabilities[rows]
        return FaceBoxes(self.boxes[rows], self.scores[rows], self.landmarks[rows], shares)

    def mirror(self, width: int) -> FaceBoxes:
        """The faces of a mirrored photo, so many pixels wide, as they lie in the photo itself."""
        boxes, points = self.boxes.copy(), self.landmarks[:, [1, 0, 2, 4, 3]]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        points[..., 0] = width - points[..., 0]
        return replace(self, boxes=boxes, landmarks=points)

    def join(self, other: FaceBoxes) -> FaceBoxes:
        """These faces, then those that the same detector found at another scale."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        both: list[Any] = [None if a is None else np.concatenate([a, b]) for a, b in pairs]
        return FaceBoxes(*both)


COVERED, TIMES = 0.6, 4.0
"""A box that covers this share of a surer face, and is so many times as large, is none itself.

Chosen on the training photos of both datasets, where it takes away 226 boxes, none of them a face,
and average precision gains 0.00004 (facemask) and 0.00014 (ilc)."""


def drop_containers(faces: FaceBoxes) -> FaceBoxes:
    """The faces without boxes that hold a surer face, such as a person's torso with the head.

    Whether one is dropped depends on surer boxes only, so that a higher threshold gives a part of
    the faces of a lower one.
    """
    boxes, areas = faces.boxes, (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
    holds = shared_areas(boxes, boxes) >= COVERED * areas
    surer = faces.scores > faces.scores[:, None]
    return faces.take(~(holds & surer & (areas[:, None] >= TIMES * areas)).any(axis=1))


MIN_SCORE = 0.02
MAX_FACES = 750

VOTE_IOU = 0.6  # Boxes that overlap a kept one at least so much have a say in where it lies.

VOTE_SCORE = 0.02
"""Least score of a box with a say: a fixed one, so that no box depends on the faces asked for."""


def weigh_votes(boxes: np.ndarray, scores: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """What each of N boxes counts for in the K kept ones: its score, if it overlaps a kept one.

    Gidaris and Komodakis 2015, "Object detection via a multi-region and semantic segmentation-aware
    CNN model", section 5. K × N, rows in the order of `keep`; see `take_votes`.
    """
    # One by one: what all together take leaves the processor's cache.
    near = np.array([share_union(boxes[[one]], boxes)[0] >= VOTE_IOU for one in keep], bool)
    near = near.reshape(len(keep), len(boxes))
    says = near * np.where(scores >= VOTE_SCORE, scores, np.float32(0))
    says[np.arange(len(keep)), keep] = scores[keep]
    return says


def take_votes(says: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of N × anything, such as the boxes, by their votes (K × N) from `weigh_votes`."""
    return says @ values / says.sum(axis=1, keepdims=True)


SURE_SCORE = 0.3  # Score from which a face asks for a second look.

Sides = tuple[float, float]  # From one to below the other, in pixels at the first look's scale.


@dataclass(frozen=True)
class SecondLook:
    """A look at another scale, where the first one sees faces of a size that it does not see well.

    Where faces of both looks count the surer box stays.
    """

    scale: float  # Enlargement as a multiple of the first look's.
    asks: Sides  # Of faces that ask for it.
    first: Sides  # Of those that still count from the first look,
    second: Sides  # and from this one.

    def is_asked(self, found: FaceBoxes, factor: float) -> bool:
        """Whether a photo needs it, by what the first look found, enlarged by this factor."""
        asks = _lie_within(found.sides * factor, self.asks) & (found.scores >= SURE_SCORE)
        return bool(asks.any())

    def merge(self, found: FaceBoxes, again: FaceBoxes, factor: float) -> FaceBoxes:
        """The faces found so far and those of this look, each size from where it is seen best."""
        counts = _lie_within(found.sides * factor, self.first)
        more = _lie_within(again.sides * factor, self.second)
        both = found.take(counts).join(again.take(more))
        return both.take(suppress(both.boxes, both.scores))


def _lie_within(sides: np.ndarray, ends: Sides) -> np.ndarray:
    return (sides >= ends[0]) & (sides < ends[1])


TINY = SecondLook(1.7, asks=(0, 20), first=(30, np.inf), second=(0, 40))

HUGE = SecondLook(0.5, asks=(350, np.inf), first=(0, 280), second=(210, np.inf))
"""Faces of more than 350 pixels get several boxes, none of them good. Chosen on 627 training photos
of ilc among sides of 250 to 400 and scales of 0.35 and 0.5, between which face AP hardly differs:
0.890 before, 0.905 to 0.908 with any of them."""


CLOSER, CLOSER_BELOW = 1.25, 150.0
"""Enlargement of the third of the looks that are fused, as a multiple of the first's, and the side,
in pixels at the first scale, under which its faces count. Chosen by face AP on 260 training photos
of both datasets, with equal weights: of 1.25 and 1.44, 40 to 250 pixels and none."""


def fuse_looks(
    first: FaceBoxes, mirrored: FaceBoxes, closer: FaceBoxes, factor: float
) -> FaceBoxes:
    """What three looks at one photo, the first enlarged so, found: each face once, surest first.

    Boxes are the mean of their votes, see `weigh_votes`; a face's score is the mean of its surest
    box of each look that counts, 0 where there is none. Solovyev, Wang, Gabruseva 2021, "Weighted
    boxes fusion: Ensembling boxes from different object detection models".
    """
    looks = (first, mirrored, closer.take(closer.sides * factor < CLOSER_BELOW))
    faces = reduce(FaceBoxes.join, looks)
    look = np.repeat(np.arange(len(looks)), [len(one.scores) for one in looks])
    keep = suppress(faces.boxes, faces.scores)
    says = weigh_votes(faces.boxes, faces.scores, keep)
    surest = np.stack([says[:, look == place].max(axis=1, initial=0) for place in range(3)])
    told = None if faces.probabilities is None else take_votes(says, faces.probabilities)
    boxes = take_votes(says, faces.boxes)
    fused = FaceBoxes(boxes, surest.mean(axis=0), faces.landmarks[keep], told)
    large = fused.sides * factor >= CLOSER_BELOW
    fused = replace(fused, scores=np.where(large, surest[:2].mean(axis=0), fused.scores))
    return fused.take(np.argsort(-fused.scores, kind="stable"))
