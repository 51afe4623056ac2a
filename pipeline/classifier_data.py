"""Crops of a prepared folder as fastai DataLoaders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import ColReader, ColSplitter
from fastai.vision.augment import RandTransform, aug_transforms
from fastai.vision.core import PILImage, imagenet_stats
from fastai.vision.data import ImageBlock, Normalize
from fasttransform import Transform

from data_prep.crop import resize_crop
from data_prep.faces import select_sources
from data_prep.labels import CLASSES
from data_prep.split import TRAIN, VALID
from pipeline.recipe import ClassifierRecipe
from pipeline.runs import PreparedError

SMALLEST_SIDE = 16
"""Crops are never shrunk below this side: a face of about 11 pixels."""


class ResizeCrop(Transform):
    """`resize_crop` for fastai: the same pixels in training as in use."""

    order = 1

    def __init__(self, size: int) -> None:
        self.size = size

    def encodes(self, image: PILImage) -> PILImage:
        return PILImage.create(resize_crop(np.asarray(image), self.size))


class Downscale(RandTransform):
    """Shrink some training crops first, to the sizes that faces in crowds have."""

    order, split_idx = 0, 0

    def before_call(self, b: PILImage, split_idx: int) -> None:
        super().before_call(b, split_idx)
        self.draw = np.random.uniform()

    def encodes(self, image: PILImage) -> PILImage:
        side = image.size[0]
        if side <= SMALLEST_SIDE:
            return image
        smaller = round(SMALLEST_SIDE * (side / SMALLEST_SIDE) ** self.draw)
        pixels = cv2.resize(np.asarray(image), (smaller, smaller), interpolation=cv2.INTER_AREA)
        return PILImage.create(pixels)


def select_faces(faces: pd.DataFrame, recipe: ClassifierRecipe) -> pd.DataFrame:
    """Rows of `faces.csv` a recipe trains and validates on; all validation faces stay.

    Raises:
        FacesError: The recipe names a dataset that is not there.
        PreparedError: A split is empty, a class has no training face, or all training faces are
            fewer than a batch.
    """
    chosen = select_sources(faces, recipe.sources)
    chosen = chosen[(chosen["split"] == VALID) | (chosen["split"] == TRAIN)]
    if recipe.faces == "kept":
        chosen = chosen[chosen["kept"] | (chosen["split"] == VALID)]
    train = chosen[chosen["split"] == TRAIN]
    missing = [name for name in CLASSES if name not in set(train["label"])]
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
    prepared: Path,
    recipe: ClassifierRecipe,
    size: int,
    device: torch.device,
    crops: Mapping[str, np.ndarray] | None = None,
) -> DataLoaders:
    """Training and validation loaders at one input size.

    Args:
        faces: From `select_faces`.
        prepared: The folder the crop paths are relative to.
        recipe: Batch size and augmentation.
        size: Input side in pixels.
        device: Where batches go.
        crops: Decoded crops by their path, uint8, RGB; read from the folder at each use when None.
    """
    table = faces.assign(is_valid=faces["split"] == VALID)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(CLASSES), sort=False)),
        get_x=(lambda row: crops[row["crop"]]) if crops else ColReader("crop", pref=prepared),
        get_y=ColReader("label"),
        splitter=ColSplitter("is_valid"),
        item_tfms=[Downscale(p=recipe.downscale), ResizeCrop(size)],
        batch_tfms=[
            *aug_transforms(
                max_rotate=recipe.rotate,
                min_zoom=1 / recipe.zoom,
                max_zoom=recipe.zoom,
                max_lighting=recipe.lighting,
                max_warp=recipe.warp,
                p_affine=0.9,
            ),
            Normalize.from_stats(*imagenet_stats),
        ],
    )
    return block.dataloaders(
        table, bs=recipe.batch_size, val_bs=2 * recipe.batch_size, num_workers=0, device=device
    )


def class_weights(labels: pd.Series, recipe: ClassifierRecipe) -> torch.Tensor | None:
    """Loss weights in the order of `CLASSES`, 1 on average over the faces; None for no weights."""
    if recipe.class_weights == "none":
        return None
    counts = labels.value_counts().reindex(list(CLASSES)).to_numpy(dtype=float)
    raw = 1 / counts if recipe.class_weights == "inverse" else 1 / np.sqrt(counts)
    return torch.tensor(raw * counts.sum() / (raw * counts).sum(), dtype=torch.float32)
