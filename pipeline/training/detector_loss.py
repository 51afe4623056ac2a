"""What the detector learns from: anchors matched to faces, and the losses on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, distance_box_iou_loss

from pipeline.nets.retinaface import HeadOutputs, decode_boxes
from pipeline.runs.recipe import DetectorRecipe

BACKGROUND, FACE, IGNORED = 0, 1, -1
"""What an anchor should answer. Where classes are told apart, they are numbered from `FACE` on."""


@dataclass(frozen=True)
class Targets:
    """What each anchor of a batch should answer."""

    classes: Tensor  # batch × anchors, int64: `BACKGROUND`, `FACE` and above, or `IGNORED`
    boxes: Tensor  # batch × anchors × 4: the matched face's corners; meaningless without one
    score_only: Tensor  # batch, bool: windows that teach no boxes

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return Targets(self.classes.to(device), self.boxes.to(device), self.score_only.to(device))


def match_anchors(
    boxes: Tensor, names: Tensor, anchors: Tensor, *, positive_iou: float, min_face: float
) -> tuple[Tensor, Tensor]:
    """Assign faces to anchors of one window: classes (anchors) and corners (anchors × 4).

    An anchor takes the face it overlaps most, when their IoU reaches `positive_iou`; every face
    keeps its best anchor whatever the overlap (Liu et al. 2016). Anchors on faces under `min_face`
    are ignored: those that would match a face of the smallest anchor's size at that place, since
    no anchor overlaps the tiny face itself enough. Boxes are corners in pixels, anchors centre and
    size; `names` is what the anchors of each face should answer.
    """
    classes = torch.full((len(anchors),), BACKGROUND)
    matched = anchors.new_zeros(len(anchors), 4)
    if not len(boxes):
        return classes, matched
    half = anchors[:, 2:] / 2
    corners = torch.cat([anchors[:, :2] - half, anchors[:, :2] + half], dim=1)
    tiny = (boxes[:, 2:] - boxes[:, :2]).min(dim=1).values < min_face
    overlap = box_iou(_grow(boxes, tiny, anchors[:, 2:].min()), corners)
    best_iou, best_face = overlap.max(dim=0)
    best_anchor = overlap.argmax(dim=1)
    faces = torch.arange(len(boxes))
    best_face[best_anchor[~tiny]] = faces[~tiny]
    best_iou[best_anchor[~tiny]] = 1.0
    positive = best_iou >= positive_iou
    classes[positive] = names[best_face[positive]]
    classes[positive & tiny[best_face]] = IGNORED
    matched = boxes[best_face]
    return classes, matched


def _grow(boxes: Tensor, tiny: Tensor, side: Tensor) -> Tensor:
    """Tiny boxes with sides of at least `side` around the same centre; others as they are."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = torch.where(tiny[:, None], half.clamp(min=float(side) / 2), half)
    return torch.cat([centre - half, centre + half], dim=1)


def match_batch(
    boxes: list[Tensor],
    names: list[Tensor],
    score_only: Tensor,
    anchors: Tensor,
    recipe: DetectorRecipe,
) -> Targets:
    """`match_anchors` for every window of a batch."""
    limits = {"positive_iou": recipe.positive_iou, "min_face": recipe.min_face}
    some = zip(boxes, names, strict=True)
    pairs = [match_anchors(faces, own, anchors, **limits) for faces, own in some]
    classes, matched = map(torch.stack, zip(*pairs, strict=True))
    return Targets(classes, matched, score_only)


def spare_unboxed(targets: Targets, teacher: HeadOutputs, recipe: DetectorRecipe) -> Targets:
    """Ignore what may be a face that annotators left unboxed, by the start weights' outputs.

    In windows of `score_only` datasets, anchors off all boxes are background only where the start
    weights see none: trusting them all would unlearn faces, and trusting none of them would teach
    that such photos are faces all over.
    """
    maybe_face = teacher.scores.float().softmax(dim=-1)[..., FACE] > recipe.sure_background
    doubtful = maybe_face & targets.score_only[:, None] & (targets.classes == BACKGROUND)
    return replace(targets, classes=targets.classes.masked_fill(doubtful, IGNORED))


def detector_loss(
    outputs: HeadOutputs,
    teacher: HeadOutputs,
    targets: Targets,
    anchors: Tensor,
    recipe: DetectorRecipe,
) -> dict[str, Tensor]:
    """The weighted losses of a batch, `scores`, `boxes`, `landmarks`, and their sum `total`.

    Scores: cross entropy, over background and every class, on the faces and on the hardest
    background anchors. Boxes: distance-IoU loss (Zheng et al. 2020, "Distance-IoU loss"), which
    counts a pixel on a small face for more than one on a large face. Landmarks: smooth L1 to the
    start weights' answer (`teacher`), since the annotations have none and unlearning them would
    spoil the shared features.
    """
    face = targets.classes >= FACE
    boxed = face & ~targets.score_only[:, None]
    count = face.sum().clamp(min=1)
    scores = outputs.scores.float()
    losses = F.cross_entropy(
        scores.flatten(0, 1), targets.classes.flatten().clamp(min=0), reduction="none"
    ).view_as(targets.classes)
    hard = _hardest_background(losses.detach(), targets.classes, recipe.negatives)
    score_loss = losses[face | hard].sum() / count
    decoded = decode_boxes(outputs.boxes.float(), anchors)[boxed]
    box_loss = distance_box_iou_loss(decoded, targets.boxes[boxed], reduction="sum")
    box_loss = box_loss / boxed.sum().clamp(min=1)
    landmark_loss = F.smooth_l1_loss(
        outputs.landmarks.float()[face], teacher.landmarks.float()[face], reduction="sum"
    ) / (10 * count)
    parts = {
        "scores": score_loss,
        "boxes": recipe.box_weight * box_loss,
        "landmarks": recipe.landmark_weight * landmark_loss,
    }
    return {**parts, "total": torch.stack(list(parts.values())).sum()}


def _hardest_background(losses: Tensor, classes: Tensor, ratio: int) -> Tensor:
    """Mask of the `ratio` × faces background anchors with the highest loss in each window."""
    ranked = losses.masked_fill(classes != BACKGROUND, -1.0)
    wanted = (ratio * (classes >= FACE).sum(dim=1)).clamp(min=ratio, max=classes.shape[1] - 1)
    order = ranked.argsort(dim=1, descending=True)
    place = torch.empty_like(order)
    place.scatter_(1, order, torch.arange(classes.shape[1], device=order.device).expand_as(order))
    return (place < wanted[:, None]) & (classes == BACKGROUND)
