"""The faces that a classifier is shown: crops as fastai DataLoaders, and masks drawn on some."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import IndexSplitter, IntToFloatTensor, ItemGetter
from fastai.torch_core import TensorImage, no_random
from fastai.vision.augment import AffineCoordTfm, affine_mat, aug_transforms
from fastai.vision.core import imagenet_stats
from fastai.vision.data import Normalize
from fasttransform import Pipeline, Transform

from data_prep.base.crop import Colour, fit_crop, resize_crop
from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.base.progress import tell
from data_prep.base.tables import select_sources
from data_prep.grouping.split import TRAIN, VALID
from pipeline.drawing.masks import Worn, draw_mask
from pipeline.inference.detector import Detector
from pipeline.nets.options import DETECTOR, SHIPPED
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.ranks import count_ranks, share_batches

KEPT = 1_000_000_000  # Bytes of crops that a training holds at most.
SMALLEST_SIDE = 16  # Crops are never shrunk below this side: a face of about 11 pixels.

ReadCrop = Callable[[str], np.ndarray]
"""Gives the pixels of a crop by its path: square, uint8, RGB."""


@dataclass(frozen=True)
class TrainingFaces:
    """What a classifier learns from and is validated on."""

    table: pd.DataFrame  # rows of `faces.csv`: `crop`, `label`, `split`; drawn ones, too
    read: ReadCrop
    labels: pd.Series  # of the training faces, without the drawn ones; for the loss weights


def read_file(crop: str) -> np.ndarray:
    """The pixels of a crop's file; raises `PhotoError`."""
    return read_photo(Path(crop)).pixels


