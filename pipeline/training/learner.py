"""The fastai learner of a classifier recipe, with its initial weights."""

import hashlib
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import urlopen

import numpy as np
import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.callback.schedule import Learner
from fastai.callback.training import BnFreeze
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy, skm_to_fastai
from fastai.vision.learner import vision_learner
from sklearn.metrics import recall_score
from torch import Tensor, nn
from torchvision.models import ResNet34_Weights, resnet34

from data_prep.base.files import OutputError, sha256_of, write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.progress import log
from data_prep.base.tables import read_faces
from pipeline.nets import classifiers
from pipeline.nets.cards import DetectorCard, WeightsError, load_state, load_weights
from pipeline.nets.compute import is_timms, pick_device
from pipeline.nets.options import DETECTOR, SHIPPED, TIMM
from pipeline.nets.timms import name_as_timm
from pipeline.runs.folder import identify_data
from pipeline.runs.log import Log, Reporter
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training import data
from pipeline.training.callbacks import (
    Bf16,
    Distillation,
    LearnBeside,
    LearnTogether,
    QuickAdam,
    load_teachers,
    wants_bf16,
)
from pipeline.training.ranks import count_ranks

WAIT = 20  # Seconds that a server may be silent.


def make_learner(
    prepared: str | Path,
    recipe: str | Path = "resnet34",
    *,
    device: str = "auto",
    **changes: Any,
) -> Learner:
    """A plain fastai learner on the crops of a prepared folder, made as `train` makes its own.

    Of the recipe's stages it has the first one's size; with `sizes` among the `changes` of the
    recipe, `epochs` may be left out. `use_learner` runs it by its `recipe`, `labels` and
    `crop_scale`. Raises `RecipeError`, `PreparedError` or `WeightsError` as `train` does.
    """
    if isinstance(sizes := changes.get("sizes"), list):
        changes = {"epochs": [1] * len(sizes), **changes}
    numbers = load_recipe(recipe, ClassifierRecipe, changes)
    known, _ = identify_data(Path(prepared))
    numbers = settle_start(numbers, Reporter().log)
    chosen = data.select_faces(read_faces(Path(prepared)), numbers)
    faces = data.gather_faces(chosen, data.read_crops(Path(prepared)), numbers)
    learn = build_learner(faces, numbers, pick_device(device), Path())
    learn.recipe, learn.labels, learn.crop_scale = numbers, faces.labels, known["options"]["scale"]
    return learn


def settle_start(recipe: ClassifierRecipe, log: Log) -> ClassifierRecipe:
    """A recipe whose start can be had: random where ImageNet's can't; or raises `WeightsError`."""
    try:
        load_start(recipe)
    except WeightsError as error:
        if recipe.init != "imagenet":
            raise
        recipe = recipe.model_copy(update={"init": "random"})
        load_start(recipe)  # the net itself may be what can't be had
        rest = "The recipe resnet34-scratch is made for training from random weights."
        log(f"note: {error} {rest}", "start", init="random")
    if recipe.init == "imagenet":
        log(f"start: {recipe.architecture} from ImageNet", "start", init="imagenet")
    return recipe


def build_learner(
    faces: data.TrainingFaces,
    recipe: ClassifierRecipe,
    device: torch.device,
    folder: Path,
    *,
    fresh: bool = True,
    optimiser: Callable[..., Any] = QuickAdam,
    loss: Callable[..., Any] = CrossEntropyLossFlat,
) -> Learner:
    """A learner with the recipe's network, callbacks and loaders; `fresh` with its start.

    The `loss` is made with `weight` (a tensor with one for each class) and `label_smoothing`.
    """
    loaders = data.make_loaders(faces, recipe, recipe.sizes[0], device)
    callbacks: list[Any] = [ChannelsLast()]
    if wants_bf16(recipe, device):
        callbacks.append(Bf16())
    if recipe.mixup:
        callbacks.append(MixUp(recipe.mixup))
    if recipe.teachers:
        callbacks.append(Distillation(load_teachers(recipe, device), recipe.teacher_share))
    weights = data.class_weights(faces.labels, recipe)
    options = {
        "loss_func": loss(weight=weights, label_smoothing=recipe.label_smoothing),
        "metrics": [accuracy, skm_to_fastai(recall_score, average="macro", zero_division=np.nan)],
        "opt_func": optimiser,
        "wd": recipe.weight_decay,
        "cbs": callbacks,
        "path": folder,
    }
    if recipe.architecture == "resnet34":
        head = classifiers.make_head(classifiers.FEATURES["resnet34"], recipe.dropout)
        given: dict[str, Any] = {"pretrained": False, "normalize": False, "custom_head": head}
        learn = vision_learner(loaders, resnet34, n_out=len(CLASSES), **given, **options)
    else:
        net = classifiers.make_net(recipe.architecture, recipe.dropout)
        learn = Learner(loaders, net, splitter=_split_body, **options)
    if fresh and recipe.init != "random":
        start = load_start(recipe)
        start = classifiers.from_torchvision(start) if recipe.architecture == "resnet34" else start
        learn.model.load_state_dict(start, strict=False)
    if recipe.freeze:
        learn.train_bn = False
        learn.add_cb(BnFreeze())
        learn.freeze()
    else:
        learn.unfreeze()
    return learn


