"""What came of the choices, as a table, a JSON file and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from data_prep.files import write_atomically, write_json
from pipeline.choices.trial import Trial
from pipeline.cleaning.clean_effect import compare_sides, measure_side
from pipeline.plots import save_figure
from pipeline.short_trainings.prepared_faces import label_codes

TABLE, PLOT, PROBABILITIES = "choices.json", "choices.png", "probabilities.csv"
ALL = "all"


def measure_trials(trials: Sequence[Trial], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Figures of every line and their differences from the first.

    Args:
        trials: The recipe as it is first.
        table: The N faces.

    Returns:
        Per line `name`, `what`, `seconds`, and for `all` and each source the figures of
        `compare_sides`: `after` is the line's, `before` the first one's, `difference` and its
        paired 95 % `interval` by photo group; the first one's figures also have `alone`, value,
        low and high.
    """
    truth = label_codes(table)
    right = [trial.probabilities.argmax(axis=1) == truth for trial in trials]
    parts = {ALL: np.ones(len(table), bool)}
    parts |= {name: (table["source"] == name).to_numpy() for name in sorted(set(table["source"]))}
    rows: list[dict[str, Any]] = []
    for trial, own in zip(trials, right, strict=True):
        row: dict[str, Any] = {"name": trial.line.name, "what": trial.line.what}
        row["seconds"] = round(trial.seconds, 1)
        for name, chosen in parts.items():
            sides = (right[0][chosen][None], own[chosen][None])
            row[name] = compare_sides(*sides, truth[chosen], table.loc[chosen, "group"])
            if not rows:
                figures = measure_side(own[chosen], truth[chosen], table.loc[chosen, "group"])
                row[name] = {key: {**row[name][key], "alone": figures[key]} for key in row[name]}
        rows.append(row)
    return rows


def write_report(
    rows: list[dict[str, Any]], trials: Sequence[Trial], table: pd.DataFrame, out: Path
) -> None:
    """Write the figures, the probabilities they come from, and the plot.

    Raises:
        OutputError: A file can't be written.
    """
    write_json(out / TABLE, {"faces": len(table), "lines": rows})
    columns: dict[str, Any] = {key: table[key] for key in ("source", "image", "object", "label")}
    for trial in trials:
        for index, share in enumerate(trial.probabilities.T):
            columns[f"{trial.line.name}/{index}"] = share.round(4)
    write_atomically(out / PROBABILITIES, pd.DataFrame(columns).to_csv(index=False))
    _plot(rows, out / PLOT)


def describe_trials(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table; differences are from the first line."""
    sources = [key for key, value in rows[0].items() if isinstance(value, dict) and key != ALL]
    heads = [f"{name}: accuracy | macro recall" for name in sources]
    lines = [
        f"| choice | {' | '.join(heads)} | all: accuracy, difference | macro recall, difference "
        "| minutes |",
        "|---" * (2 * len(sources) + 4) + "|",
    ]
    for row in rows:
        cells = [f"`{row['name']}` {row['what']}"]
        for name in sources:
            cells += [_value(row[name][key]) for key in ("accuracy", "macro_recall")]
        for key in ("accuracy", "macro_recall"):
            figure = row[ALL][key]
            cells.append(_value(figure) if row is rows[0] else _difference(figure))
        cells.append(f"{row['seconds'] / 60:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _value(figure: dict[str, Any]) -> str:
    if "alone" not in figure:
        return f"{figure['after']:.3f}"
    value, low, high = figure["alone"]
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _difference(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Differences with their intervals, one row per line."""
    others = rows[1:]
    figure = Figure(figsize=(9, 1.2 + 0.28 * max(len(others), 1)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(others))
    for axes, key in zip(panels, ("accuracy", "macro_recall"), strict=True):
        values = np.array([row[ALL][key]["difference"] for row in others])
        ends = np.array([row[ALL][key]["interval"] for row in others]).reshape(-1, 2)
        reach = np.abs(ends - values[:, None]).T
        sure = (ends[:, 0] > 0) | (ends[:, 1] < 0)
        colours = np.where(sure, np.where(values > 0, "tab:green", "tab:red"), "tab:grey")
        axes.errorbar(values, places, xerr=reach, fmt="none", ecolor="lightgrey", elinewidth=3)
        axes.scatter(values, places, c=colours, zorder=3)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel=key.replace("_", " "))
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("Difference from the recipe as it is, with its 95 % interval")
    panels[0].set_yticks(places, [row["what"] for row in others])
    panels[0].invert_yaxis()
    save_figure(figure, path)
