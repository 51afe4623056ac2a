"""What the detector learns from: windows cut from photos, anchors matched to faces, the losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.ops import box_convert, box_iou, distance_box_iou_loss

from data_prep.base.labels import BARE, CLASSES, RARE_CLASS
from data_prep.base.photo import read_photo
from evaluate.measures.matching import paired_iou
from pipeline.nets.anchors import decode_boxes
from pipeline.nets.options import find_boxes
from pipeline.nets.retinaface import HeadOutputs
from pipeline.runs.recipe import DetectorRecipe

COLOUR = 0.3  # Brightness, contrast and saturation change by up to this share.

Window = tuple[Tensor, Tensor, Tensor, tuple[bool, bool]]
"""Pixels, boxes, their classes, and `Targets.unboxed` and `score_only` of it."""

GREY_SHARE = 0.05


@dataclass(frozen=True)
class Scene:
    """A photo with its boxes.

    `classes`, int64, are what the faces' anchors should answer: `FACE`, or from there on the number
    of the learnt class; `IGNORED` for a class that is left out.
    """

    source: str
    path: Path
    size: tuple[int, int]  # (width, height) that the boxes refer to
    boxes: np.ndarray  # faces × 4, float32, in pixels of the photo
    classes: np.ndarray


def collect_scenes(
    faces: pd.DataFrame, roots: dict[str, Path], recipe: DetectorRecipe
) -> list[Scene]:
    """One scene per photo of a `faces.csv`, sorted by source and image."""
    answers = dict.fromkeys(CLASSES, FACE)
    if recipe.classify:
        answers = {name: FACE + place for place, name in enumerate(recipe.learnt)}
        if recipe.incorrect == "without_mask":
            answers[RARE_CLASS] = answers[BARE]
    scenes = []
    for key, rows in faces.groupby(["source", "image"], sort=True):
        source, image = map(str, key)
        boxes = rows[["xmin", "ymin", "xmax", "ymax"]].to_numpy(np.float32)
        size = (int(rows["width"].iloc[0]), int(rows["height"].iloc[0]))
        classes = np.array([answers.get(label, IGNORED) for label in rows["label"]], np.int64)
        scenes.append(Scene(source, roots[source] / image, size, boxes, classes))
    return scenes


class WindowDataset(Dataset[Window]):
    """Random windows of the scenes, a fresh one for every index, the same in every run.

    Items are a window (3 × side × side, uint8, RGB), its boxes (faces × 4, pixels of the window; of
    sources with a convention as the detector would draw them), what they are (faces, see
    `Scene.classes`), and its marks. Scenes are reshuffled every time all have been seen.
    """

    def __init__(self, scenes: Sequence[Scene], recipe: DetectorRecipe) -> None:
        self.scenes = scenes
        self.recipe = recipe
        self.quarter = recipe.model_copy(update={"input_size": recipe.input_size // 2})
        self.drawn = {source: find_boxes(name) for source, name in recipe.conventions.items()}

    def __len__(self) -> int:
        return self.recipe.steps * self.recipe.batch_size

    def __getitem__(self, index: int) -> Window:
        lap, place = divmod(index, len(self.scenes))
        order = np.random.default_rng((self.recipe.seed, lap)).permutation(len(self.scenes))
        scene, side = self.scenes[order[place]], self.recipe.input_size
        rng = np.random.default_rng((self.recipe.seed, index, 1))
        # Chance of its own, so that the other draws are those of a recipe without.
        chance = np.random.default_rng((self.recipe.seed, index, 3))
        if chance.random() < self.recipe.mosaic:
            kin = [one for one in self.scenes if one.source == scene.source]
            four = [scene, *(kin[place] for place in chance.integers(len(kin), size=3))]
            parts = [self._cut(one, self.quarter, index, rng) for one in four]
            rows = [np.hstack([part[0] for part in parts[at : at + 2]]) for at in (0, 2)]
            window, classes = np.vstack(rows), np.concatenate([part[2] for part in parts])
            moves = side // 2 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
            moved = [part[1] + np.tile(move, 2) for part, move in zip(parts, moves, strict=True)]
            boxes = np.concatenate(moved)
        else:
            window, boxes, classes = self._cut(scene, self.recipe, index, rng)
        window = recolour(window, rng)
        if rng.random() < 0.5:
            window = window[:, ::-1]
            boxes = boxes.copy()
            boxes[:, [0, 2]] = side - boxes[:, [2, 0]]
        pixels = torch.from_numpy(window.transpose(2, 0, 1).copy())
        unboxed = scene.source in self.recipe.score_only
        marks = unboxed, unboxed and scene.source not in self.drawn
        return pixels, torch.from_numpy(boxes), torch.from_numpy(classes), marks

    def _cut(
        self, scene: Scene, recipe: DetectorRecipe, index: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A square window of a scene, its boxes, and what they are."""
        pixels = read_photo(scene.path, fit_size=scene.size).pixels
        drawn = self.drawn.get(scene.source)
        boxes = drawn.undo(scene.boxes).astype(np.float32) if drawn else scene.boxes
        if recipe.rotated:
            turn = np.random.default_rng((self.recipe.seed, index, 2))
            pixels, boxes = rotate_photo(pixels, boxes, int(turn.choice([0, *recipe.rotated])))
        window, boxes, inside = cut_window(pixels, boxes, recipe, rng)
        return window, boxes, scene.classes[inside]