class FitCrop(Transform):
    """Brings crops, given by their paths or pixels, to the network's input, 3 × size × size, uint8.

    A share of the training crops is shrunk to a smaller face's size before. Random numbers come
    from the global generators, which the training seeds at every epoch. An exported learner reads
    files, wherever they lie.
    """

    # By name: fastai takes a lone function for a method to be added.
    def __init__(
        self, size: int, colour: Colour, share: float = 0.0, *, read: ReadCrop = read_file
    ) -> None:
        self.size, self.colour, self.share, self.read = size, colour, share, read

    def __reduce__(self) -> tuple[type[FitCrop], tuple[int, Colour, float]]:
        return FitCrop, (self.size, self.colour, self.share)

    # Fastai's own choice of a function by types takes longer than this one.
    def _call(self, nm: str, x: Any, *, split_idx: int | None = None, **_: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(self._call(nm, one, split_idx=split_idx) for one in x)
        if nm != "encodes" or not isinstance(x, str | np.ndarray):
            return x
        pixels = self.read(x) if isinstance(x, str) else x
        if split_idx == 0:
            shrinks, draw = random.random() < self.share, np.random.uniform()
            pixels = shrink_crop(pixels, draw) if shrinks else pixels
        fitted = fit_crop(pixels, self.size, self.colour).transpose(2, 0, 1)
        return TensorImage(torch.from_numpy(np.ascontiguousarray(fitted)))


class QuickPipeline(Pipeline):
    """Transforms in which torch does not ask at every operation of what kind its result is."""

    def __call__(self, batch: Any) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return super().__call__(batch)


def read_crops(prepared: Path = Path(), side: int = 0) -> ReadCrop:
    """What reads the crops of a prepared folder, by their paths in `faces.csv`, or other files.

    Larger ones are shrunk to a `side`, if any; up to `KEPT` stays in memory. Raises `PhotoError`.
    """
    kept: dict[str, np.ndarray] = {}
    room = KEPT

    def read(crop: str) -> np.ndarray:
        nonlocal room
        if crop in kept:
            return kept[crop]
        path = prepared / crop
        pixels = read_file(str(path) if path.is_file() else crop)
        if 0 < side < pixels.shape[0]:
            pixels = resize_crop(pixels, side)
        if pixels.nbytes <= room:
            kept[crop], room = pixels, room - pixels.nbytes
        return pixels

    return read


def shrink_crop(pixels: np.ndarray, draw: float) -> np.ndarray:
    """Shrink a crop to the size of a smaller face, such as crowds have.

    `draw` is from 0, down to `SMALLEST_SIDE`, to 1, as it is; evenly on a logarithmic scale.
    """
    side = pixels.shape[0]
    if side <= SMALLEST_SIDE:
        return pixels
    smaller = round(SMALLEST_SIDE * (side / SMALLEST_SIDE) ** draw)
    return cv2.resize(pixels, (smaller, smaller), interpolation=cv2.INTER_AREA)


def select_faces(faces: pd.DataFrame, recipe: ClassifierRecipe) -> pd.DataFrame:
    """Rows of `faces.csv` a recipe trains and validates on; all validation faces stay.

    With `incorrect` other than `own`, masks worn wrongly are relabelled, or left out of both.
    Raises `PreparedError` if there is too little to train on or nothing to validate on.
    """
    chosen = select_sources(faces, recipe.sources)
    is_valid, is_train = (chosen["split"] == split for split in (VALID, TRAIN))
    chosen = chosen[is_valid | (is_train & (chosen["kept"] | (recipe.faces == "all")))]
    if recipe.incorrect == "exclude":
        chosen = chosen[chosen["label"] != RARE_CLASS]
    elif recipe.incorrect == "without_mask":
        chosen = chosen.assign(label=chosen["label"].replace(RARE_CLASS, BARE))
    train = chosen[chosen["split"] == TRAIN]
    check_classes(chosen)
    missing = [name for name in CLASSES if name in {*chosen["label"]} - {*train["label"]}]
    if missing or len(train) == len(chosen):
        what = f"class {missing[0]} in training" if missing else "the validation split"
        raise PreparedError(f"no face for {what}: check sources {recipe.sources or 'all'}.")
    if len(train) < recipe.batch_size:
        raise PreparedError(
            f"{len(train)} training faces don't fill a batch of {recipe.batch_size}: "
            "use --set batch_size=… with fewer."
        )
    return chosen.reset_index(drop=True)


def learn_all(faces: pd.DataFrame) -> pd.DataFrame:
    """The faces with those of the validation split in training, too."""
    return pd.concat([faces, faces[faces["split"] == VALID].assign(split=TRAIN)])


def check_classes(faces: pd.DataFrame) -> None:
    """Refuse, by `PreparedError`, faces of less than two classes: there is nothing to tell."""
    there = ", ".join({*faces["label"]}) or "none"
    if faces["label"].nunique() < 2:
        raise PreparedError(
            f"{tell(len(faces), 'face')} in train and valid, of class {there} alone: two classes "
            "are needed to tell apart; check datasets and sources."
        )


def make_loaders(
    faces: TrainingFaces, recipe: ClassifierRecipe, size: int, device: torch.device
) -> DataLoaders:
    """Training and validation batches at one input size, by the recipe's augmentation."""
    is_valid = faces.table["split"] == VALID
    train = faces.table[~is_valid]
    rare = train[train["label"] == RARE_CLASS]
    augment = aug_transforms(
        max_rotate=recipe.rotate,
        min_zoom=1 / recipe.zoom,
        max_zoom=recipe.zoom,
        max_lighting=recipe.lighting,
        max_warp=recipe.warp,
        p_affine=0.9,
        xtra_tfms=[AffineCoordTfm(partial(_draw_shift, most=recipe.shift))] * (recipe.shift > 0),
    )
    shown = pd.concat([train, *[rare] * (recipe.repeat_rare - 1)])
    items = pd.concat([shown, faces.table[is_valid]])[["crop", "label"]]
    block = DataBlock(
        blocks=(TransformBlock(batch_tfms=IntToFloatTensor), CategoryBlock(CLASSES, sort=False)),
        get_x=ItemGetter(0),
        get_y=ItemGetter(1),
        splitter=IndexSplitter(range(len(shown), len(items))),
        item_tfms=FitCrop(size, recipe.colour, recipe.downscale, read=faces.read),
        batch_tfms=[*augment, Normalize.from_stats(*imagenet_stats)],
    )
    rows = list(items.itertuples(index=False, name=None))
    with no_random():  # fastai tries an augmented batch, which must not change what is drawn next
        size, pinned = recipe.batch_size // count_ranks(), device.type == "cuda"
        how = {"bs": size, "num_workers": 0, "device": device, "pin_memory": pinned}
        loaders = block.dataloaders(rows, **how)
    for loader in loaders:
        loader.after_batch = QuickPipeline(loader.after_batch)
    if count_ranks() > 1:
        loaders.loaders = list(map(share_batches, loaders.loaders))
    return loaders


def _draw_shift(images: torch.Tensor, most: float) -> torch.Tensor:
    """Affine matrices, one per image; a side is 2 long to them."""
    ones, zeros = images.new_ones(len(images)), images.new_zeros(len(images))
    across, down = (images.new_empty(len(images)).uniform_(-2 * most, 2 * most) for _ in "xy")
    return affine_mat(ones, zeros, across, zeros, ones, down)


def class_weights(labels: pd.Series, recipe: ClassifierRecipe) -> torch.Tensor | None:
    """Loss weights in the order of `CLASSES`, 1 on average over the faces; None for no weights.

    A class that is not learnt weighs as much as the rarest one, which nothing depends on.
    """
    if recipe.class_weights == "none":
        return None
    counts = labels.value_counts().reindex(list(CLASSES), fill_value=0).to_numpy(dtype=float)
    seen = np.maximum(counts, counts[counts > 0].min())
    raw = 1 / seen if recipe.class_weights == "inverse" else 1 / np.sqrt(seen)
    return torch.tensor(raw * counts.sum() / (raw * counts).sum(), dtype=torch.float32)


WAYS: tuple[tuple[Worn, str], ...] = (
    ("below_nose", RARE_CLASS),
    ("on_chin", RARE_CLASS),
    ("below_nose", RARE_CLASS),
    ("properly", MASKED),
)
"""How masks are drawn in turn, and the class they make. Most wrongly worn masks leave the nose
bare. Without masks drawn properly all that is drawn would be worn wrongly."""

LOOK = 192  # Side in pixels that crops are brought to for finding landmarks and drawing.

SMALLEST = 24
"""Crops under this side, faces of about 16 pixels, hold too little of a face to draw on."""

SURE = 0.7  # Least detection score of a face that is drawn on.

NEAR = 0.12  # How far the landmarks may be from the middle of the crop, as a share of its side.


def gather_faces(faces: pd.DataFrame, read: ReadCrop, recipe: ClassifierRecipe) -> TrainingFaces:
    """The faces as a recipe shows them: drawn faces added."""
    labels = faces.loc[faces["split"] == TRAIN, "label"]
    return TrainingFaces(*add_drawn_faces(faces, read, recipe), labels)


def add_drawn_faces(
    faces: pd.DataFrame, read: ReadCrop, recipe: ClassifierRecipe
) -> tuple[pd.DataFrame, ReadCrop]:
    """Add drawn faces to the training faces, of the rare class and a third as many worn properly.

    Also gives what reads them. Fewer are added than `drawn` asks for when there are too few bare
    faces to draw on; each gets one mask of each way at most.
    """
    training = faces[faces["split"] == TRAIN]
    wanted = round(recipe.drawn * (training["label"] == RARE_CLASS).sum())
    if not wanted:
        return faces, read
    draws = np.random.default_rng(recipe.seed)
    pen = Detector.load(SHIPPED / f"{DETECTOR}.safetensors", device=torch.device("cpu"))
    bare = training[training["label"] == BARE]
    each = -(-wanted // sum(label == RARE_CLASS for _, label in WAYS))
    rows: list[dict[Hashable, object]] = []
    crops: dict[str, np.ndarray] = {}
    for turn, (way, label) in enumerate(WAYS):
        for index in draws.permutation(bare.index):
            if len(rows) >= each * (turn + 1):
                break
            row = bare.loc[index].to_dict()
            crop = draw_on_crop(read(row["crop"]), pen, way, draws)
            if crop is not None:
                name = f"{row['crop']}#{turn}"
                crops[name] = crop
                rows.append(row | {"crop": name, "label": label})
    table = pd.concat([faces, pd.DataFrame(rows)], ignore_index=True)
    return table, lambda path: crops[path] if path in crops else read(path)


def find_landmarks(
    crop: np.ndarray, detector: Detector
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop brought to `LOOK`, landmarks (N, 5, 2) of its sure faces, none if it is too small.

    And how far each (N,) is from the middle, as a share of the side.
    """
    large, landmarks = resize_crop(crop, LOOK), np.zeros((0, 5, 2), np.float32)
    if len(crop) >= SMALLEST:
        landmarks = detector.detect([large], resize=1.0, min_score=SURE)[0].landmarks
    return large, landmarks, np.abs(landmarks.mean(axis=1) / LOOK - 0.5).max(axis=1)


def draw_on_crop(
    crop: np.ndarray, detector: Detector, way: Worn, random: np.random.Generator
) -> np.ndarray | None:
    """Draw a mask on a crop's face, `LOOK` wide at most; None: small, or none in its middle."""
    side, (large, landmarks, away) = crop.shape[0], find_landmarks(crop, detector)
    near = np.flatnonzero(away < NEAR)
    if not len(near):
        return None
    colour, straps = pick_colour(random), random.uniform() < 0.5
    drawn = draw_mask(large, landmarks[near[0]], way, colour, straps=straps)
    return resize_crop(drawn, side) if side < LOOK else drawn


def pick_colour(random: np.random.Generator) -> tuple[int, int, int]:
    """RGB of a mask as they are worn: half light blue or white, else any colour, black included."""
    kind = random.uniform()
    if kind < 0.35:
        hue, saturation, value = random.uniform(0.5, 0.6), random.uniform(0.15, 0.5), 0.85
    elif kind < 0.6:
        hue, saturation, value = 0.0, 0.0, random.uniform(0.8, 1.0)
    elif kind < 0.75:
        hue, saturation, value = 0.0, 0.0, random.uniform(0.08, 0.25)
    else:
        hue, saturation, value = random.uniform(0, 1), random.uniform(0.2, 0.8), 0.7
    red, green, blue = (round(255 * level) for level in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
