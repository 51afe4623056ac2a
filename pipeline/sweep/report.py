"""The table of a sweep, for programs and for people, and its plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_prep.files import write_atomically
from data_prep.labels import CLASSES
from pipeline.plots import SHORT, save_figure
from pipeline.sweep.outcome import Outcome

TABLE, TEXT, PLOT = "sweep.csv", "sweep.md", "sweep.png"
FIGURES = ("macro_recall", "accuracy", "loss")
MOST_PANELS = 5


def tabulate(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """A row per combination: swept keys, figures, recalls, seconds, run; the best first.

    Best is by macro recall, then accuracy, then loss.
    """
    rows = [
        {
            **one.combination.values,
            **{name: getattr(one, name) for name in FIGURES},
            **{f"recall_{name}": one.recalls.get(name) for name in CLASSES},
            "seconds": one.seconds,
            "run": one.run,
        }
        for one in outcomes
    ]
    return pd.DataFrame(rows).sort_values(
        list(FIGURES), ascending=[False, False, True], kind="stable", ignore_index=True
    )


def describe_sweep(outcomes: Sequence[Outcome], folds: int | None) -> str:
    """The table as Markdown, and what its figures are worth."""
    keys = list(outcomes[0].combination.values)
    table = tabulate(outcomes)
    shorts = [f"recall, {SHORT[name]}" for name in CLASSES]
    heads = [*keys, "macro recall", "accuracy", "loss", *shorts, "seconds", "run"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in table.to_dict("records"):
        figures = [row[name] for name in (*FIGURES, *(f"recall_{name}" for name in CLASSES))]
        cells = [
            *(f"`{row[key]}`" for key in keys),
            *("–" if pd.isna(value) else f"{value:.3f}" for value in figures),
            "–" if pd.isna(row["seconds"]) else f"{row['seconds']:.0f}",
            row["run"] or "–",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", warn_of_choosing(outcomes, folds)])


def warn_of_choosing(outcomes: Sequence[Outcome], folds: int | None) -> str:
    """Why the first row's figures are too good."""
    count, faces = len(outcomes), max(one.faces for one in outcomes)
    where = (
        f"{folds} grouped folds of {faces} training faces, by short trainings"
        if folds
        else f"one validation split of {faces} faces"
    )
    advice = (
        "Train the chosen recipe and take its figures from the validation split, which this left "
        "alone."
        if folds
        else "Choose by --folds instead, or measure the chosen weights on photos that had no part "
        "in the choice."
    )
    return (
        f"Measured on {where}. The best of {count} is the luckiest of {count}, too: its figures "
        f"are optimistic, and small differences between rows mean nothing. {advice}"
    )


def write_report(outcomes: Sequence[Outcome], out: Path, folds: int | None) -> None:
    """Write `sweep.csv`, `sweep.md` and `sweep.png`.

    Raises:
        OutputError: A file can't be written.
    """
    table = tabulate(outcomes)
    write_atomically(out / TABLE, table.to_csv(index=False, float_format="%.6g"))
    write_atomically(out / TEXT, describe_sweep(outcomes, folds) + "\n")
    plot_sweep(outcomes, out / PLOT)


def plot_sweep(outcomes: Sequence[Outcome], path: Path) -> None:
    """A column of panels per swept key: a dot per combination, the mean of each value as a bar.

    Grey lines join combinations that differ in that key alone; the star is the first of the table.
    """
    keys = list(outcomes[0].combination.values)[:MOST_PANELS]
    best = max(outcomes, key=lambda one: (one.macro_recall, one.accuracy, -one.loss))
    figure = Figure(figsize=(1.6 + 3.2 * len(keys), 5.6), layout="constrained")
    panels = figure.subplots(2, len(keys), sharey="row", sharex="col", squeeze=False)
    for row, figure_name in enumerate(("macro_recall", "accuracy")):
        for column, key in enumerate(keys):
            axes = panels[row][column]
            _draw_key(axes, outcomes, key, figure_name, best)
            if row:
                axes.set_xlabel(key)
        panels[row][0].set_ylabel(figure_name.replace("_", " "))
    figure.suptitle(
        f"{len(outcomes)} combinations; bar: mean of a value; star: {best.combination.name}",
        fontsize=10,
    )
    save_figure(figure, path)


def _draw_key(
    axes: Axes, outcomes: Sequence[Outcome], key: str, figure: str, best: Outcome
) -> None:
    values = list(dict.fromkeys(one.combination.values[key] for one in outcomes))
    siblings: dict[tuple[str, ...], list[Outcome]] = {}
    for one in outcomes:
        others = tuple(v for k, v in one.combination.values.items() if k != key)
        siblings.setdefault(others, []).append(one)
    shifts = np.linspace(-0.15, 0.15, len(siblings)) if len(siblings) > 1 else np.zeros(1)
    for shift, some in zip(shifts, siblings.values(), strict=True):
        places = [values.index(one.combination.values[key]) + shift for one in some]
        heights = [getattr(one, figure) for one in some]
        axes.plot(places, heights, color="lightgrey", linewidth=1, zorder=1)
        axes.scatter(places, heights, color="tab:blue", s=22, zorder=2)
        for place, one in zip(places, some, strict=True):
            if one is best:
                height = getattr(one, figure)
                axes.scatter(place, height, color="tab:red", marker="*", s=150, zorder=4)
    for place, value in enumerate(values):
        own = [getattr(one, figure) for one in outcomes if one.combination.values[key] == value]
        axes.hlines(np.mean(own), place - 0.3, place + 0.3, color="black", linewidth=2, zorder=3)
    axes.set_xticks(range(len(values)), values)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.grid(axis="y", alpha=0.3)