def free_body(learn: Learner, recipe: ClassifierRecipe, stage: int) -> None:
    """Let the head alone learn, or all layers, as a stage asks that has an optimiser already."""
    if recipe.fine_tunes and not recipe.freeze:
        (learn.freeze if recipe.stages[stage].head_only else learn.unfreeze)()


def fit_stage(
    learn: Learner,
    recipe: ClassifierRecipe,
    stage: int,
    lr: float,
    callbacks: Sequence[Callback],
    start: float = 0,
) -> None:
    """Train a stage, from 0, whose peak rate is `lr` and of which `start` epochs are done."""
    _, epochs, head_only = recipe.stages[stage]
    fit, cycle = learn.fit, {}
    rates: float | slice = lr
    if recipe.lr_mult > 1 and recipe.init != "random":
        rates = slice(lr / recipe.lr_mult, lr)
    if recipe.schedule == "one-cycle":
        fit = learn.fit_one_cycle
        if recipe.fine_tunes:
            cycle = {"pct_start": 0.99} if head_only else {"pct_start": 0.3, "div": 5.0}
            rates = slice(lr) if head_only else rates
    with learn.no_logging(), learn.no_bar():
        alone = [LearnBeside()] * (learn.dls.device.type == "cpu")
        how = [LearnTogether()] if count_ranks() > 1 else alone
        fit(epochs, rates, cbs=[*callbacks, *how], start_epoch=start, **cycle)


def _split_body(net: nn.Sequential) -> list[list[nn.Parameter]]:
    """Groups that fastai freezes up to the last; timm's bodies in halves, as fastai's ResNets."""
    body, head = (list(part.parameters()) for part in net)
    half = len(body) // 2 if any(map(is_timms, net.modules())) else 0
    return [group for group in (body[:half], body[half:], head) if group]


def find_imagenet(url: str) -> Path:
    """A file of ImageNet weights in torchvision's cache, fetched if need be; raises `WeightsError`.

    Torchvision's file names end in the first digits of the file's SHA-256.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(url).name)
    wanted = path.stem.rpartition("-")[2]
    if not path.is_file():
        log(f"fetching ImageNet weights from {url}")
        try:
            with urlopen(url, timeout=WAIT) as answer:  # noqa: S310
                fetched = answer.read()
            if hashlib.sha256(fetched).hexdigest().startswith(wanted):
                write_atomically(path, fetched)
        except (OSError, HTTPException, OutputError) as error:
            raise WeightsError(
                f"ImageNet weights can't be downloaded ({error}): name a file of them, init=FILE."
            ) from error
    if not path.is_file() or not sha256_of(path).startswith(wanted):
        raise WeightsError(f"{path}: damaged, here or on its way: delete it, and try again.")
    return path


def load_start(recipe: ClassifierRecipe) -> dict[str, Tensor]:
    """The weights a recipe starts from, by names on disk, none if random; raises `WeightsError`."""
    architecture, init = recipe.architecture, recipe.init
    net, is_timm = classifiers.make_net(architecture), architecture.startswith(TIMM)
    if is_timm:
        _try_sizes(net, recipe)
    if init == "random":
        return {}
    name = "ResNet-34" if architecture == "resnet34" else architecture
    try:
        if is_timm and init == "imagenet":
            whole = classifiers.make_timm(architecture.removeprefix(TIMM), pretrained=True)
            state = whole[0].state_dict(prefix="body.")
        else:
            path = SHIPPED / f"{DETECTOR}.safetensors" if init == "detector" else Path(init)
            if init == "imagenet":
                path = find_imagenet(ResNet34_Weights.IMAGENET1K_V1.url)
            state = load_state(path)
            if architecture == "resnet34" and len(state.get("fc.bias", CLASSES)) != len(CLASSES):
                state = {key: state[key] for key in state if not key.startswith("fc.")}
            elif architecture == "mobilenet0.25" and any(key.startswith("fpn.") for key in state):
                state = classifiers.from_detector(*load_weights(path, DetectorCard))
            elif is_timm and not any(key.startswith("body.") for key in state):
                state = name_as_timm(state, net)
        missing = net.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise WeightsError(f"{init}: does not fit a {name}.") from error
    if any(not key.startswith(("fc.", "head.")) for key in missing):
        raise WeightsError(f"{init}: does not hold the weights of a whole {name}.")
    return state


def _try_sizes(net: nn.Module, recipe: ClassifierRecipe) -> None:
    """Refuse a body that takes another size of input than the recipe's."""
    for size in set(recipe.sizes):
        try:
            with torch.inference_mode():
                net.eval()(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{recipe.architecture} can't look at {size} px ({error}): give others to sizes."
            ) from error
