"""The histories of several runs over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.plots import save_figure
from pipeline.run_list import NOT_NUMBERS_OF_A_RUN, RunListError, RunRecord, name_folders

NAMES = {"recall_score": "macro recall"}
WIDEST = 3


def plot_histories(records: Sequence[RunRecord], path: Path) -> None:
    """Draw a panel per figure and a line per run.

    Args:
        records: From `read_run`; classifiers go by epochs, detectors by steps.
        path: The PNG.

    Raises:
        RunListError: No run has a history.
        OutputError: The file can't be written.
    """
    columns = dict.fromkeys(
        name
        for record in records
        for name in record.history.select_dtypes("number").columns
        if name not in NOT_NUMBERS_OF_A_RUN
    )
    if not columns:
        raise RunListError("none of the runs has a history to draw yet.")
    lines = -(-len(columns) // WIDEST)
    wide = -(-len(columns) // lines)
    figure = Figure(figsize=(4.2 * wide, 3.1 * lines + 0.3 * len(records)), layout="constrained")
    panels = figure.subplots(lines, wide, squeeze=False).ravel()
    for axes, name in zip(panels, columns, strict=False):
        for index, record in enumerate(records):
            history = record.history
            if name not in history:
                continue
            steps = history.get("step", np.arange(1, len(history) + 1))
            values = history[name]
            known = values.notna()
            axes.plot(
                np.asarray(steps)[known],
                values[known],
                color=f"C{index}",
                marker="o" if known.sum() < 15 else None,
                markersize=3,
            )
            axes.set(xlabel="step" if "step" in history else "epoch")
        axes.set_title(NAMES.get(name, str(name).replace("_", " ")), fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    for axes in panels[len(columns) :]:
        axes.axis("off")
    for index, name in enumerate(name_folders([record.folder for record in records])):
        panels[0].plot([], [], color=f"C{index}", label=name)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    save_figure(figure, path)
