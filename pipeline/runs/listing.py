"""The command `runs`: a list of run folders, and how some differ."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.base.labels import CLASSES, SHORT
from data_prep.base.progress import log, tell
from pipeline.runs import folder as run_folder

State = Literal["finished", "can be resumed", "begun", "broken", "not a run"]
"""With weights; with a checkpoint; stopped before the first one; unreadable; foreign."""

FIGURES = {"accuracy": "accuracy", "macro_recall": "macro recall", "face_ap50": "face AP50"}
COLUMNS = (
    *("run", "state", "kind", "recipe", "begun", "data", "epochs", "kept"),
    *(*FIGURES.values(), *(SHORT[name] for name in CLASSES)),
)
"""Figures, and the faces of each class told right, are of the weights of the kept epoch."""

EMPTY: dict[str, Any] = {
    **{"name": "", "state": "not a run", "kind": "", "recipe": "", "date": "", "data": ""},
    **{"rows": 0, "kept": None, "figures": {}, "recalls": {}, "warning": "", "problem": ""},
}

SETTINGS = ("data", "code_sha256", "versions", "python")  # What else of runs is compared.


@dataclass(frozen=True)
class RunsOptions:
    """Options of `runs`."""

    folders: Annotated[list[Path], typer.Argument()] = field(default_factory=list)
    """Folder of runs (runs if not given); with --compare, run folders."""
    compare: Annotated[bool, typer.Option("--compare")] = False
    """Show what differs between the run folders given."""
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


def list_or_compare(options: RunsOptions) -> None:
    """List run folders, or compare some: what differs, and their figures side by side."""
    folders = options.folders or [Path("runs")]
    if not options.compare and len(folders) > 1:
        raise run_folder.RunError("several folders are for --compare.")
    runs = [*map(summarise_run, folders)] if options.compare else list_runs(folders[0])
    notes = [f"note: {run['name']}: {run['warning']}" for run in runs if run["warning"]]
    told: object = runs
    if options.compare:
        table = compare_runs(folders)
        told, names, hidden = table.T.to_dict(), ["", *table.columns], []
        rows = [[*row] for row in table.itertuples(name=None)]
    else:
        rows, names, hidden = [*map(_list_row, runs)], list(COLUMNS), ["kind", "recipe", "begun"]
    notes += warn_of_few({run["name"]: run["recalls"] for run in runs})
    if options.as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        for line in notes if runs else [f"{folders[0]}: no run folder in there yet."]:
            log(line)
        print_table(names, rows, hidden)
    for run in runs:
        if run["problem"]:
            log(f"broken: {run['problem']}")


def list_runs(runs: Path) -> list[dict[str, Any]]:
    """Summaries of a folder of runs, by name, or of one; raises `RunError` if it is neither."""
    if (runs / run_folder.RECIPE).is_file():  # Itself a run.
        return [summarise_run(runs)]
    try:
        folders = sorted(path for path in runs.iterdir() if path.is_dir())
    except OSError as error:
        why = f"can't be listed ({error.strerror}); name a folder of runs, as train -o was told."
        raise run_folder.RunError(f"{runs}: {why}") from error
    return [*map(summarise_run, folders)]


def summarise_run(folder: Path) -> dict[str, Any]:
    """One folder, whatever it holds: its state, or else its problem, and what its record says.

    `date` is when it was begun, ISO 8601 in UTC; `rows` are epochs, or validations of a detector.
    """
    summary = {**EMPTY, "name": folder.name}
    if not (folder / run_folder.RECIPE).is_file() and not (folder / run_folder.ABOUT).is_file():
        return summary
    try:
        record = run_folder.read_run(folder)
    except run_folder.RunError as error:
        return {**summary, "state": "broken", "problem": str(error)}
    state: State = "begun"
    if run_folder.is_finished(folder):
        state = "finished"
    elif (folder / run_folder.CHECKPOINT).is_file():
        state = "can be resumed"
    begun = datetime.fromtimestamp((folder / run_folder.RECIPE).stat().st_mtime, UTC)
    return summary | {
        "state": state,
        "kind": str(record.recipe.get("kind", "")),
        "recipe": str(record.recipe.get("name", "")),
        "date": begun.isoformat(timespec="seconds"),
        "data": ", ".join(record.about["data"]["sources"]),
        "rows": len(record.history),
        "kept": record.kept if record.saved else None,
        "figures": record.saved,
        "recalls": record.recalls,
        "warning": str(record.about.get("warning", "")),
    }


def compare_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """What differs between runs: a column each, its folder's name (its path where names are alike).

    Rows are recipe keys, hashes and versions that are not the same in all, the kept epoch and,
    under `valid`, the figures of its weights. Empty texts where a run has none.
    """
    if len(folders) < 2:
        raise run_folder.RunError("a comparison takes two runs or more.")
    settings, figures = {}, {}
    names = [folder.resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else list(map(str, folders))
    for name, record in zip(names, map(run_folder.read_run, folders), strict=True):
        about = {key: record.about.get(key, "") for key in SETTINGS}
        settings[name] = pd.Series(run_folder.flatten({"recipe": record.recipe, **about}))
        kept = {"kept": str(record.kept)} if record.kept else {}
        results = run_folder.flatten({"valid": record.results}).items()
        figures[name] = pd.Series(kept | {k: v for k, v in results if isinstance(v, (int, float))})
    table, own = pd.DataFrame(settings).fillna(""), pd.DataFrame(figures)
    differs = table.astype(str).nunique(axis=1) > 1
    return pd.concat([table[differs], own.astype(object).where(own.notna(), "")])


def warn_of_few(recalls: Mapping[str, Mapping[str, tuple[int, int]]]) -> Iterator[str]:
    """A line for every class that few faces judge, by the runs' names."""
    for label in CLASSES:
        counts = {name: own[label][1] for name, own in recalls.items() if label in own}
        if few := {name: count for name, count in counts.items() if count < run_folder.FEW_FACES}:
            least = min(few.values())
            yield (
                f"note: {tell(least, 'validation face')} of {label} in {', '.join(few)}: "
                f"one told otherwise moves its recall by {100 / least:.0f} points."
            )


def print_table(
    names: Sequence[str], rows: Iterable[Sequence[Any]], leave_out: Sequence[str] = ()
) -> None:
    """Print a table: aligned columns on a terminal; elsewhere lines with tabs, for programs.

    Each row has a cell for each of `names`; floats are shown with four digits. On a terminal the
    first column is never wrapped, and columns in `leave_out` or without any text are left out.
    """
    lines = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in r] for r in rows]
    console = Console()
    if not console.is_terminal:
        for line in (names, *lines):
            typer.echo("\t".join(" ".join(cell.split()) for cell in line))
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for place, name in enumerate(names):
        cells = [line[place] for line in lines]
        if place == 0 or (any(cells) and name not in leave_out):
            widest = max(map(cell_len, cells), default=0) if place == 0 else None
            table.add_column(Text(name), overflow="fold", min_width=widest)
    shown = [str(column.header) for column in table.columns]
    for line in lines:
        table.add_row(*(Text(line[names.index(name)]) for name in shown))
    console.print(table)


def _list_row(run: dict[str, Any]) -> list[Any]:
    texts = [run[key] for key in ("name", "state", "kind", "recipe", "date", "data")]
    counts = ["{}/{}".format(*own) if own else "" for own in map(run["recalls"].get, CLASSES)]
    figures = [run["figures"].get(key, "") for key in FIGURES]
    return [*texts, run["rows"] or "", run["kept"] or "", *figures, *counts]
