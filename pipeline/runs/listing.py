"""What run folders hold, read without trusting them: a list of runs, and how some differ."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.base.errors import UserError
from data_prep.base.files import write_json
from pipeline.nets.cards import CLASSIFIER, DETECTOR
from pipeline.runs.folder import (
    ABOUT,
    CHECKPOINT,
    HISTORY,
    MEMBERS,
    RECIPE,
    Recipe,
    Run,
    is_finished,
    name_start,
)

FINISHED, RESUMABLE, BEGUN, BROKEN, FOREIGN = (
    "finished",
    "can be resumed",
    "begun",
    "broken",
    "not a run",
)
"""Of a folder: with weights; with a checkpoint, or members of an ensemble; stopped before the first
one; can't be read; made by something else."""

NOT_NUMBERS_OF_A_RUN = ("member", "stage", "epoch", "lr", "step")


class RunListError(UserError, ValueError):
    """Run folders that can't be listed or compared; the message says what to do."""


@dataclass(frozen=True)
class RunSummary:
    """One folder.

    Attributes:
        name: Of the folder.
        state: One of the words above.
        kind: `classifier` or `detector`; empty when unknown.
        recipe: The recipe's name.
        date: When it was begun, ISO 8601 in UTC.
        data: The datasets it was trained on.
        rows: Epochs of a classifier, validations of a detector.
        best: The best value of each figure in the history, and `face_ap50` the best mean over the
            datasets.
        problem: Why it is broken.
    """

    name: str
    state: str
    kind: str = ""
    recipe: str = ""
    date: str = ""
    data: str = ""
    rows: int = 0
    best: dict[str, float] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class RunRecord:
    """All that a run folder says of itself.

    Attributes:
        folder: The folder.
        recipe: Its `recipe.toml`.
        about: Its `run.json`: data, code hash, versions.
        history: Rows of `history.csv`; empty before the first.
        results: Figures on the validation split from the card; empty before the end.
    """

    folder: Path
    recipe: dict[str, Any]
    about: dict[str, Any]
    history: pd.DataFrame
    results: dict[str, Any]


def list_runs(runs: Path) -> list[RunSummary]:
    """Summaries of the folders in a folder of runs, by name; none of them stops the list.

    Raises:
        RunListError: `runs` is not a folder.
    """
    try:
        folders = sorted(path for path in runs.iterdir() if path.is_dir())
    except OSError as error:
        raise RunListError(f"{runs}: can't be listed ({error.strerror or error}).") from error
    return [summarise_run(folder) for folder in folders]


def summarise_run(folder: Path) -> RunSummary:
    """What a folder is, whatever it holds."""
    if not (folder / RECIPE).is_file() and not (folder / ABOUT).is_file():
        return RunSummary(folder.name, FOREIGN)
    try:
        record = read_run(folder)
    except RunListError as error:
        return RunSummary(folder.name, BROKEN, problem=str(error))
    if is_finished(folder):
        state = FINISHED
    elif (folder / CHECKPOINT).is_file() or (folder / MEMBERS).is_dir():
        state = RESUMABLE
    else:
        state = BEGUN
    begun = datetime.fromtimestamp((folder / RECIPE).stat().st_mtime, UTC)
    return RunSummary(
        name=folder.name,
        state=state,
        kind=str(record.recipe.get("kind", "")),
        recipe=str(record.recipe.get("name", "")),
        date=begun.isoformat(timespec="seconds"),
        data=", ".join(record.about["data"]["sources"]),
        rows=len(record.history),
        best=find_best(record.history),
    )


def read_run(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        RunListError: It is not one, or a file in it can't be read; the message names it.
    """
    path = folder / RECIPE
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        path = folder / ABOUT
        about = _read_json(path)
        if not all(isinstance(source, str) for source in about["data"]["sources"]):
            raise ValueError("it does not name the data")
        path = folder / HISTORY
        history = pd.read_csv(path) if path.is_file() else pd.DataFrame()
        results: dict[str, Any] = {}
        for net in (CLASSIFIER, DETECTOR):
            path = folder / f"{net}.json"
            if path.is_file() and path.with_suffix(".safetensors").is_file():
                results = dict(_read_json(path).get("results", {}).get("valid", {}))
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise RunListError(f"{path}: can't be read ({_reason(error)}).") from error
    return RunRecord(folder, recipe, about, history, results)


def find_best(history: pd.DataFrame) -> dict[str, float]:
    """The best of every figure: the least of a loss, the highest of all others.

    >>> find_best(pd.DataFrame({"epoch": [0, 1], "valid_loss": [2.0, 3.0], "accuracy": [0.5, 0.75]})
    ... )
    {'valid_loss': 2.0, 'accuracy': 0.75}
    """
    best = {}
    numbers = history.select_dtypes("number")
    for name in numbers.columns.drop(list(NOT_NUMBERS_OF_A_RUN), errors="ignore"):
        value = numbers[name].min() if "loss" in name else numbers[name].max()
        if pd.notna(value):
            best[str(name)] = float(value)
    faces = [name for name in numbers.columns if str(name).endswith("_face_ap50")]
    if faces:
        best["face_ap50"] = float(numbers[faces].mean(axis=1).max())
    return best


def compare_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """What differs between runs, side by side.

    Args:
        folders: At least two run folders.

    Returns:
        A column per run, its folder's name (its path where names are the same); a row per recipe
        key, hash and version that is not the same in all, and per figure: the best of the history
        and, under `valid`, the card's. Empty texts where a run has none.

    Raises:
        RunListError: A folder is not a run, or there is only one.
    """
    if len(folders) < 2:
        raise RunListError("a comparison takes two runs or more.")
    records = [read_run(folder) for folder in folders]
    columns = dict(zip(name_folders(folders), records, strict=True))
    told = pd.DataFrame({name: pd.Series(_flatten(_settings(r))) for name, r in columns.items()})
    told = told.fillna("")
    differs = told.apply(lambda row: len({str(value) for value in row}) > 1, axis=1)
    figures = pd.DataFrame({name: pd.Series(_figures(r)) for name, r in columns.items()})
    return pd.concat([told[differs], figures.astype(object).where(figures.notna(), "")])


def name_folders(folders: Sequence[Path]) -> list[str]:
    """Names that tell folders apart."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def describe_summaries(summaries: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Summaries as plain records, for JSON."""
    return [asdict(summary) for summary in summaries]


def _settings(record: RunRecord) -> dict[str, Any]:
    known = ("data", "code_sha256", "versions", "python")
    return {"recipe": record.recipe, **{key: record.about.get(key, "") for key in known}}


def _figures(record: RunRecord) -> dict[str, float]:
    best = {f"best {name}": value for name, value in find_best(record.history).items()}
    told = _flatten({"valid": record.results})
    numbers = {key: value for key, value in told.items() if isinstance(value, (int, float))}
    return {**best, **numbers}


def _flatten(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{before}{key}."))
        else:
            flat[f"{before}{key}"] = str(value) if isinstance(value, list) else value
    return flat


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("it is not a record")
    return value


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or (str(error).splitlines() or [type(error).__name__])[0]


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
