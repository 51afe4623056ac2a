"""Short trainings on part of the faces, and the faces and crops that they are about.

Short on purpose: a network learns what faces have in common before it learns single wrong labels by
heart (Arpit et al. 2017, "A closer look at memorization in deep networks").
"""

from __future__ import annotations

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
from fastai.callback.core import CancelValidException
from fastai.optimizer import OptimWrapper
from torch import Tensor

from data_prep.base.crop import resize_crop
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.progress import show_progress
from data_prep.base.tables import KEY, read_faces, select_sources
from data_prep.grouping.split import TRAIN, VALID
from pipeline.inference.classifier import Classifier
from pipeline.nets.classifiers import fill_net
from pipeline.nets.compute import seed_everything
from pipeline.runs.folder import identify_data
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe, RecipeError
from pipeline.training.callbacks import SeededEpochs
from pipeline.training.data import check_classes, make_loaders
from pipeline.training.drawn_faces import gather_faces
from pipeline.training.export import make_card, store_weights
from pipeline.training.learner import build_learner, fit_stage, free_body

READERS = 4

Crops = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Views:
    """What a network makes of N faces."""

    probabilities: np.ndarray  # (N, 3) float32, of the classes in the order of `CLASSES`
    features: np.ndarray  # (N, D) float32, what the last layer sees: the body's pooled features
    seconds: float = 0.0  # processor time of the training


@dataclass(frozen=True)
class PreparedFaces:
    """Faces of the splits that may be looked at: train and valid, never another such as test.

    The table is in the order of the faces' keys, its index from 0; `crop` is a path that can be
    opened. `data` and `roots` are as of `identify_data`.
    """

    folder: Path
    table: pd.DataFrame
    scale: float  # side of the crops as a multiple of the box's longer side
    data: dict[str, Any]
    roots: dict[str, Path]


def open_faces(folder: Path, recipe: ClassifierRecipe, *outs: Path) -> PreparedFaces:
    """Read the faces of train and valid, of the recipe's datasets, which get no `outs`.

    Raises:
        PreparedError: Not a prepared folder, or only one class has faces.
        TableError: `faces.csv` can't be used.
    """
    data, roots = identify_data(folder, *outs)
    table = read_faces(folder)
    table = select_sources(table[table["split"].isin([TRAIN, VALID])], recipe.sources)
    if recipe.faces == "kept":
        table = table[table["kept"] | (table["split"] == VALID)]
    check_classes(table)
    table = table.sort_values(list(KEY), kind="stable").reset_index(drop=True)
    table["crop"] = [str(folder / crop) for crop in table["crop"]]
    return PreparedFaces(folder, table, float(data["options"]["scale"]), data, roots)


def label_codes(table: pd.DataFrame) -> np.ndarray:
    """(N,) class index of each face."""
    return table["label"].map(CLASSES.index).to_numpy(np.int64)


def label_names(codes: np.ndarray) -> list[str]:
    """Class names of N class indices."""
    return [CLASSES[code] for code in codes]


def load_crops(paths: Iterable[str], side: int) -> dict[str, np.ndarray]:
    """Decode crops, by path, uint8, RGB, and shrink those larger than a side in pixels.

    Raises:
        PhotoError: A crop can't be read.
    """
    wanted = sorted(set(paths))

    def load(path: str) -> np.ndarray:
        pixels = read_photo(Path(path)).pixels
        return resize_crop(pixels, side) if pixels.shape[0] > side else pixels

    with ThreadPoolExecutor(READERS) as pool:
        loaded = show_progress(pool.map(load, wanted), len(wanted), "reading crops")
        return dict(zip(wanted, loaded, strict=True))


def check_short(recipe: ClassifierRecipe, judged: str) -> None:
    """Refuse, by `RecipeError`, what a short training would leave out or learn too much from.

    The networks judge `judged`, in the plural.
    """
    problem = ""
    if recipe.lr == "find":
        problem = "lr is 'find', for which there is no time: give a number with --set lr=…"
    elif recipe.teachers:
        problem = f"teachers have learnt from {judged} that are judged: use --set teachers=[]"
    elif recipe.incorrect != "own" or recipe.masks != "real":
        problem = "needs three classes and real masks: use --set incorrect=own --set masks=real"
    if problem:
        raise RecipeError(f"recipe {recipe.name}: {problem}")


class _Epochs(SeededEpochs):
    """Logs every epoch, and leaves validation out: nothing is chosen by it."""

    def __init__(self, seed: int, stage: int, what: str, log: Log) -> None:
        super().__init__(seed, stage)
        self.what, self.log = what, log

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


def train_short(
    faces: pd.DataFrame,
    crops: Crops,
    recipe: ClassifierRecipe,
    *,
    device: torch.device,
    what: str,
    log: Log,
) -> dict[str, Tensor]:
    """Train on some faces by a recipe's stages; no epoch is chosen by a validation loss.

    Lines begin with `what`, such as "fold 1 of 5". Gives the weights by their names on disk, on the
    CPU; raises `WeightsError` where the initial ones can't be had.
    """
    seed_everything(recipe.seed)
    # fastai wants a validation set; its one face is never looked at.
    table = pd.concat([faces.assign(split=TRAIN), faces.head(1).assign(split=VALID)])
    shown = gather_faces(table.reset_index(drop=True), crops.__getitem__, recipe)
    with tempfile.TemporaryDirectory() as folder:
        learn = build_learner(shown, recipe, device, Path(folder), optimiser=make_adamw)
        for stage, (size, *_) in enumerate(recipe.stages):
            learn.dls = make_loaders(shown, recipe, size, device)
            free_body(learn, recipe, stage)
            rate = float(recipe.lr) * recipe.stage_lr**stage
            fit_stage(learn, recipe, stage, rate, [_Epochs(recipe.seed, stage, what, log)])
    state = {name: tensor.cpu() for name, tensor in learn.model.state_dict().items()}
    return store_weights(state, shown.labels, recipe)


def make_adamw(parameters: Any, lr: float) -> OptimWrapper:
    """AdamW in one kernel: on a processor eight times as fast as fastai's, by the same rule.

    Unlike fastai's it decays biases and batch norms, too, which so few steps do not feel.
    """
    rule = partial(torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5, fused=True)
    return OptimWrapper(parameters, rule, lr=lr)


def view_faces(
    state: dict[str, torch.Tensor],
    recipe: ClassifierRecipe,
    crops: Sequence[np.ndarray],
    device: torch.device,
    labels: Iterable[str] = CLASSES,
) -> Views:
    """What a network of `train_short` makes of faces, by the mean of a crop and its mirror image.

    In full precision, so that the numbers are those of any other machine. Only classes that are
    among the `labels` are answered.
    """
    card = make_card(recipe, labels=labels).model_copy(update={"mirror": True})
    net = fill_net(state, recipe.architecture, Path(recipe.name))
    return Views(*Classifier(net, card, device=device).embed(crops))
