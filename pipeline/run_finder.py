"""Finding the run folder of a training again, and what it cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.files import write_json
from pipeline.run_list import RunListError, read_run
from pipeline.runs import Recipe, Run, name_start

SECONDS = "seconds.json"


def find_run(
    out: Path, recipe: Recipe, data: dict[str, Any], *, start: Path | None = None
) -> Run | None:
    """The run folder of a recipe on some data, finished or not; None when there is none.

    Weights count by what they hold and their file's name, wherever they lie. Keys that a recipe did
    not have yet count as their defaults.

    Args:
        out: Holds the run folders.
        recipe: Every number.
        data: From `identify_data`.
        start: Weights that a detector starts from.
    """
    wanted = Run(out, data).describe_training(recipe)["recipe"]
    defaults = type(recipe)().model_dump(mode="json")
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        try:
            about = read_run(folder).about
        except RunListError:
            continue
        own = about.get("recipe")
        alike = isinstance(own, dict) and {**defaults, **own} == wanted
        if alike and about["data"] == data and about.get("start") == name_start(start).get("start"):
            return Run(folder, data)
    return None


def write_seconds(run: Run, seconds: float | None) -> None:
    """Keep the processor time of a training; None where it was stopped in between.

    Raises:
        OutputError: The file can't be written.
    """
    write_json(run.folder / SECONDS, {"seconds": None if seconds is None else round(seconds, 1)})


def read_seconds(run: Run) -> float | None:
    """The processor time of a training; None where it is not known."""
    try:
        seconds = json.loads((run.folder / SECONDS).read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return None if seconds is None else float(seconds)
