"""Pictures of trainings and faces; all raise `OutputError` if they can't be written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_prep.base.crop import resize_crop
from data_prep.base.files import writing
from data_prep.base.html import BLUE, GREEN, GREY, INK, RED, VIOLET, new_axes
from pipeline.runs.folder import find_kept

LOSSES = {"train_loss": "training", "valid_loss": "validation", "loss": "training"}
SCORES = {"accuracy": "accuracy", "recall_score": "macro recall"}
LINES = (BLUE, RED, GREEN, VIOLET) * 2
TILE = 96
COLUMNS = 10


def draw_history(history: pd.DataFrame) -> list[Figure]:
    """Losses over the epochs of a classifier, the steps of a detector; scores on the validation
    split; what was kept, and where sizes change.
    """
    aps = {
        str(name): str(name).removesuffix("_face_ap50") + ", face AP at IoU 0.5"
        for name in history.filter(regex="_face_ap50$")
    }
    figures, x = [], np.asarray(history.get("step", np.arange(1, len(history) + 1)))
    for title, names in (("Loss", LOSSES), ("On the validation split", aps or SCORES)):
        x_name = "step" if "step" in history else "epoch"
        figure, axes = new_axes(title, x_name, "", width=4.4, height=3.2)
        for (column, name), colour in zip(names.items(), LINES, strict=False):
            if column in history:
                known = history[column].notna().to_numpy()
                axes.plot(x[known], history.loc[known, column], ".-", color=colour, label=name)
        if "stage" in history:
            for change in np.flatnonzero(np.diff(history["stage"])):
                axes.axvline(change + 1.5, color=GREY, linestyle=":")
            axes.axvline(find_kept(history) + 1, color=INK, linestyle="--", lw=1, label="kept")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if names is not LOSSES:
            axes.set_ylim(None, 1)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8.5)
        figures.append(figure)
    return figures


def plot_faces(
    crops: Sequence[np.ndarray], titles: Sequence[str], path: Path, heading: str = ""
) -> None:
    """A sheet of faces, squares in RGB, each under a title of two lines."""
    lines = max(1, -(-len(crops) // COLUMNS))
    figure = Figure(figsize=(1.35 * COLUMNS, 1.75 * lines))
    top = 1 - (0.4 if heading else 0.25) / lines
    figure.subplots_adjust(0.01, 0.01, 0.99, top, wspace=0.08, hspace=0.32)
    figure.suptitle(heading, y=1 - 0.05 / lines, va="top", fontsize=9)
    places = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, crop, title in zip(places, crops, titles, strict=False):
        axes.imshow(resize_crop(crop, TILE))
        axes.set_title(title, fontsize=7)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a picture."""
    with writing(path):
        figure.savefig(path, dpi=110)
