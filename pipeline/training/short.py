"""A short training on part of the faces, and what its network makes of all of them.

Short on purpose: a network learns what faces have in common before it learns single wrong labels by
heart (Arpit et al. 2017, "A closer look at memorization in deep networks").
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.optimizer import OptimWrapper
from torch import nn

from data_prep.base.crop import Colour, fit_crop, resize_crop
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.progress import show_progress
from data_prep.base.tables import KEY, read_faces
from data_prep.grouping.split import TRAIN, VALID
from pipeline.nets.cards import ClassifierCard
from pipeline.nets.compute import autocast, has_fast_bf16, seed_everything
from pipeline.runs.folder import PreparedError, identify_data
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe, RecipeError
from pipeline.training.data import add_turned_faces, make_loaders
from pipeline.training.drawn_faces import add_drawn_faces
from pipeline.training.learner import fit_stage, make_learner

BATCH = 64

Crops = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Views:
    """What a network makes of N faces.

    Attributes:
        probabilities: (N, 3) float32, of the classes in the order of `CLASSES`.
        features: (N, D) float32, what the last layer sees: the body's pooled features.
        seconds: Processor time of the training.
    """

    probabilities: np.ndarray
    features: np.ndarray
    seconds: float = 0.0


class _Epochs(Callback):
    """Seeds every epoch, tells of it, and leaves validation out: nothing is chosen by it."""

    order = 60

    def __init__(self, seed: int, what: str, log: Log) -> None:
        self.seed, self.what, self.log = seed, what, log

    def before_epoch(self) -> None:
        seed_everything(self.seed + self.epoch)
        self.dls.train.rng = random.Random(self.seed + self.epoch)  # fastai shuffles by its own

    def before_validate(self) -> None:
        raise CancelValidException

    def after_train(self) -> None:
        loss = float(self.recorder.smooth_loss.value)
        self.log(
            f"{self.what}, epoch {self.epoch + 1} of {self.n_epoch}: loss {loss:.3f}",
            "epoch",
            training=self.what,
            epoch=self.epoch,
            epochs=self.n_epoch,
            train_loss=loss,
        )


def check_short(recipe: ClassifierRecipe, judged: str) -> None:
    """Refuse a recipe of which a short training would leave something out, or learn too much.

    Args:
        recipe: The recipe.
        judged: What is judged by the networks, in the plural, for the message.

    Raises:
        RecipeError: The learning rate is to be found, there are teachers, or the classes or masks
            are others than those of the faces.
    """
    if recipe.lr == "find":
        raise RecipeError(
            f"recipe {recipe.name}: lr is 'find', which a short training has no time for: give a "
            "number with --set lr=…"
        )
    if recipe.teachers:
        raise RecipeError(
            f"recipe {recipe.name}: teachers have learnt from {judged} that are judged here: leave "
            "them out with --set teachers=[]"
        )
    if recipe.incorrect != "own" or recipe.masks != "real":
        raise RecipeError(
            f"recipe {recipe.name}: short trainings are on three classes and real masks: use --set "
            "incorrect=own --set masks=real"
        )


def train_short(
    faces: pd.DataFrame,
    crops: Crops,
    recipe: ClassifierRecipe,
    *,
    device: torch.device,
    what: str,
    log: Log,
) -> nn.Module:
    """Train on some faces by a recipe's stages; no epoch is chosen by a validation loss.

    Args:
        faces: Faces to train on: `crop` and `label`.
        crops: Their pixels, by `crop`.
        recipe: Every number; `lr` is one.
        device: Where to train.
        what: What the lines begin with, such as "fold 1 of 5".
        log: Gets one line per epoch.

    Returns:
        The network, fastai's body and head, ready for use.

    Raises:
        WeightsError: The initial weights can't be had.
    """
    seed_everything(recipe.seed)
    # fastai wants a validation set; its one face is never looked at.
    table = pd.concat([faces.assign(split=TRAIN), faces.head(1).assign(split=VALID)])
    table, read = add_drawn_faces(table.reset_index(drop=True), crops.__getitem__, recipe)
    table, read = add_turned_faces(table, read, recipe)
    learn = None
    with tempfile.TemporaryDirectory() as folder:
        for stage, size in enumerate(recipe.sizes):
            loaders = make_loaders(table, read, recipe, size, device)
            if learn is None:
                learn = make_learner(
                    loaders,
                    faces["label"],
                    recipe,
                    Path(folder),
                    _hush,
                    fresh=True,
                    optimiser=make_adamw,
                )
            learn.dls = loaders
            rate = float(recipe.lr) * recipe.stage_lr**stage
            keeper = _Epochs(recipe.seed + 1000 * stage, what, log)
            with learn.no_logging(), learn.no_bar():
                fit_stage(learn, recipe, stage, rate, [keeper])
    assert learn is not None, "a recipe has at least one stage"
    return learn.model.eval()


def view_faces(
    net: nn.Module,
    crops: Sequence[np.ndarray],
    size: int,
    device: torch.device,
    colour: Colour = "rgb",
) -> Views:
    """Probabilities and features of faces, each the mean of a crop and its mirror image.

    Args:
        net: From `train_short`: a body and a head whose last layer is linear.
        crops: Squares, uint8, RGB.
        size: Input side in pixels.
        device: Where the network is.
        colour: What it sees of them.
    """
    card = ClassifierCard(input_size=size)
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (card.mean, card.std))
    probabilities = np.zeros((len(crops), len(CLASSES)), np.float32)
    body, head = net[0], net[1]  # type: ignore[index]
    features = np.zeros((len(crops), head[-1].in_features), np.float32)
    with torch.inference_mode():
        for start in range(0, len(crops), BATCH):
            some = slice(start, start + BATCH)
            batch = np.stack([fit_crop(crop, size, colour) for crop in crops[some]])
            inputs = (torch.from_numpy(batch).to(device).permute(0, 3, 1, 2) / 255 - mean) / std
            inputs = torch.cat([inputs, inputs.flip(3)])
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            with autocast(device, bf16=has_fast_bf16(device)):
                pooled = body(inputs).float().mean(dim=(2, 3))
            pooled = pooled.reshape(2, -1, pooled.shape[1])
            answers = head[-1](pooled).softmax(dim=2).mean(dim=0)
            probabilities[some] = answers.cpu().numpy()
            features[some] = pooled.mean(dim=0).cpu().numpy()
    return Views(probabilities, features)


def make_adamw(parameters: Any, lr: float) -> OptimWrapper:
    """AdamW in one kernel: on a processor eight times as fast as fastai's, by the same rule.

    Unlike fastai's it decays biases and batch norms, too, which so few steps do not feel.

    Args:
        parameters: In groups, as a fastai splitter gives them.
        lr: Learning rate; one-cycle changes it.
    """
    rule = partial(torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5, fused=True)
    return OptimWrapper(parameters, rule, lr=lr)


def _hush(_line: str) -> None:
    """The note on random weights would be told once a fold."""


@dataclass(frozen=True)
class PreparedFaces:
    """Faces of the splits that may be looked at: train and valid, never another such as test.

    Attributes:
        folder: The prepared folder.
        table: N rows of `faces.csv` in the order of their keys, index from 0; `crop` is a path that
            can be opened.
        scale: Side of the crops as a multiple of the box's longer side.
        data: What identifies the folder: hash of `faces.csv`, sources, options.
        roots: Dataset folder of each source.
    """

    folder: Path
    table: pd.DataFrame
    scale: float
    data: dict[str, Any]
    roots: dict[str, Path]


def open_faces(folder: Path, recipe: ClassifierRecipe) -> PreparedFaces:
    """Read the faces of train and valid.

    Args:
        folder: The prepared folder.
        recipe: Names the datasets; all when it names none.

    Raises:
        PreparedError: Not a prepared folder, or a class without faces.
        TableError: `faces.csv` can't be used.
    """
    data, roots = identify_data(folder)
    table = read_faces(folder)
    table = table[table["split"].isin([TRAIN, VALID])]
    if recipe.sources:
        table = table[table["source"].isin(recipe.sources)]
    if recipe.faces == "kept":
        table = table[table["kept"] | (table["split"] == VALID)]
    missing = [name for name in CLASSES if name not in set(table["label"])]
    if missing:
        raise PreparedError(
            f"{folder}: no face of class {missing[0]} in train and valid: check sources "
            f"{recipe.sources or 'all'}."
        )
    table = table.sort_values(list(KEY), kind="stable").reset_index(drop=True)
    table["crop"] = [str(folder / crop) for crop in table["crop"]]
    return PreparedFaces(folder, table, float(data["options"]["scale"]), data, roots)


def label_codes(table: pd.DataFrame) -> np.ndarray:
    """(N,) class index of each face."""
    return np.array([CLASSES.index(label) for label in table["label"]], dtype=np.int64)


def label_names(codes: np.ndarray) -> list[str]:
    """Class names of N class indices."""
    return [CLASSES[code] for code in codes]


WORKERS = 4


def load_crops(paths: Iterable[str], side: int) -> dict[str, np.ndarray]:
    """Decode crops and shrink those larger than a short training looks at.

    Args:
        paths: Crop files.
        side: Longest side in pixels that is kept; smaller crops stay as they are.

    Returns:
        By path, side × side × 3, uint8, RGB.

    Raises:
        PhotoError: A crop can't be read.
    """
    wanted = sorted(set(paths))

    def load(path: str) -> np.ndarray:
        pixels = read_photo(Path(path)).pixels
        return resize_crop(pixels, side) if pixels.shape[0] > side else pixels

    with ThreadPoolExecutor(WORKERS) as pool:
        loaded = show_progress(pool.map(load, wanted), len(wanted), "reading crops")
        return dict(zip(wanted, loaded, strict=True))
