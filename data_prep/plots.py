"""The plots of the audit page, drawn without a display."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from data_prep.blur import SIZE_EDGES, size_bin
from data_prep.colours import COLOURS, INK
from data_prep.figures import new_axes, to_uri
from data_prep.labels import CLASSES

MAX_POINTS = 4000


def plot_sizes(faces: pd.DataFrame) -> str:
    """Share of each class's faces by short side, as a PNG data URI.

    Args:
        faces: Columns `label` and `short_side` in pixels.
    """
    figure, axes = _size_axes("Face sizes per class", "share of the class")
    sides = faces["short_side"].to_numpy(dtype=float)
    bins = np.geomspace(max(1.0, sides.min()), max(2.0, sides.max() * 1.01), 32)
    for label in CLASSES:
        values = sides[faces["label"].to_numpy() == label]
        if len(values):
            share = np.histogram(values, bins)[0] / len(values)
            axes.stairs(share, bins, color=COLOURS[label], lw=1.8, label=label)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    return to_uri(figure)


def plot_blur(faces: pd.DataFrame, *, seed: int = 0) -> str:
    """Blur score of each face against its size, with the median of each size bin.

    Args:
        faces: Columns `label`, `short_side` in pixels, `blur`.
        seed: Of the sample drawn when there are more than `MAX_POINTS` faces.

    Returns:
        A PNG data URI.
    """
    figure, axes = _size_axes("Blur score against size", "blur score, log")
    sides = faces["short_side"].to_numpy(dtype=float)
    # Scores of flat crops are 0, which a logarithmic axis has no place for.
    scores = np.maximum(faces["blur"].to_numpy(dtype=float), 0.1)
    shown = np.random.default_rng(seed).permutation(len(faces))[:MAX_POINTS]
    colours = faces["label"].map(COLOURS).to_numpy()[shown]
    axes.scatter(sides[shown], scores[shown], s=5, c=colours, alpha=0.35, linewidths=0)
    bins = size_bin(sides)
    present = np.unique(bins)
    middles = [np.median(sides[bins == index]) for index in present]
    medians = [np.median(scores[bins == index]) for index in present]
    axes.plot(middles, medians, "o-", color=INK, lw=1.8, ms=4.5, label="median of a size bin")
    for edge in SIZE_EDGES:
        axes.axvline(edge, color=INK, lw=0.5, alpha=0.18)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")
    return to_uri(figure)


def rank_correlation(faces: pd.DataFrame) -> float | None:
    """Spearman's rank correlation of blur score and short side; None where it is undefined."""
    if len(faces) < 3 or faces["blur"].nunique() < 2 or faces["short_side"].nunique() < 2:
        return None
    return float(faces["blur"].rank().corr(faces["short_side"].rank()))


def _size_axes(title: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = new_axes(title, "short side, px", y)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    return figure, axes
