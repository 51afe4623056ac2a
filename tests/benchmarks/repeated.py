"""What benchmarks that train share: datasets built anew, trainings done once, tables of gains.

A training is found again by its recipe, data and start.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.files import make_folder
from data_prep.base.labels import ALIASES
from data_prep.base.progress import log
from data_prep.base.tables import KEY, markdown_table
from data_prep.formats.contracts import Format
from data_prep.prepare.build import build, read_manifest
from data_prep.prepare.options import BuildOptions
from pipeline.experiments.measure import PreparedData
from pipeline.experiments.tables import compare_sides, pick_difference, show_figure
from pipeline.runs.folder import (
    PreparedError,
    Recipe,
    Run,
    RunError,
    is_finished,
    name_weights,
    read_run,
    start_run,
)
from pipeline.runs.log import Log
from pipeline.runs.recipe import GONE
from pipeline.training.short import label_codes


def open_annotated(folder: Path, *outs: Path) -> PreparedData:
    """Read a prepared folder. Raises `PreparedError`: reviewers' decisions have changed its labels.

    What learnt from others would be measured by them.
    """
    data = PreparedData.open(folder, *outs)
    if (read_manifest(folder) or {}).get("decisions"):
        raise PreparedError(
            f"{folder}: built with decisions, which would measure by other labels than the "
            "annotated ones; build it without."
        )
    return data


def read_built(data: PreparedData) -> BuildOptions:
    """How it was built; options that its manifest does not know are as they are by default."""
    record = (read_manifest(data.folder) or {})["options"]
    known = {
        **record,
        "alias": [f"{k}={v}" for k, v in record["aliases"].items() if ALIASES.get(k) != v],
        "format": record.get("format") and Format(record["format"]),
        "names": record.get("names") and Path(record["names"]),
        "columns": ",".join(f"{k}={v}" for k, v in record.get("columns", {}).items()),
    }
    fields = BuildOptions.__dataclass_fields__
    known = {name: value for name, value in known.items() if name in fields}
    return BuildOptions(**known, roots=list(data.roots.values()))


def rebuild(
    data: PreparedData, folder: Path, same: Sequence[str], *, fewer: bool = False, **changes: Any
) -> PreparedData:
    """Its datasets in another folder, some options changed; built if they aren't there yet.

    Every face must have its columns `same` in both; there may be `fewer` faces. Raises
    `PreparedError`: the datasets have changed since this was built.
    """
    build(replace(read_built(data), out=folder, **changes))
    other = PreparedData.open(folder)
    own, known = (
        set(one.table[[*KEY, *same]].itertuples(index=False, name=None)) for one in (other, data)
    )
    if own - known or (known - own and not fewer):
        raise PreparedError(
            f"{data.folder}: the datasets have changed since it was built; build it again."
        )
    return other


def find_run(
    runs: Path, recipe: Recipe, data: dict[str, Any], *, start: Path | None = None
) -> Run | None:
    """The run folder of a recipe on some data, finished or not; None when there is none.

    Weights count by what they hold and their file's name, wherever they lie. Keys that a recipe did
    not have yet count as their defaults.
    """
    wanted = Run(runs, data).describe_training(recipe)["recipe"]
    defaults = type(recipe)().model_dump(mode="json")
    begun_with = start and name_weights(str(start))
    for folder in sorted(path for path in runs.iterdir() if path.is_dir()):
        try:
            about = read_run(folder).about
        except RunError:
            continue
        own = about.get("recipe")
        alike = isinstance(own, dict) and (
            defaults | {k: v for k, v in own.items() if (k, v) not in GONE} == wanted
        )
        if alike and about["data"] == data and about.get("start") == begun_with:
            return Run(folder, data)
    return None


def train_once(
    runs: Path,
    recipe: Recipe,
    data: dict[str, Any],
    train: Callable[[Run], object],
    *,
    start: Path | None = None,
    log: Log,
) -> Run:
    """The run folder of a recipe on some data, where `train` does what is left of the training.

    A detector's begins with the weights `start`.
    """
    make_folder(runs)
    run = find_run(runs, recipe, data, start=start) or start_run(runs, recipe, data, start=start)
    done = is_finished(run.folder)
    log(f"{'trained before' if done else 'run folder'}: {run.folder}", "run", folder=run.folder)
    if not done:
        train(run)
    return run


def prefix_log(log: Log, name: str, **facts: Any) -> Log:
    """A log that puts a name before every line, and facts into every event."""

    def prefixed(line: str, event: str = "note", /, **more: Any) -> None:
        log(f"{name}: {line}", event, **{**facts, **more})

    return prefixed


ALL = "all"
FIGURES = ("accuracy", "macro_recall")


def compare_by_source(
    before: np.ndarray, after: np.ndarray, table: pd.DataFrame, sources: Iterable[str]
) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Name and number of each source's faces, or of `ALL`, and `compare_sides` of their answers.

    `before` and `after` are (N,) whether each face of the table was told right.
    """
    truth = label_codes(table)
    for source in sources:
        own = (table["source"] == source).to_numpy() | (source == ALL)
        pair = before[own][None], after[own][None]
        compared = compare_sides(*pair, truth[own], table["group"][own])
        yield f"{source}, {int(own.sum())} faces", compared


def show_gains(compared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Of each of `FIGURES` what `compare_sides` gives: before → after, and the difference."""
    cells = []
    for one in (compared[name] for name in FIGURES):
        cells.append(f"{one['before']:.3f} → {one['after']:.3f}")
        cells.append(show_figure(pick_difference(one), "+"))
    return cells


def log_gains(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Log a table of rows that end with the cells of `show_gains`."""
    titles = [title for name in FIGURES for title in (name.replace("_", " "), "difference")]
    for line in markdown_table([*heads, *titles], rows).splitlines():  # Logs escape ends of lines.
        log(line)
