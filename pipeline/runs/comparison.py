"""The command `runs` of `python -m pipeline`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from data_prep.base.command import explain_errors
from data_prep.base.progress import log

if TYPE_CHECKING:
    from pipeline.runs.listing import RunSummary
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.runs.listing import NOT_NUMBERS_OF_A_RUN, RunListError, RunRecord, name_folders
from pipeline.runs.plots import save_figure

COLUMNS = ("run", "state", "kind", "recipe", "begun", "data", "epochs", "accuracy", "macro recall")
FACES = "face AP50"


def runs_command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folder of runs (runs if not given); with --compare, run folders."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show what differs between the run folders given.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="With --compare: a PNG with the histories over each other.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List run folders, or compare some: what differs, and their figures side by side."""
    with explain_errors():
        from pipeline.runs.listing import RunListError, compare_runs, list_runs, read_run

        given = folders or [Path("runs")]
        if compare:
            table = compare_runs(given)
            if plot is not None:
                plot_histories([read_run(folder) for folder in given], plot)
                log(f"plot: {plot}")
            if as_json:
                typer.echo(json.dumps(table.T.to_dict(), ensure_ascii=False, indent=2))
            else:
                lines = table.itertuples(name=None)
                print_table(
                    ["", *map(str, table.columns)], (list(map(_show, one)) for one in lines)
                )
            return
        if len(given) > 1 or plot is not None:
            raise RunListError("several folders and --plot are for --compare.")
        summaries = list_runs(given[0])
        if as_json:
            from pipeline.runs.listing import describe_summaries

            typer.echo(json.dumps(describe_summaries(summaries), ensure_ascii=False, indent=2))
        else:
            print_table([*COLUMNS, FACES], map(_row, summaries))
        for summary in summaries:
            if summary.problem:
                log(f"broken: {summary.problem}")


def print_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table that fits a terminal, or lines with tabs for other programs."""
    console = Console()
    if not console.is_terminal:
        for row in (names, *rows):
            typer.echo("\t".join(" ".join(cell.split()) for cell in row))
        return
    table = Table(*(Column(Text(name)) for name in names))
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _row(summary: RunSummary) -> list[str]:
    figures = [summary.best.get(key) for key in ("accuracy", "recall_score", "face_ap50")]
    return [
        summary.name,
        summary.state,
        summary.kind,
        summary.recipe,
        summary.date,
        summary.data,
        str(summary.rows or ""),
        *("" if value is None else _show(value) for value in figures),
    ]


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
