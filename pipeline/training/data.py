"""Crops of a prepared folder as fastai DataLoaders."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
from fasttransform import Transform

from data_prep.base.crop import Colour, fit_crop
from data_prep.base.labels import BARE, CLASSES, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.base.tables import select_sources
from data_prep.grouping.split import TRAIN, VALID
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import ClassifierRecipe

SMALLEST_SIDE = 16  # Crops are never shrunk below this side: a face of about 11 pixels.

ReadCrop = Callable[[str], np.ndarray]
"""Gives the pixels of a crop by its path: square, uint8, RGB."""


@dataclass(frozen=True)
class TrainingFaces:
    """What a classifier learns from and is validated on."""

    table: pd.DataFrame  # rows of `faces.csv`: `crop`, `label`, `split`; drawn, rotated ones, too
    read: ReadCrop
    labels: pd.Series  # of the training faces, without the drawn ones; for the loss weights


class OpenCrop(Transform):
    """Reads a crop by its path; an exported learner reads files, wherever they lie."""

    # By name only: fastai takes a lone function for a method to be added.
    def __init__(self, *, read: ReadCrop) -> None:
        self.read = read

    def __reduce__(self) -> tuple[partial[OpenCrop], tuple[()]]:
        return partial(OpenCrop, read=read_file), ()

    def encodes(self, crop: str) -> np.ndarray:
        return self.read(crop)


class ShrinkSome(Transform):
    """Shrinks a share of the training crops to a smaller face's size.

    Random numbers come from the global generators, which the training seeds at every epoch.
    """

    split_idx = 0  # fastai's number of the training set

    def __init__(self, share: float) -> None:
        self.share = share

    def encodes(self, pixels: np.ndarray) -> np.ndarray:
        shrinks, draw = random.random() < self.share, np.random.uniform()
        return shrink_crop(pixels, draw) if shrinks else pixels


class FitCrop(Transform):
    """Brings crops to the network's input: 3 × size × size, uint8."""

    def __init__(self, size: int, colour: Colour) -> None:
        self.size, self.colour = size, colour

    def encodes(self, pixels: np.ndarray) -> TensorImage:
        fitted = fit_crop(pixels, self.size, self.colour).transpose(2, 0, 1)
        return TensorImage(torch.from_numpy(np.ascontiguousarray(fitted)))


def read_file(crop: str) -> np.ndarray:
    """The pixels of a crop's file; raises `PhotoError`."""
    return read_photo(Path(crop)).pixels


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

    Raises:
        TableError: The recipe names a dataset that is not there.
        PreparedError: A split is empty, a class that is there has no training face, there is only
            one class, or all training faces are fewer than a batch.
    """
    chosen = select_sources(faces, recipe.sources)
    is_valid = chosen["split"] == VALID
    is_kept = chosen["kept"] | (recipe.faces == "all")
    chosen = chosen[is_valid | ((chosen["split"] == TRAIN) & is_kept)]
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


def check_classes(faces: pd.DataFrame) -> None:
    """Refuse, by `PreparedError`, faces of less than two classes: there is nothing to tell."""
    there = {*faces["label"]}
    if len(there) < 2:
        raise PreparedError(
            f"{len(faces)} faces in train and valid, of class {', '.join(there) or 'none'} alone: "
            "two classes are needed to tell apart; check datasets and sources."
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
        blocks=(
            TransformBlock(OpenCrop(read=faces.read), batch_tfms=IntToFloatTensor),
            CategoryBlock(CLASSES, sort=False),
        ),
        get_x=ItemGetter(0),
        get_y=ItemGetter(1),
        splitter=IndexSplitter(range(len(shown), len(items))),
        item_tfms=[ShrinkSome(recipe.downscale), FitCrop(size, recipe.colour)],
        batch_tfms=[*augment, Normalize.from_stats(*imagenet_stats)],
    )
    with no_random():  # fastai tries an augmented batch, which must not change what is drawn next
        return block.dataloaders(
            list(items.itertuples(index=False, name=None)),
            bs=recipe.batch_size,
            num_workers=0,
            device=device,
        )


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


def add_rotated_faces(
    faces: pd.DataFrame, read: ReadCrop, recipe: ClassifierRecipe
) -> tuple[pd.DataFrame, ReadCrop]:
    """Add a rotated copy of every training face for every angle; also gives what reads them."""
    if not recipe.rotated:
        return faces, read
    training = faces[faces["split"] == TRAIN]
    copies = [training.assign(crop=training["crop"] + f"@{angle}") for angle in recipe.rotated]
    made = {
        f"{crop}@{angle}": (crop, angle) for crop in training["crop"] for angle in recipe.rotated
    }

    def read_rotated(path: str) -> np.ndarray:
        crop, angle = made.get(path, (path, 0))
        return np.ascontiguousarray(np.rot90(read(crop), angle // 90)) if angle else read(crop)

    return pd.concat([faces, *copies], ignore_index=True), read_rotated
