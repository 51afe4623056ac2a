"""What is left to do after training: calibrate, measure, draw, write weights and card."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.learner import Learner
from scipy.optimize import minimize_scalar
from torch import Tensor

from data_prep.base.crop import CROP_SCALE
from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.grouping.split import VALID
from pipeline.inference.classifier import Classifier
from pipeline.inference.engines import AUTO
from pipeline.inference.looks import describe_crops, fit_ranges
from pipeline.nets.cards import CLASSIFIER, Architecture, ClassifierCard, WeightsError, save_weights
from pipeline.nets.classifiers import fill_net, last_biases, to_stored
from pipeline.runs.folder import PREDICTIONS, Run
from pipeline.runs.plots import plot_top_losses, save_figure
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.data import FitCrop, class_weights
from pipeline.training.report import confuse_classes

TEMPERATURES = (0.25, 4.0)  # Range that temperatures are looked for in.

TOP_LOSSES = 60


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that gives held-out faces the highest likelihood; logits are divided by it.

    From probabilities at temperature 1, faces × classes, and the class index of each face.
    """
    logits = np.log(np.maximum(probabilities.astype(float), 1e-12))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(scaled).sum(axis=1))
        return float((normaliser - scaled[np.arange(len(truth)), truth]).mean())

    best = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(best.x))


def undo_class_weights(weights: Tensor | None, share: float) -> Tensor:
    """What to add to the logits to take a share of the class weights' prior shift back.

    Weights teach the rare class, but also the belief that it is more frequent than it is: the
    trained odds are the true ones times the weights (Elkan 2001, "The foundations of cost-sensitive
    learning").
    """
    return torch.zeros(len(CLASSES)) if weights is None else -share * weights.log().cpu()


def shift_prior(odds: float, temperature: float) -> Tensor:
    """What to add to the logits, before they are divided, to multiply the rare class's odds.

    Its faces are few, and found at the price of others that are mistaken for it; a loss that is
    right on average finds fewer of them than is wanted (Menon et al. 2021, "Long-tail learning via
    logit adjustment").
    """
    shift = torch.zeros(len(CLASSES))
    shift[CLASSES.index(RARE_CLASS)] = temperature * math.log(odds)
    return shift


def shift_logits(
    state: dict[str, Tensor], shift: Tensor, architecture: Architecture
) -> dict[str, Tensor]:
    """Add one number per class to the logits of every face, by the last biases as on disk."""
    biases = last_biases(state, architecture)
    return {**state, **{name: state[name] + shift.to(state[name]) for name in biases}}


def measure_crops(
    probabilities: np.ndarray, truth: np.ndarray, sources: pd.Series
) -> dict[str, dict[str, float]]:
    """Accuracy, recall of each class and their mean, for each source and for all.

    Of N faces: probabilities (N, classes), index of the true class, and dataset.
    """
    right = probabilities.argmax(axis=1) == truth
    table = pd.DataFrame({"source": sources.to_numpy(), "truth": truth, "right": right})
    parts = {"all": table, **{str(name): rows for name, rows in table.groupby("source")}}
    return {name: _measure_rows(rows) for name, rows in parts.items()}


def _measure_rows(rows: pd.DataFrame) -> dict[str, float]:
    means = rows.groupby("truth")["right"].mean().to_dict()
    recalls = {name: float(means[code]) for code, name in enumerate(CLASSES) if code in means}
    return {
        "faces": float(len(rows)),
        "accuracy": float(rows["right"].mean()),
        "macro_recall": float(np.mean(list(recalls.values()))),
        **recalls,
    }


def make_card(
    recipe: ClassifierRecipe, run: Run | None = None, labels: Iterable[str] = CLASSES
) -> ClassifierCard:
    """How the recipe's network is fed, not calibrated yet; with a run, what it was trained on.

    A class that none of the `labels` is, nor any drawn face, is never answered.
    """
    known = {*labels, *([RARE_CLASS] if recipe.drawn else [])}
    card = ClassifierCard(
        architecture=recipe.architecture,
        colour=recipe.colour,
        mirror=recipe.mirror,
        input_size=recipe.sizes[-1],
        learnt=tuple(name for name in recipe.learnt if name in known),
    )
    if run is not None:
        card.crop_scale = run.data.get("options", {}).get("scale", CROP_SCALE)
        card.training = run.describe_training(recipe)
        card.training_photos = run.photos
    return card


