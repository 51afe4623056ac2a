"""The fastai learner of a classifier recipe, with its initial weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.callback.progress import ProgressCallback
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
from pipeline.nets.cards import DETECTOR, DetectorCard, WeightsError, load_state, load_weights
from pipeline.nets.classifiers import (
    from_detector,
    from_torchvision,
    make_head,
    make_mobilenet,
    make_sequential,
)
from pipeline.nets.compute import has_fast_bf16
from pipeline.nets.options import SHIPPED
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.data import class_weights
from pipeline.training.distillation import Teaching, load_teachers
from pipeline.training.stages import Bf16


def make_learner(
    loaders: DataLoaders,
    labels: pd.Series,
    recipe: ClassifierRecipe,
    folder: Path,
    log: Callable[[str], None],
    *,
    fresh: bool,
    optimiser: Callable[..., Any] = Adam,
) -> Learner:
    """A learner with the recipe's network, loss, callbacks and initial weights.

    Args:
        loaders: Training and validation batches; their device is where it trains.
        labels: Classes of the training faces, for the loss weights.
        recipe: Every number.
        folder: Where fastai puts what it writes.
        log: Gets a note when the weights are random.
        fresh: Whether to load initial weights; a resumed training brings its own.
        optimiser: Makes the optimiser from parameters and a rate, as fastai's do.

    Raises:
        WeightsError: The initial weights can't be had.
    """
    weights = class_weights(labels, recipe)
    callbacks: list[Any] = [ChannelsLast()]
    if recipe.bf16 == "on" or (recipe.bf16 == "auto" and has_fast_bf16(loaders.device)):
        callbacks.append(Bf16())
    if recipe.mixup:
        callbacks.append(MixUp(recipe.mixup))
    if recipe.teachers:
        callbacks.append(Teaching(load_teachers(recipe, loaders.device), recipe.teacher_share))
    options = {
        "loss_func": CrossEntropyLossFlat(weight=weights, label_smoothing=recipe.label_smoothing),
        "metrics": [accuracy, SklearnRecall(average="macro")],
        "opt_func": optimiser,
        "wd": recipe.weight_decay,
        "cbs": callbacks,
        "path": folder,
    }
    make = _make_resnet if recipe.architecture == "resnet34" else _make_own
    learn = make(loaders, recipe, options, fresh)
    learn.remove_cb(ProgressCallback)
    if recipe.freeze:
        learn.train_bn = False
        learn.add_cb(BnFreeze())
        learn.freeze()
    else:
        learn.unfreeze()
    if fresh and recipe.init == "random":
        log("note: from random weights; others, where they can be had, do better (see init).")
    return learn


def fit_stage(
    learn: Learner,
    recipe: ClassifierRecipe,
    stage: int,
    lr: float,
    callbacks: Sequence[Callback],
    start: int = 0,
) -> None:
    """Train a stage by the recipe's schedule.

    Args:
        learn: Its loaders are those of the stage.
        recipe: Epochs and schedule.
        stage: From 0.
        lr: Peak rate of the stage.
        callbacks: Called in every epoch.
        start: Epochs that are done.
    """
    fit = learn.fit_one_cycle if recipe.schedule == "one-cycle" else learn.fit
    fit(recipe.epochs[stage], lr, cbs=list(callbacks), start_epoch=start)


def _make_resnet(
    loaders: DataLoaders, recipe: ClassifierRecipe, options: dict[str, Any], fresh: bool
) -> Learner:
    try:
        learn = vision_learner(
            loaders,
            resnet34,
            pretrained=fresh and recipe.init == "imagenet",
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
    if fresh and recipe.init not in ("random", "imagenet"):
        _fill(learn, from_torchvision(load_state(Path(recipe.init))), recipe, body="0.")
    return learn


def _make_own(
    loaders: DataLoaders, recipe: ClassifierRecipe, options: dict[str, Any], fresh: bool
) -> Learner:
    make = make_sequential if recipe.architecture == "sequential" else make_mobilenet
    learn = Learner(loaders, make(recipe.dropout), splitter=_split_body, **options)
    if fresh and recipe.init != "random":
        _fill(learn, _load_own(recipe), recipe, body="body.")
    return learn


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


def _split_body(net: nn.Sequential) -> list[list[nn.Parameter]]:
    """Groups that fastai freezes up to the last."""
    return [list(part.parameters()) for part in net]


def _fill(learn: Learner, state: dict[str, Tensor], recipe: ClassifierRecipe, body: str) -> None:
    """Load a body, and a head where there is one."""
    name = "ResNet-34" if recipe.architecture == "resnet34" else recipe.architecture
    try:
        missing = learn.model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise WeightsError(f"{recipe.init}: does not fit a {name}.") from error
    if any(key.startswith(body) for key in missing):
        raise WeightsError(f"{recipe.init}: does not hold the weights of a whole {name}.")
