"""Training the classifier: one-cycle in stages of growing input size, then calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.schedule import Learner, valley
from fastai.torch_core import to_device

from data_prep.crop import CROP_SCALE
from data_prep.files import write_atomically
from data_prep.labels import CLASSES
from data_prep.photo import read_photo
from data_prep.split import TRAIN, VALID
from pipeline.calibrate import fit_temperature, measure_crops, undo_class_weights
from pipeline.checkpoint import load_checkpoint
from pipeline.class_policy import learnt_classes
from pipeline.classifier import Classifier
from pipeline.classifier_data import (
    ReadCrop,
    class_weights,
    make_loaders,
    select_faces,
)
from pipeline.classifier_learner import fit_stage, make_learner
from pipeline.classifier_nets import fill_net, last_layer, to_stored
from pipeline.compute import seed_everything
from pipeline.drawn_faces import add_drawn_faces, mask_bare_faces
from pipeline.plots import plot_confusion, plot_curves, plot_top_losses
from pipeline.recipe import ClassifierRecipe
from pipeline.reporting import Say
from pipeline.right_angles import add_turned_faces
from pipeline.runs import CHECKPOINT, Run
from pipeline.stages import Row, StageKeeper
from pipeline.tracking.tracker import Tracker, log_metrics
from pipeline.weights import CLASSIFIER, ClassifierCard, save_weights

PREDICTIONS = "valid.csv"
TOP_LOSSES = 60


def train_classifier(
    faces: pd.DataFrame,
    prepared: Path,
    recipe: ClassifierRecipe,
    run: Run,
    *,
    device: torch.device,
    say: Say,
    trackers: Sequence[Tracker] = (),
) -> ClassifierCard:
    """Train a classifier, or go on where a killed run of the same folder stopped.

    Args:
        faces: The whole `faces.csv`.
        prepared: The folder it lies in.
        recipe: Every number.
        run: The run folder; gets weights, card, history, plots and `valid.csv`.
        device: Where to train.
        say: Gets one line per epoch.
        trackers: Get the figures of every epoch, and those on the card.

    Returns:
        The card of the written weights, with the validation figures.

    Raises:
        PreparedError: There is nothing to train or validate on.
        WeightsError: The initial weights can't be had.
    """
    seed_everything(recipe.seed)
    chosen = select_faces(faces, recipe)
    _tell_counts(chosen, say)
    checkpoint = load_checkpoint(run.folder / CHECKPOINT)

    def read(crop: str) -> np.ndarray:
        return read_photo(prepared / crop).pixels

    shown = chosen
    crops: ReadCrop = read
    if recipe.masks == "drawn":
        shown, crops = mask_bare_faces(chosen, read, split=TRAIN, seed=recipe.seed)
        say("drawn masks in place of real ones")
        _tell_counts(shown, say)
    labels = shown.loc[shown["split"] == TRAIN, "label"]
    shown, crops = add_turned_faces(*add_drawn_faces(shown, crops, recipe), recipe)
    loaders = make_loaders(shown, crops, recipe, recipe.sizes[0], device)
    learn = make_learner(loaders, labels, recipe, run.folder, say, fresh=checkpoint is None)
    history: list[Row] = list(checkpoint["history"]) if checkpoint else []
    first = checkpoint["stage"] if checkpoint else 0
    lr = _choose_lr(learn, recipe, history, say)
    for stage in range(first, len(recipe.sizes)):
        resumed = checkpoint if checkpoint and stage == first else None
        learn.dls = make_loaders(shown, crops, recipe, recipe.sizes[stage], device)
        _fit_stage(learn, stage, recipe, run, history, say, lr, resumed, trackers)
        run.write_history(history)
        plot_curves(history, run.folder / "curves.png")
    weights = {k: v.cpu() for k, v in learn.model.state_dict().items()}
    state = store_weights(weights, labels, recipe)
    card = _finish(state, chosen, prepared, recipe, run, device)
    (run.folder / CHECKPOINT).unlink(missing_ok=True)
    figures = {f"valid/{name}": value for name, value in card.results["valid"]["all"].items()}
    log_metrics(trackers, len(learn.dls.train) * len(history), figures)
    return card


def _tell_counts(faces: pd.DataFrame, say: Say) -> None:
    counts: dict[str, dict[str, int]] = {}
    for split in (TRAIN, VALID):
        found = faces.loc[faces["split"] == split, "label"].value_counts()
        counts[split] = {name: int(found.get(name, 0)) for name in CLASSES}
    parts = [
        f"{split}: " + ", ".join(f"{name} {count}" for name, count in some.items())
        for split, some in counts.items()
    ]
    say("; ".join(parts), "data", **counts)


def _choose_lr(learn: Learner, recipe: ClassifierRecipe, history: list[Row], say: Say) -> float:
    """The recipe's rate, or the one the range test finds; a resumed run keeps its own."""
    if recipe.lr != "find":
        return float(recipe.lr)
    if history:
        return history[0]["lr"]
    with learn.no_logging(), learn.no_bar():
        found = float(learn.lr_find(suggest_funcs=valley, show_plot=False).valley)
    say(f"learning rate found: {found:.2e}", "rate", lr=found)
    return found


def _fit_stage(
    learn: Learner,
    stage: int,
    recipe: ClassifierRecipe,
    run: Run,
    history: list[Row],
    say: Say,
    lr: float,
    resumed: dict[str, Any] | None,
    trackers: Sequence[Tracker],
) -> None:
    size, epochs = recipe.sizes[stage], recipe.epochs[stage]
    say(
        f"stage {stage}: {size} px, at most {epochs} epochs",
        "stage",
        stage=stage,
        size=size,
        epochs=epochs,
    )
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
        tracking = [tracker.make_callback() for tracker in trackers]
        fit_stage(learn, recipe, stage, rate, [keeper, *tracking], start)


def make_card(recipe: ClassifierRecipe, run: Run) -> ClassifierCard:
    """How the recipe's network is fed and what it was trained on; not calibrated yet."""
    return ClassifierCard(
        architecture=recipe.architecture,
        colour=recipe.colour,
        mirror=recipe.mirror,
        input_size=recipe.sizes[-1],
        crop_scale=run.data.get("options", {}).get("scale", CROP_SCALE),
        learnt=learnt_classes(recipe.incorrect),
        training=run.describe_training(recipe),
    )


def store_weights(
    state: dict[str, torch.Tensor], labels: pd.Series, recipe: ClassifierRecipe
) -> dict[str, torch.Tensor]:
    """A learner's weights by their names on disk, with the leaning of class weights undone.

    Args:
        state: The learner's.
        labels: Classes of the faces it learnt from.
        recipe: Its recipe.
    """
    stored = to_stored(state, recipe.architecture)
    weights, last = class_weights(labels, recipe), last_layer(recipe.architecture)
    return undo_class_weights(stored, weights, recipe.undo_weights, last=last)


def write_classifier(
    run: Run, state: dict[str, torch.Tensor], card: ClassifierCard
) -> ClassifierCard:
    """Write weights, in half precision, and card; returns the card with their hash.

    Raises:
        OutputError: A file can't be written.
    """
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    return save_weights(run.folder / f"{CLASSIFIER}.safetensors", half, card)


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
    card = make_card(recipe, run)
    net = fill_net(state, recipe.architecture, run.folder)
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
    return write_classifier(run, state, card)
