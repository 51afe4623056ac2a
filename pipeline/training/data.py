"""Crops of a prepared folder as fastai DataLoaders."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pandas as pd
import torch
from fastai.data.core import DataLoaders
from fastai.data.transforms import IntToFloatTensor
from fastai.torch_core import TensorCategory, TensorImage
from fastai.vision.augment import AffineCoordTfm, affine_mat, aug_transforms
from fastai.vision.core import imagenet_stats
from fastai.vision.data import Normalize
from torch.utils.data import Dataset

from data_prep.base.crop import Colour, fit_crop
from data_prep.base.labels import CLASSES, RARE_CLASS
from data_prep.base.tables import select_sources
from data_prep.grouping.split import TRAIN, VALID
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.class_policy import count_incorrect, learnt_classes

SMALLEST_SIDE = 16
"""Crops are never shrunk below this side: a face of about 11 pixels."""

ReadCrop = Callable[[str], np.ndarray]
"""Gives the pixels of a crop by its path: square, uint8, RGB."""


class CropDataset(Dataset[tuple[TensorImage, TensorCategory]]):
    """Crops at the network's input size, in training some of them shrunk first.

    Items are a 3 × size × size uint8 image and its class index. Random numbers come from the global
    generators, which the training seeds at every epoch.

    Args:
        crops: Gives the pixels of each crop path: square, uint8, RGB.
        faces: Rows of `faces.csv`: `crop` and `label`.
        size: Input side in pixels.
        downscale: Share of crops that are shrunk to a smaller face's size; None for validation.
        colour: Colours, or grey levels.
    """

    n_inp = 1
    """Told to fastai, which would find out by an augmented item, drawing random numbers."""

    def __init__(
        self,
        crops: ReadCrop,
        faces: pd.DataFrame,
        size: int,
        downscale: float | None,
        colour: Colour,
    ) -> None:
        self.crops, self.size, self.downscale, self.colour = crops, size, downscale, colour
        self.paths = faces["crop"].tolist()
        self.codes = [CLASSES.index(label) for label in faces["label"]]
        self.split_idx = 1 if downscale is None else 0  # fastai augments split 0 only

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[TensorImage, TensorCategory]:
        pixels = self.crops(self.paths[index])
        if self.downscale is not None:
            shrinks, draw = random.random() < self.downscale, np.random.uniform()
            pixels = shrink_crop(pixels, draw) if shrinks else pixels
        pixels = fit_crop(pixels, self.size, self.colour).transpose(2, 0, 1)
        image = TensorImage(torch.from_numpy(np.ascontiguousarray(pixels)))
        return image, TensorCategory(self.codes[index])


def shrink_crop(pixels: np.ndarray, draw: float) -> np.ndarray:
    """Shrink a crop to the size of a smaller face, such as crowds have.

    Args:
        pixels: Side × side × 3, uint8.
        draw: From 0, down to `SMALLEST_SIDE`, to 1, as it is; evenly on a logarithmic scale.
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
        PreparedError: A split is empty, a class has no training face, or all training faces are
            fewer than a batch.
    """
    chosen = select_sources(faces, recipe.sources)
    chosen = chosen[(chosen["split"] == VALID) | (chosen["split"] == TRAIN)]
    if recipe.faces == "kept":
        chosen = chosen[chosen["kept"] | (chosen["split"] == VALID)]
    chosen = count_incorrect(chosen, recipe.incorrect)
    train = chosen[chosen["split"] == TRAIN]
    missing = [name for name in learnt_classes(recipe.incorrect) if name not in set(train["label"])]
    if missing or train.empty or (chosen["split"] == VALID).sum() == 0:
        what = f"class {missing[0]} in training" if missing else "the validation split"
        raise PreparedError(f"no face for {what}: check sources {recipe.sources or 'all'}.")
    if len(train) < recipe.batch_size:
        raise PreparedError(
            f"{len(train)} training faces don't fill a batch of {recipe.batch_size}: "
            "use --set batch_size=… with fewer."
        )
    return chosen.reset_index(drop=True)


def make_loaders(
    faces: pd.DataFrame,
    crops: ReadCrop,
    recipe: ClassifierRecipe,
    size: int,
    device: torch.device,
) -> DataLoaders:
    """Training and validation loaders at one input size.

    Args:
        faces: From `select_faces`.
        crops: Gives the pixels of each crop path: square, uint8, RGB.
        recipe: Batch size and augmentation.
        size: Input side in pixels.
        device: Where batches go.
    """
    is_valid = faces["split"] == VALID
    train, rare = faces[~is_valid], faces[~is_valid & (faces["label"] == RARE_CLASS)]
    train = pd.concat([train, *[rare] * (recipe.repeat_rare - 1)])
    augment = aug_transforms(
        max_rotate=recipe.rotate,
        min_zoom=1 / recipe.zoom,
        max_zoom=recipe.zoom,
        max_lighting=recipe.lighting,
        max_warp=recipe.warp,
        p_affine=0.9,
        xtra_tfms=[AffineCoordTfm(partial(_draw_shift, most=recipe.shift))] * (recipe.shift > 0),
    )
    return DataLoaders.from_dsets(
        CropDataset(crops, train, size, recipe.downscale, recipe.colour),
        CropDataset(crops, faces[is_valid], size, None, recipe.colour),
        bs=recipe.batch_size,
        after_batch=[IntToFloatTensor(), *augment, Normalize.from_stats(*imagenet_stats)],
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


def add_turned_faces(
    faces: pd.DataFrame, read: ReadCrop, recipe: ClassifierRecipe
) -> tuple[pd.DataFrame, ReadCrop]:
    """Add a turned copy of every training face for every angle.

    Args:
        faces: Rows of `faces.csv`, drawn ones, too: `crop`, `split`.
        read: Gives the pixels of a crop.
        recipe: `rotated` says by how much, counter-clockwise.

    Returns:
        The faces with rows added, and what reads their crops, too; both as given when nothing is
        to be turned.
    """
    if not recipe.rotated:
        return faces, read
    training = faces[faces["split"] == TRAIN]
    turned: dict[str, tuple[str, int]] = {}
    copies = []
    for angle in recipe.rotated:
        names = [f"{crop}@{angle}" for crop in training["crop"]]
        turned |= {name: (crop, angle) for name, crop in zip(names, training["crop"], strict=True)}
        copies.append(training.assign(crop=names))

    def read_turned(path: str) -> np.ndarray:
        if path not in turned:
            return read(path)
        crop, angle = turned[path]
        return np.ascontiguousarray(np.rot90(read(crop), angle // 90))

    return pd.concat([faces, *copies], ignore_index=True), read_turned
