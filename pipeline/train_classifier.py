"""Training the classifier: one-cycle in stages of growing input size, then calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.mixup import MixUp
from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import Learner, valley
from fastai.data.core import DataLoaders
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import Recall as SklearnRecall
from fastai.metrics import accuracy
from fastai.optimizer import Adam
from fastai.torch_core import to_device
from fastai.vision.learner import vision_learner
from torchvision.models import resnet34

from data_prep.files import write_atomically
from data_prep.labels import CLASSES
from data_prep.photo import read_photo
from data_prep.split import TRAIN, VALID
from pipeline.calibrate import fit_temperature, measure_crops, undo_class_weights
from pipeline.checkpoint import load_checkpoint
from pipeline.classifier import (
    Classifier,
    fill_resnet,
    from_torchvision,
    make_head,
    to_torchvision,
)
from pipeline.classifier_data import class_weights, make_loaders, select_faces
from pipeline.compute import has_fast_bf16, seed_everything
from pipeline.plots import plot_confusion, plot_curves, plot_top_losses
from pipeline.recipe import ClassifierRecipe
from pipeline.runs import CHECKPOINT, Run
from pipeline.stages import Bf16, Row, StageKeeper
from pipeline.weights import CLASSIFIER, ClassifierCard, WeightsError, load_state, save_weights

PREDICTIONS = "valid.csv"
TOP_LOSSES = 60


def train_classifier(
    faces: pd.DataFrame,
    prepared: Path,
    recipe: ClassifierRecipe,
    run: Run,
    *,
    device: torch.device,
    say: Callable[[str], None],
) -> ClassifierCard:
    """Train a classifier, or go on where a killed run of the same folder stopped.

    Args:
        faces: The whole `faces.csv`.
        prepared: The folder it lies in.
        recipe: Every number.
        run: The run folder; gets weights, card, history, plots and `valid.csv`.
        device: Where to train.
        say: Gets one line per epoch.

    Returns:
        The card of the written weights, with the validation figures.

    Raises:
        PreparedError: There is nothing to train or validate on.
        WeightsError: The initial weights can't be had.
    """
    seed_everything(recipe.seed)
    chosen = select_faces(faces, recipe)
    say(_count(chosen))
    checkpoint = load_checkpoint(run.folder / CHECKPOINT)
    loaders = make_loaders(chosen, prepared, recipe, recipe.sizes[0], device)
    labels = chosen.loc[chosen["split"] == TRAIN, "label"]
    learn = make_learner(loaders, labels, recipe, run.folder, say, fresh=checkpoint is None)
    history: list[Row] = list(checkpoint["history"]) if checkpoint else []
    first = checkpoint["stage"] if checkpoint else 0
    lr = _choose_lr(learn, recipe, history, say)
    for stage in range(first, len(recipe.sizes)):
        resumed = checkpoint if checkpoint and stage == first else None
        learn.dls = make_loaders(chosen, prepared, recipe, recipe.sizes[stage], device)
        _fit_stage(learn, stage, recipe, run, history, say, lr, resumed)
        run.write_history(history)
        plot_curves(history, run.folder / "curves.png")
    state = to_torchvision({k: v.cpu() for k, v in learn.model.state_dict().items()})
    card = _finish(state, chosen, prepared, recipe, run, device)
    (run.folder / CHECKPOINT).unlink(missing_ok=True)
    return card


def _count(faces: pd.DataFrame) -> str:
    parts = []
    for split in (TRAIN, VALID):
        counts = faces.loc[faces["split"] == split, "label"].value_counts()
        parts.append(f"{split}: " + ", ".join(f"{name} {counts.get(name, 0)}" for name in CLASSES))
    return "; ".join(parts)


def make_learner(
    loaders: DataLoaders,
    labels: pd.Series,
    recipe: ClassifierRecipe,
    folder: Path,
    say: Callable[[str], None],
    *,
    fresh: bool,
    optimiser: Callable[..., Any] = Adam,
) -> Learner:
    """Fastai's `vision_learner` with the recipe's loss, callbacks and initial weights.

    Args:
        loaders: Training and validation batches; their device is where it trains.
        labels: Classes of the training faces, for the loss weights.
        recipe: Every number.
        folder: Where fastai puts what it writes.
        say: Gets a note when the weights are random.
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
    try:
        learn = vision_learner(
            loaders,
            resnet34,
            pretrained=fresh and recipe.init == "imagenet",
            normalize=False,
            custom_head=make_head(recipe.dropout),
            loss_func=CrossEntropyLossFlat(weight=weights, label_smoothing=recipe.label_smoothing),
            metrics=[accuracy, SklearnRecall(average="macro")],
            opt_func=optimiser,
            wd=recipe.weight_decay,
            cbs=callbacks,
            path=folder,
        )
    except OSError as error:
        raise WeightsError(
            f"the ImageNet weights can't be downloaded ({error}): set init to 'random' or to a "
            "safetensors file of a ResNet-34."
        ) from error
    learn.remove_cb(ProgressCallback)
    learn.unfreeze()
    if fresh and recipe.init == "random":
        say("note: from random weights; ImageNet weights (--set init=imagenet) do better.")
    elif fresh and recipe.init != "imagenet":
        state = from_torchvision(load_state(Path(recipe.init)))
        try:
            missing = learn.model.load_state_dict(state, strict=False).missing_keys
        except RuntimeError as error:
            raise WeightsError(f"{recipe.init}: does not fit a ResNet-34.") from error
        if any(name.startswith("0.") for name in missing):
            raise WeightsError(f"{recipe.init}: does not hold the weights of a whole ResNet-34.")
    return learn


