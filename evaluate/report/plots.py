"""The plots of the report."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.cells import cell_len

from data_prep.base import html
from data_prep.base.progress import tell

SIDE = 4.3  # Sides of the square plots in inches.

OTHERS = (html.BLUE, html.RED, html.GREEN, html.YELLOW, html.VIOLET, html.GREY)
"""Colours of classes that are not the mask classes, in turn."""


def choose_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour for each class, and `INK` for faces whatever their class."""
    colours = {
        label: html.COLOURS.get(label, OTHERS[index % len(OTHERS)])
        for index, label in enumerate(classes)
    }
    return {**colours, "face": html.INK}


def plot_precision_recall(curves: Mapping[str, pd.DataFrame], points: Mapping[str, Any]) -> str:
    """Precision against recall of each class, dots where the detector's threshold lies."""
    figure, axes = _new_square("Precision and recall", "recall", "precision")
    colours = choose_colours([name for name in curves if name != "face"])
    for name, curve in curves.items():
        if curve["recall"].isna().all():  # Without a face or a detection.
            continue
        dashed = "--" if name == "face" else "-"
        colour, whole = colours[name], {"clip_on": False}
        points_of = curve["recall"], curve["precision"]
        axes.step(*points_of, dashed, where="post", color=colour, label=name, **whole)
        point = points[name]["at_thresh"]
        if point["precision"] is not None and point["recall"] is not None:
            axes.plot(point["recall"], point["precision"], "o", color=colour, ms=6, **whole)
    return _finish(figure, axes, "lower left")


def plot_roc(curves: Mapping[str, Mapping[str, Any] | None]) -> str:
    """True against false alarms of each stage."""
    figure, axes = _new_square(
        "Alarm: not properly masked", "false alarms: masked faces that raise it", "alarms caught"
    )
    shown = {name: curve for name, curve in curves.items() if curve is not None}
    for (name, curve), colour in zip(shown.items(), OTHERS, strict=False):
        axes.plot(curve["fpr"], curve["tpr"], color=colour, label=name, clip_on=False)
    axes.plot([0, 1], [0, 1], ":", color=html.INK, lw=0.8)
    return _finish(figure, axes, "lower right")


def draw_confusion(confusion: Mapping[str, Any], title: str) -> Figure:
    """Counts, each row coloured by its shares."""
    counts = np.asarray(confusion["counts"])
    rows, columns = confusion["rows"], confusion["columns"]
    figure, axes = html.new_axes(title, "predicted", "annotated", width=1.6 + 0.95 * len(columns))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=mpl.colormaps["Greens"], vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [_wrap(name) for name in columns])
    axes.set_yticks(range(len(rows)), [_wrap(name) for name in rows])
    for row, column in np.ndindex(*counts.shape):
        if (rows[row], columns[column]) == ("false", "missed"):
            continue
        colour = "white" if shares[row, column] > 0.55 else html.INK
        text = f"{counts[row, column]:,}\n{shares[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8.5)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    return figure


def plot_reliability(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracy against confidence, the dots as large as their bins are full."""
    figure, axes = _new_square("Reliability", "stated probability", "share that is right")
    axes.plot([0, 1], [0, 1], ":", color=html.INK, lw=0.8)
    for (name, section), colour in zip(sections.items(), OTHERS, strict=False):
        bins = [one for one in section["bins"] if one["count"]]
        x = [one["confidence"] for one in bins]
        y = [one["accuracy"] for one in bins]
        sizes = [12 + 160 * one["count"] / max(section["faces"], 1) for one in bins]
        axes.plot(x, y, color=colour, lw=1, alpha=0.7, label=name, clip_on=False)
        axes.scatter(x, y, s=sizes, color=colour, alpha=0.7, linewidths=0, clip_on=False)
    return _finish(figure, axes, "upper left")


def plot_unsure(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracy against the share of faces that get an answer."""
    figure, axes = html.new_axes(
        "Leaving doubtful faces unsure", "share answered", "accuracy", width=SIDE, height=SIDE
    )
    for (name, section), colour in zip(sections.items(), OTHERS, strict=False):
        curve = section["unsure"]["curve"]
        pairs = zip(curve["answered"], curve["accuracy"], strict=True)
        if known := [pair for pair in pairs if None not in pair]:
            axes.plot(*zip(*known, strict=True), color=colour, label=name, clip_on=False)
    axes.set_xlim(1, 0)
    axes.set_ylim(None, 1)
    axes.grid(alpha=0.25)
    return _finish(figure, axes, "lower right")


def plot_budget(budget: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """MAP won by mending each kind of error, with intervals."""
    figure, axes = html.new_axes("What each kind of error costs", "mAP@0.5 won when mended", "")
    intervals = (budget["intervals"] or {}).get("gain")
    places = np.arange(len(names))[::-1]
    for place, kind in zip(places, names, strict=True):
        gain = budget["gain"][kind] or 0.0
        axes.barh(place, gain, color=html.RED, height=0.62)
        if intervals is not None and intervals[kind] is not None:
            low, high = intervals[kind]
            axes.plot([low, high], [place, place], color=html.INK, lw=1.2)
            gain = max(gain, high)
        axes.text(
            gain, place, f"  {budget['count'][kind]:,}", va="center", color=html.INK, fontsize=8.5
        )
    axes.set_yticks(places, list(names.values()))
    axes.margins(x=0.12)
    axes.set_xlim(0, min(1.0, axes.get_xlim()[1]))
    return html.to_uri(figure)


def plot_sizes(sizes: Sequence[Mapping[str, Any]]) -> str:
    """Shares of faces found, and found and right, by size."""
    figure, axes = html.new_axes(
        "By size of the face", "short side, px", "share of annotated faces"
    )
    places = np.arange(len(sizes))
    for offset, key, words, colour in (
        (-0.2, "found", "found", "#9fb4c0"),
        (0.2, "found_and_right", "found and right", html.GREEN),
    ):
        values = [one[key] or 0.0 for one in sizes]
        axes.bar(places + offset, values, width=0.38, color=colour, label=words)
        for place, one in zip(places, sizes, strict=True):
            ends = (one["intervals"] or {}).get(key)
            if ends is not None:
                axes.plot([place + offset] * 2, ends, color=html.INK, lw=1.2)
    labels = [f"{one['name']}\n{tell(sum(one['faces'].values()), 'face')}" for one in sizes]
    axes.set_xticks(places, labels)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return html.to_uri(figure)


def _new_square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Axes for two shares, neither of which can exceed 1."""
    figure, axes = html.new_axes(title, x, y, width=SIDE, height=SIDE)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.25)
    return figure, axes


def _finish(figure: Figure, axes: Axes, legend: str) -> str:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5, loc=legend)
    return html.to_uri(figure)


def _wrap(name: str) -> str:
    """Long class names on several lines."""
    width = 14 * len(name) // cell_len(name)  # Some letters are as wide as two.
    return fill(name.replace("_", " _"), max(width, 1)).replace(" _", "_")
