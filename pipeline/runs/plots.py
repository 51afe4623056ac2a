"""Pictures of trainings and faces; all raise `OutputError` where they can't be written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import confusion_matrix

from data_prep.base.crop import resize_crop
from data_prep.base.files import output_error
from data_prep.base.labels import CLASSES
from pipeline.runs.folder import RunError, RunRecord

SHORT = {"with_mask": "with", "without_mask": "without", "mask_weared_incorrect": "incorrect"}
TILE = 96
COLUMNS = 10
PANELS = 3
"""Side by side, of a figure of histories."""


def plot_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Loss, accuracy and macro recall over the epochs of all stages, rows of `history.csv`."""
    table = pd.DataFrame(list(history))
    epochs = np.arange(1, len(table) + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, table["train_loss"], label="training")
    left.plot(epochs, table["valid_loss"], label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    right.plot(epochs, table["accuracy"], label="accuracy")
    right.plot(epochs, table["recall_score"], label="macro recall")
    right.set(xlabel="epoch", ylim=(None, 1))
    for axes in (left, right):
        for change in np.flatnonzero(np.diff(table["stage"])):
            axes.axvline(change + 1.5, color="grey", linestyle=":")
        axes.grid(alpha=0.3)
        axes.legend()
    save_figure(figure, path)


def plot_histories(records: Sequence[RunRecord], path: Path) -> None:
    """Draw a panel per figure and a line per run, by epochs of classifiers, steps of detectors.

    Raises:
        RunError: No run has a history.
    """
    columns = dict.fromkeys(str(name) for record in records for name in record.figures)
    if not columns:
        raise RunError("none of the runs has a history to draw yet.")
    lines = -(-len(columns) // PANELS)
    wide = -(-len(columns) // lines)
    figure = Figure(figsize=(4.2 * wide, 3.1 * lines + 0.3 * len(records)), layout="constrained")
    panels = figure.subplots(lines, wide, squeeze=False).ravel()
    for axes, name in zip(panels, columns, strict=False):
        for index, record in enumerate(records):
            if name in record.figures:
                values = record.figures[name].dropna()
                marker = "o" if len(values) < 15 else None
                axes.plot(values, color=f"C{index}", marker=marker, markersize=3)
                axes.set(xlabel=values.index.name)
        title = "macro recall" if name == "recall_score" else name.replace("_", " ")
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    for axes in panels[len(columns) :]:
        axes.axis("off")
    for index, name in enumerate(name_folders([record.folder for record in records])):
        panels[0].plot([], [], color=f"C{index}", label=name)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    save_figure(figure, path)


def plot_rates(rates: Sequence[float], losses: Sequence[float], found: float, path: Path) -> None:
    """The loss of a range test by learning rate, up to where it explodes, and the rate chosen."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, [float(loss) for loss in losses])
    axes.axvline(found, color="C1", linestyle="--", label=f"chosen: {found:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.set_ylim(top=1.2 * float(losses[0]))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    save_figure(figure, path)


def name_folders(folders: Sequence[Path]) -> list[str]:
    """Names that tell folders apart: their own, or else their paths."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def plot_confusion(truth: np.ndarray, predicted: np.ndarray, path: Path) -> None:
    """Counts of true against predicted class indices, coloured by the share of the true class."""
    counts = confusion_matrix(truth, predicted, labels=range(len(CLASSES)))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(4.6, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap=mpl.colormaps["Blues"], vmin=0, vmax=1)
    names = [SHORT[name] for name in CLASSES]
    axes.set(xlabel="predicted", ylabel="annotated")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if share[row, column] > 0.5 else "black"
        text = f"{counts[row, column]}\n{share[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    save_figure(figure, path)


def plot_top_losses(crops: Sequence[np.ndarray], rows: pd.DataFrame, path: Path) -> None:
    """A sheet of the faces the model gets most wrong: `label`, `predicted` and `loss` of each."""
    titles = [
        f"{SHORT[label]} → {SHORT[predicted]}\nloss {loss:.1f}"
        for label, predicted, loss in rows[["label", "predicted", "loss"]].itertuples(index=False)
    ]
    plot_faces(crops, titles, path)


def plot_faces(crops: Sequence[np.ndarray], titles: Sequence[str], path: Path) -> None:
    """A sheet of faces, squares in RGB, each under a title of two lines."""
    lines = max(1, -(-len(crops) // COLUMNS))
    figure = Figure(figsize=(1.35 * COLUMNS, 1.75 * lines))
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.25 / lines, wspace=0.08, hspace=0.32)
    places = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, crop, title in zip(places, crops, titles, strict=False):
        axes.imshow(resize_crop(crop, TILE))
        axes.set_title(title, fontsize=7)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a picture."""
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise output_error(path, error) from error
