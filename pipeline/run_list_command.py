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

from pipeline.console import explain_errors, say

if TYPE_CHECKING:
    from pipeline.run_list import RunSummary

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
        from pipeline.run_list import RunListError, compare_runs, list_runs, read_run

        given = folders or [Path("runs")]
        if compare:
            table = compare_runs(given)
            if plot is not None:
                from pipeline.run_plots import plot_histories

                plot_histories([read_run(folder) for folder in given], plot)
                say(f"plot: {plot}")
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
            from pipeline.run_list import describe_summaries

            typer.echo(json.dumps(describe_summaries(summaries), ensure_ascii=False, indent=2))
        else:
            print_table([*COLUMNS, FACES], map(_row, summaries))
        for summary in summaries:
            if summary.problem:
                say(f"broken: {summary.problem}")


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
