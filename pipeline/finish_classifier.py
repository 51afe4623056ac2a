"""What is left to do after training: calibrate, measure, draw, write weights and card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data_prep.crop import CROP_SCALE
from data_prep.files import write_atomically
from data_prep.labels import CLASSES
from data_prep.photo import read_photo
from data_prep.split import VALID
from pipeline.calibrate import (
    fit_temperature,
    lean_to_rare,
    measure_crops,
    shift_logits,
    undo_class_weights,
)
from pipeline.class_policy import learnt_classes
from pipeline.classifier import Classifier
from pipeline.classifier_data import class_weights
from pipeline.classifier_nets import fill_net, to_stored
from pipeline.plots import plot_confusion, plot_top_losses
from pipeline.recipe import ClassifierRecipe
from pipeline.runs import Run
from pipeline.weights import CLASSIFIER, ClassifierCard, save_weights

PREDICTIONS = "valid.csv"
TOP_LOSSES = 60


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
    shift = undo_class_weights(class_weights(labels, recipe), recipe.undo_weights)
    return shift_logits(stored, shift, recipe.architecture)


def write_classifier(
    run: Run, state: dict[str, torch.Tensor], card: ClassifierCard
) -> ClassifierCard:
    """Write weights, in half precision, and card; returns the card with their hash.

    Raises:
        OutputError: A file can't be written.
    """
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    return save_weights(run.folder / f"{CLASSIFIER}.safetensors", half, card)


def finish_classifier(
    state: dict[str, torch.Tensor],
    faces: pd.DataFrame,
    prepared: Path,
    recipe: ClassifierRecipe,
    run: Run,
    device: torch.device,
) -> ClassifierCard:
    """Calibrate, measure on the validation crops by the road of `run.py`, draw, and write.

    Args:
        state: From `store_weights` or `join_members`.
        faces: Those of the recipe, with their split.
        prepared: The folder their crops lie in.
        recipe: What was trained.
        run: The run folder; gets weights, card, plots and `valid.csv`.
        device: Where to classify.

    Raises:
        OutputError: A file can't be written.
    """
    valid = faces[faces["split"] == VALID].reset_index(drop=True)
    crops = [read_photo(prepared / crop).pixels for crop in valid["crop"]]
    card = make_card(recipe, run)
    net = fill_net(state, recipe.architecture, run.folder)
    probabilities = Classifier(net, card, device=device).classify(crops)
    truth = np.array([CLASSES.index(label) for label in valid["label"]])
    card.temperature = fit_temperature(probabilities, truth)
    lean = lean_to_rare(recipe.rare_odds, card.temperature)
    state = shift_logits(state, lean, recipe.architecture)
    net = fill_net(state, recipe.architecture, run.folder)
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
