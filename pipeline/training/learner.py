"""The fastai learner of a classifier recipe, with its initial weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.callback.schedule import Learner
from fastai.callback.training import BnFreeze
from fastai.data.core import DataLoaders
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import Recall as SklearnRecall
from fastai.metrics import accuracy
from fastai.optimizer import Adam
from fastai.vision.learner import vision_learner
from torch import Tensor, nn
from torchvision.models import resnet34

from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from pipeline.nets.cards import DETECTOR, DetectorCard, WeightsError, load_state, load_weights
from pipeline.nets.classifiers import (
    from_detector,
    from_torchvision,
    make_head,
    make_mobilenet,
    make_sequential,
)
from pipeline.nets.compute import pick_device
from pipeline.nets.options import SHIPPED
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.callbacks import Bf16, Distillation, load_teachers, wants_bf16
from pipeline.training.data import TrainingFaces, class_weights, make_loaders, select_faces
from pipeline.training.drawn_faces import gather_faces


def make_learner(
    prepared: str | Path,
    recipe: str | Path = "resnet34",
    *,
    device: str = "auto",
    **changes: object,
) -> Learner:
    """A plain fastai learner on the crops of a prepared folder, made as `train` makes its own.

    What fastai offers works on it: `dls.show_batch`, `lr_find`, `fine_tune`, `fit_one_cycle`,
    `ClassificationInterpretation`, `export`. Of the recipe's stages it has the first one's size.

    Args:
        prepared: Folder written by `python -m data_prep build`.
        recipe: A recipe's name or TOML file, for a classifier.
        device: `auto`, `cpu` or `cuda`.
        changes: Numbers of the recipe, such as `lr=1e-3`.

    Raises:
        RecipeError: There is no such recipe, or a number it doesn't know or can't have.
        PreparedError: There is nothing to train or validate on.
        WeightsError: The initial weights can't be had.
    """
    numbers = load_recipe(recipe, ClassifierRecipe, changes)
    chosen = select_faces(read_faces(Path(prepared)), numbers)
    faces = gather_faces(chosen, read_crops(Path(prepared)), numbers)
    return build_learner(faces, numbers, pick_device(device), Path())


def read_crops(prepared: Path) -> Callable[[str], np.ndarray]:
    """What reads the crops of a prepared folder, by their paths in `faces.csv`."""
    return lambda crop: read_photo(prepared / crop).pixels


def build_learner(
    faces: TrainingFaces,
    recipe: ClassifierRecipe,
    device: torch.device,
    folder: Path,
    *,
    fresh: bool = True,
    optimiser: Callable[..., Any] = Adam,
) -> Learner:
    """A learner with the recipe's network, loss, callbacks and first loaders.

    It has the initial weights where it is `fresh`; a resumed training brings its own.

    Raises:
        WeightsError: The initial weights can't be had.
    """
    loaders = make_loaders(faces, recipe, recipe.sizes[0], device)
    callbacks: list[Any] = [ChannelsLast()]
    if wants_bf16(recipe, device):
        callbacks.append(Bf16())
    if recipe.mixup:
        callbacks.append(MixUp(recipe.mixup))
    if recipe.teachers:
        callbacks.append(Distillation(load_teachers(recipe, device), recipe.teacher_share))
    weights = class_weights(faces.labels, recipe)
    options = {
        "loss_func": CrossEntropyLossFlat(weight=weights, label_smoothing=recipe.label_smoothing),
        "metrics": [accuracy, SklearnRecall(average="macro")],
        "opt_func": optimiser,
        "wd": recipe.weight_decay,
        "cbs": callbacks,
        "path": folder,
    }
    if recipe.architecture == "resnet34":
        learn = _make_resnet(loaders, recipe, options, imagenet=fresh and recipe.init == "imagenet")
    else:
        make = make_sequential if recipe.architecture == "sequential" else make_mobilenet
        learn = Learner(loaders, make(recipe.dropout), splitter=_split_body, **options)
    if fresh and recipe.init not in ("random", "imagenet"):
        _fill(learn, recipe)
    if recipe.freeze:
        learn.train_bn = False
        learn.add_cb(BnFreeze())
        learn.freeze()
    else:
        learn.unfreeze()
    return learn


def fit_stage(
    learn: Learner,
    recipe: ClassifierRecipe,
    stage: int,
    lr: float,
    callbacks: Sequence[Callback],
    start: int = 0,
) -> None:
    """Train a stage, from 0, whose peak rate is `lr` and of which `start` epochs are done."""
    fit = learn.fit_one_cycle if recipe.schedule == "one-cycle" else learn.fit
    with learn.no_logging(), learn.no_bar():
        fit(recipe.epochs[stage], lr, cbs=list(callbacks), start_epoch=start)


def _make_resnet(
    loaders: DataLoaders, recipe: ClassifierRecipe, options: dict[str, Any], *, imagenet: bool
) -> Learner:
    try:
        return vision_learner(
            loaders,
            resnet34,
            pretrained=imagenet,
            n_out=len(CLASSES),
            normalize=False,
            custom_head=make_head("resnet34", recipe.dropout),
            **options,
        )
    except OSError as error:
        raise WeightsError(
            f"the ImageNet weights can't be downloaded ({error}): set init to 'random' or to a "
            "safetensors file of a ResNet-34."
        ) from error


def _split_body(net: nn.Sequential) -> list[list[nn.Parameter]]:
    """Groups that fastai freezes up to the last."""
    return [list(part.parameters()) for part in net]


def _fill(learn: Learner, recipe: ClassifierRecipe) -> None:
    """Load a body, and a head where there is one."""
    is_resnet = recipe.architecture == "resnet34"
    state = from_torchvision(load_state(Path(recipe.init))) if is_resnet else _load_own(recipe)
    name, body = ("ResNet-34", "0.") if is_resnet else (recipe.architecture, "body.")
    try:
        missing = learn.model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise WeightsError(f"{recipe.init}: does not fit a {name}.") from error
    if any(key.startswith(body) for key in missing):
        raise WeightsError(f"{recipe.init}: does not hold the weights of a whole {name}.")


def _load_own(recipe: ClassifierRecipe) -> dict[str, Tensor]:
    """Of a classifier, or the body of a detector, the shipped one or another."""
    shipped = SHIPPED / f"{DETECTOR}.safetensors"
    path = shipped if recipe.init == "detector" else Path(recipe.init)
    state = load_state(path)
    if any(name.startswith("members.") for name in state):
        raise WeightsError(
            f"{recipe.init}: an ensemble, which nothing can start from; give a single network."
        )
    if recipe.architecture == "mobilenet0.25" and any(name.startswith("fpn.") for name in state):
        return from_detector(*load_weights(path, DetectorCard))
    return state