def store_weights(
    state: dict[str, Tensor], labels: pd.Series, recipe: ClassifierRecipe
) -> dict[str, Tensor]:
    """A learner's weights by their names on disk, with the prior shift of class weights undone."""
    stored = to_stored(state, recipe.architecture)
    shift = undo_class_weights(class_weights(labels, recipe), recipe.undo_weights)
    return shift_logits(stored, shift, recipe.architecture)


def use_learner(
    learn: Learner, *, device: torch.device, bf16: bool = False, engine: str = AUTO
) -> Classifier:
    """A copy of the net of `make_learner` as it is now, used as `train` would, not calibrated.

    Raises:
        WeightsError: The learner was made otherwise: how its crops are cut is not known.
    """
    recipe = getattr(learn, "recipe", None)
    if not isinstance(recipe, ClassifierRecipe):
        raise WeightsError("this learner is not of trimask.learner: how are its crops cut?")
    state = {name: tensor.cpu() for name, tensor in learn.model.state_dict().items()}
    state = store_weights(state, learn.labels, recipe)
    sizes = [one.size for one in learn.dls.valid.after_item.fs if isinstance(one, FitCrop)]
    fed = {"crop_scale": learn.crop_scale, "input_size": sizes[0] if sizes else recipe.sizes[-1]}
    card = make_card(recipe).model_copy(update=fed)
    net = fill_net(state, recipe.architecture, Path(recipe.name))
    return Classifier(net, card, device=device, bf16=bf16, engine=engine)


def write_classifier(run: Run, state: dict[str, Tensor], card: ClassifierCard) -> ClassifierCard:
    """Write weights, in half precision, and card; returns the card with their hash."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    return save_weights(run.folder / f"{CLASSIFIER}.safetensors", half, card)


def export_classifier(
    state: dict[str, Tensor],
    faces: pd.DataFrame,
    prepared: Path,
    recipe: ClassifierRecipe,
    run: Run,
    device: torch.device,
) -> ClassifierCard:
    """Calibrate, measure on the validation crops by the road of `run.py`, draw, and write.

    The state is as on disk, at temperature 1.
    """
    valid = faces[faces["split"] == VALID].reset_index(drop=True)
    crops = [read_photo(prepared / crop).pixels for crop in valid["crop"]]
    truth = valid["label"].map(CLASSES.index).to_numpy()
    card = make_card(recipe, run, faces["label"])

    def embed() -> tuple[np.ndarray, np.ndarray]:
        net = fill_net(state, recipe.architecture, run.folder)
        return Classifier(net, card, device=device).embed(crops)

    card.temperature = fit_temperature(embed()[0], truth)
    shift = shift_prior(recipe.rare_odds, card.temperature)
    state = shift_logits(state, shift, recipe.architecture)
    probabilities, features = embed()
    card.results = {"valid": measure_crops(probabilities, truth, valid["source"])}
    looks = describe_crops(crops, probabilities, features)
    card.looks = fit_ranges(looks, valid["image"], valid["source"])
    predicted = probabilities.argmax(axis=1)
    table = valid[["source", "image", "object", "label"]].copy()
    table["predicted"] = [CLASSES[code] for code in predicted]
    table[[f"p_{name}" for name in CLASSES]] = probabilities.round(5)
    table["loss"] = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9))
    write_atomically(run.folder / PREDICTIONS, table.to_csv(index=False, float_format="%.5g"))
    save_figure(confuse_classes(table), run.folder / "confusion.png")
    worst = np.argsort(-table["loss"].to_numpy(), kind="stable")[:TOP_LOSSES]
    plot_top_losses([crops[i] for i in worst], table.iloc[worst], run.folder / "top_losses.png")
    return write_classifier(run, state, card)