def rotate_photo(
    pixels: np.ndarray, boxes: np.ndarray, angle: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate a photo with its boxes (faces × 4) by a multiple of 90 degrees, counter-clockwise."""
    for _ in range(angle // 90 % 4):
        xmin, ymin, xmax, ymax = boxes.T
        width = pixels.shape[1]
        boxes = np.stack([ymin, width - xmax, ymax, width - xmin], axis=1).astype(boxes.dtype)
        pixels = np.rot90(pixels)
    return np.ascontiguousarray(pixels), boxes


def cut_window(
    pixels: np.ndarray, boxes: np.ndarray, recipe: DetectorRecipe, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale a photo and cut a square window around one of its faces, grey where the photo ends.

    Also the boxes centred in it, clipped to it, in its pixels; and of each box whether it is there.
    """
    height, width = pixels.shape[:2]
    low, high = np.log(recipe.longest)
    factor = float(np.exp(rng.uniform(low, high))) / max(height, width)
    side = recipe.input_size
    face = boxes[rng.integers(len(boxes))] if len(boxes) else np.array([0, 0, width, height])
    start = []
    for axis, length in ((0, width), (1, height)):
        centre = (face[axis] + face[axis + 2]) / 2 * factor
        scaled = length * factor
        if scaled <= side:
            start.append(-rng.uniform(0, side - scaled))
        else:
            wanted = centre - rng.uniform(0.1, 0.9) * side
            start.append(float(np.clip(wanted, 0, scaled - side)))
    matrix = np.array([[factor, 0, -start[0]], [0, factor, -start[1]]])
    # warpAffine maps pixel centres, boxes are measured from the pixel's corner.
    matrix[:, 2] += 0.5 * factor - 0.5
    # Linear, with a constant border.
    window = cv2.warpAffine(pixels, matrix, (side, side), borderValue=(114, 114, 114))
    moved = boxes * factor - np.tile(np.array(start, dtype=np.float32), 2)
    centres = (moved[:, :2] + moved[:, 2:]) / 2
    inside = np.logical_and(centres > 0, centres < side).all(axis=1)
    return window, np.clip(moved[inside], 0, side).astype(np.float32), inside


def recolour(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast and saturation of uint8 RGB at random; sometimes make it grey."""
    pixels = window.astype(np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    saturation = 0.0 if rng.random() < GREY_SHARE else rng.uniform(1 - COLOUR, 1 + COLOUR)
    pixels = grey[..., None] * (1 - saturation) + pixels * saturation
    contrast = rng.uniform(1 - COLOUR, 1 + COLOUR)
    brightness = rng.uniform(-COLOUR, COLOUR) * 100
    pixels = (pixels - grey.mean()) * contrast + grey.mean() + brightness
    return np.clip(pixels, 0, 255).astype(np.uint8)


def collate_windows(items: list[Window]) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """Stack the windows; boxes and classes stay lists, since their number differs."""
    windows, boxes, classes, marks = zip(*items, strict=True)
    return torch.stack(windows), list(boxes), list(classes), torch.tensor(marks)


BACKGROUND, FACE, IGNORED = 0, 1, -1
"""What an anchor should answer. Where classes are told apart, they are numbered from `FACE` on."""


class Targets(NamedTuple):
    """What each anchor of a batch should answer."""

    classes: Tensor  # batch × anchors, int64: `BACKGROUND`, `FACE` and above, or `IGNORED`
    boxes: Tensor  # batch × anchors × 4: the matched face's corners; meaningless without one
    unboxed: Tensor  # batch, bool: windows where annotators may have left faces out
    score_only: Tensor  # batch, bool: windows that teach no boxes


def match_anchors(
    boxes: Tensor, names: Tensor, anchors: Tensor, recipe: DetectorRecipe
) -> tuple[Tensor, Tensor]:
    """Assign faces to anchors of one window: classes (anchors) and corners (anchors × 4).

    An anchor takes the face it overlaps most, when their IoU reaches `positive_iou`; every face
    keeps its best anchor whatever the overlap (Liu et al. 2016). Anchors on faces under `min_face`
    are ignored: those that would match a face of the smallest anchor's size at that place, since
    no anchor overlaps the tiny face itself enough. Boxes are corners in pixels, anchors centre and
    size; `names` is what the anchors of each face should answer.
    """
    classes = torch.full((len(anchors),), BACKGROUND)
    if not len(boxes):
        return classes, anchors.new_zeros(len(anchors), 4)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    tiny = (boxes[:, 2:] - boxes[:, :2]).min(dim=1).values < recipe.min_face
    half = torch.where(tiny[:, None], half.clamp(min=float(anchors[:, 2:].min()) / 2), half)
    grown = torch.cat([centre - half, centre + half], dim=1)
    overlap = box_iou(grown, box_convert(anchors, "cxcywh", "xyxy"))
    best_iou, best_face = overlap.max(dim=0)
    best_anchor = overlap.argmax(dim=1)
    faces = torch.arange(len(boxes))
    best_face[best_anchor[~tiny]] = faces[~tiny]
    best_iou[best_anchor[~tiny]] = 1.0
    positive = best_iou >= recipe.positive_iou
    classes[positive] = names[best_face[positive]]
    classes[positive & tiny[best_face]] = IGNORED
    return classes, boxes[best_face]


def match_batch(
    boxes: list[Tensor], names: list[Tensor], marks: Tensor, anchors: Tensor, recipe: DetectorRecipe
) -> Targets:
    """`match_anchors` for every window of a batch."""
    some = zip(boxes, names, strict=True)
    pairs = [match_anchors(faces, own, anchors, recipe) for faces, own in some]
    classes, matched = map(torch.stack, zip(*pairs, strict=True))
    return Targets(classes, matched, *marks.T)


def spare_unboxed(targets: Targets, teacher: HeadOutputs, recipe: DetectorRecipe) -> Targets:
    """Ignore what may be a face that annotators left unboxed, by the start weights' outputs.

    In `unboxed` windows, anchors off all boxes are background only where these see none: trusting
    all would unlearn faces, trusting none would teach that such photos are faces all over.
    """
    face = teacher.scores.float().softmax(dim=-1)[..., FACE:].sum(dim=-1)
    doubtful = (
        (face > recipe.sure_background) & targets.unboxed[:, None] & (targets.classes == BACKGROUND)
    )
    return targets._replace(classes=targets.classes.masked_fill(doubtful, IGNORED))


def detector_loss(
    outputs: HeadOutputs,
    teacher: HeadOutputs,
    targets: Targets,
    anchors: Tensor,
    recipe: DetectorRecipe,
) -> dict[str, Tensor]:
    """The weighted losses of a batch, `scores`, `boxes`, `landmarks`, and their sum `total`.

    Scores: cross entropy, over background and every class, on the faces and on the hardest
    background anchors; the score that a face is to reach is the lower the worse its box, by the
    share `quality` of what "VarifocalNet" does (Zhang et al. 2021). Boxes: distance-IoU loss (Zheng
    et al. 2020, "Distance-IoU loss"), which counts a pixel on a small face for more than one on a
    large face. Landmarks: smooth L1 to the start weights' answer (`teacher`), since the annotations
    have none and unlearning them would spoil the shared features.
    """
    face = targets.classes >= FACE
    boxed = face & ~targets.score_only[:, None]
    count = face.sum().clamp(min=1)
    decoded = decode_boxes(outputs.boxes.float(), anchors, torch)[boxed]
    truth = targets.boxes[boxed]
    scores = outputs.scores.float()
    losses = F.cross_entropy(
        scores.flatten(0, 1), targets.classes.flatten().clamp(min=0), reduction="none"
    ).view_as(targets.classes)
    hard = _hardest_background(losses.detach(), targets.classes, recipe.negatives)
    if recipe.quality:  # A score to reach of 1 - lost in place of 1 adds lost × its logit.
        own = scores[boxed].gather(1, targets.classes[boxed][:, None])[:, 0]
        iou = paired_iou(decoded.detach().cpu().numpy(), truth.cpu().numpy())
        lost = recipe.quality * (1 - torch.from_numpy(iou).to(own))
        losses[boxed] += lost * (own - scores[boxed][:, BACKGROUND])
    score_loss = losses[face | hard].sum() / count
    box_loss = distance_box_iou_loss(decoded, truth, reduction="sum")
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
    return (order.argsort(dim=1) < wanted[:, None]) & (classes == BACKGROUND)
