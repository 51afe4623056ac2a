"""Figures on held-out crops, temperature scaling, and leanings of the probabilities.

Guo et al. 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from data_prep.labels import CLASSES, RARE_CLASS
from pipeline.classifier_nets import last_biases
from pipeline.recipe import Architecture

RANGE = (0.25, 4.0)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that gives held-out faces the highest likelihood.

    Args:
        probabilities: Faces × classes at temperature 1.
        truth: Class index of each face.

    Returns:
        Divide logits by it; above 1 when the network is too sure of itself.
    """
    logits = np.log(np.maximum(probabilities.astype(float), 1e-12))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(scaled).sum(axis=1))
        return float((normaliser - scaled[np.arange(len(truth)), truth]).mean())

    best = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded")
    return float(np.exp(best.x))


def undo_class_weights(weights: Tensor | None, share: float) -> Tensor:
    """What brings a network trained with class weights back to the shares that classes really have.

    Weights teach the rare class, but also the belief that it is more frequent than it is: the
    trained odds are the true ones times the weights (Elkan 2001, "The foundations of cost-sensitive
    learning").

    Args:
        weights: Of each class in the loss, or None.
        share: How much of the leaning is taken back: 1 all of it, 0 none.

    Returns:
        What to add to the logits, one number per class.
    """
    return torch.zeros(len(CLASSES)) if weights is None else -share * weights.log().cpu()


def lean_to_rare(odds: float, temperature: float) -> Tensor:
    """What makes the rare class's odds so many times as high as the network says.

    Its faces are few, and found at the price of others told wrongly; a loss that is right on
    average finds fewer of them than is wanted (Menon et al. 2021, "Long-tail learning via logit
    adjustment").

    Args:
        odds: The factor.
        temperature: By which logits will be divided.

    Returns:
        What to add to the logits, one number per class.

    >>> lean_to_rare(1.0, 0.8).tolist()
    [0.0, 0.0, 0.0]
    """
    shift = torch.zeros(len(CLASSES))
    shift[CLASSES.index(RARE_CLASS)] = temperature * math.log(odds)
    return shift


def shift_logits(
    state: dict[str, Tensor], shift: Tensor, architecture: Architecture
) -> dict[str, Tensor]:
    """Add the same to the logits of every face, by the biases of the last layer.

    Args:
        state: Of the classifier, in the names on disk.
        shift: One number per class.
        architecture: Which network.
    """
    biases = last_biases(state, architecture)
    return {**state, **{name: state[name] + shift.to(state[name]) for name in biases}}


def measure_crops(
    probabilities: np.ndarray, truth: np.ndarray, sources: pd.Series
) -> dict[str, dict[str, float]]:
    """Accuracy, recall of each class and their mean, for each source and for all.

    Args:
        probabilities: Faces × classes.
        truth: Class index of each face.
        sources: Dataset of each face.
    """
    right = probabilities.argmax(axis=1) == truth
    figures = {}
    for name in ["all", *sorted(sources.unique())]:
        chosen = np.ones(len(truth), bool) if name == "all" else (sources == name).to_numpy()
        row = {"faces": float(chosen.sum()), "accuracy": float(right[chosen].mean())}
        recalls = {
            label: float(right[chosen & (truth == index)].mean())
            for index, label in enumerate(CLASSES)
            if (chosen & (truth == index)).any()
        }
        figures[name] = {**row, "macro_recall": float(np.mean(list(recalls.values()))), **recalls}
    return figures