def _choose_lr(
    learn: Learner, recipe: ClassifierRecipe, history: list[Row], say: Callable[[str], None]
) -> float:
    """The recipe's rate, or the one the range test finds; a resumed run keeps its own."""
    if recipe.lr != "find":
        return float(recipe.lr)
    if history:
        return history[0]["lr"]
    with learn.no_logging(), learn.no_bar():
        found = float(learn.lr_find(suggest_funcs=valley, show_plot=False).valley)
    say(f"learning rate found: {found:.2e}")
    return found


def _fit_stage(
    learn: Learner,
    stage: int,
    recipe: ClassifierRecipe,
    run: Run,
    history: list[Row],
    say: Callable[[str], None],
    lr: float,
    resumed: dict[str, Any] | None,
) -> None:
    say(f"stage {stage}: {recipe.sizes[stage]} px, at most {recipe.epochs[stage]} epochs")
    learn.create_opt()
    start = 0
    if resumed:
        start = resumed["epoch"]
        if start >= recipe.epochs[stage] or resumed["worse"] >= recipe.patience:
            learn.model.load_state_dict(resumed["best"] or resumed["model"])
            return
        learn.model.load_state_dict(resumed["model"])
        learn.opt.load_state_dict(to_device(resumed["optimiser"], learn.dls.device))
    rate = lr * recipe.stage_lr**stage
    keeper = StageKeeper(
        stage,
        lr=rate,
        patience=recipe.patience,
        seed=recipe.seed,
        path=run.folder / CHECKPOINT,
        history=history,
        say=say,
        resumed=resumed,
    )
    with learn.no_logging():
        learn.fit_one_cycle(recipe.epochs[stage], rate, cbs=keeper, start_epoch=start)


def _finish(
    state: dict[str, torch.Tensor],
    faces: pd.DataFrame,
    prepared: Path,
    recipe: ClassifierRecipe,
    run: Run,
    device: torch.device,
) -> ClassifierCard:
    """Calibrate, measure on the validation crops by the road of `run.py`, draw, and write."""
    valid = faces[faces["split"] == VALID].reset_index(drop=True)
    crops = [read_photo(prepared / crop).pixels for crop in valid["crop"]]
    card = ClassifierCard(input_size=recipe.sizes[-1], training=run.describe_training(recipe))
    weights = class_weights(faces.loc[faces["split"] == TRAIN, "label"], recipe)
    state = undo_class_weights(state, weights, recipe.undo_weights)
    net = fill_resnet(state, run.folder)
    probabilities = Classifier(net, card, device=device).classify(crops)
    truth = np.array([CLASSES.index(label) for label in valid["label"]])
    card.temperature = fit_temperature(probabilities, truth)
    probabilities = Classifier(net, card, device=device).classify(crops)
    card.results = {"valid": measure_crops(probabilities, truth, valid["source"])}
    table = valid[["source", "image", "object", "label"]].copy()
    table["predicted"] = [CLASSES[i] for i in probabilities.argmax(axis=1)]
    for index, name in enumerate(CLASSES):
        table[f"p_{name}"] = probabilities[:, index].round(5)
    table["loss"] = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9))
    write_atomically(run.folder / PREDICTIONS, table.to_csv(index=False, float_format="%.5g"))
    plot_confusion(truth, probabilities.argmax(axis=1), run.folder / "confusion.png")
    worst = np.argsort(-table["loss"].to_numpy(), kind="stable")[:TOP_LOSSES]
    plot_top_losses([crops[i] for i in worst], table.iloc[worst], run.folder / "top_losses.png")
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    return save_weights(run.folder / f"{CLASSIFIER}.safetensors", half, card)
