"""Every combination of some values: a run folder each, or short trainings on folds."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.tables import markdown_table
from data_prep.grouping.split import TRAIN
from pipeline.experiments.engine import (
    ExperimentError,
    FoldTrial,
    PreparedData,
    call_each,
    find_or_start,
    judge_folds,
    train_run,
)
from pipeline.experiments.tables import Answers, plot_figures
from pipeline.nets.compute import pick_device
from pipeline.nets.options import Prepared, Recipe, TrialOptions
from pipeline.runs.folder import PREDICTIONS, Run, is_finished, read_seconds
from pipeline.runs.log import Log, prefix_log, report_as
from pipeline.runs.plots import SHORT
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.runs.workers import one_thread
from pipeline.training.classifier import check_classifier
from pipeline.training.short import Plan, label_codes, open_faces, plan_folds

MANY = 100  # More combinations than that are a mistake more often than a wish.

TABLE, TEXT, PLOT = "sweep.csv", "sweep.md", "sweep.png"
FIGURES = ("macro_recall", "accuracy", "loss")
RECALLS = tuple(f"recall_{name}" for name in CLASSES)


@dataclass(frozen=True)
class SweepOptions(TrialOptions):
    """Which combinations are trained, and how they are judged."""

    prepared: Prepared
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets runs and table.")]
    sets: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=V1,V2",
            help="Values of one number, such as lr=1e-3,3e-3 or sizes=[96],[128]; repeat for more.",
        ),
    ]
    recipe: Recipe = "default"
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Judge by short trainings on folds of the training faces."),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the combinations.")] = False
    many: Annotated[bool, typer.Option("--yes-many", help="Train more than 100, too.")] = False


@dataclass(frozen=True)
class Combination:
    """One point of the grid."""

    values: dict[str, str]  # what is swept, as it was written, by key
    recipe: ClassifierRecipe

    @property
    def name(self) -> str:
        """For people: `lr=1e-3, repeat_rare=2`."""
        return ", ".join(f"{key}={value}" for key, value in self.values.items())


def split_values(text: str) -> list[str]:
    """Split at commas that are neither inside brackets nor quotes.

    >>> split_values("[96], [96,128]")
    ['[96]', '[96,128]']
    """
    values, piece = [], ""
    for part in text.split(","):
        piece += part
        bare = re.sub(r"""'[^']*'|"[^"]*"|\s""", " ", piece)
        if not set("'\"") & set(bare) and bare.count("[") == bare.count("]"):
            values.append(piece.strip())
            piece = ""
        else:
            piece += ","
    if piece or "" in values:
        raise ExperimentError(
            f"--set …={text}: an empty value, or a bracket or quote without its other."
        )
    return values


def make_grid(recipe: str, sets: Sequence[str], *, many: bool = False) -> list[Combination]:
    """Every combination of the values, `key=v1,v2`, the last key changing fastest.

    Raises:
        ExperimentError: Nothing is swept, something comes twice, or there are too many.
        RecipeError: A combination is not a valid recipe.
    """
    lists: dict[str, list[str]] = {}
    for text in sets:
        key, equals, told = text.partition("=")
        key = key.strip()
        if not equals:
            raise ExperimentError(f"--set {text}: write key=value,value.")
        if key in lists:
            raise ExperimentError(
                f"--set {key}: given twice; write all its values after one --set."
            )
        lists[key] = split_values(told)
    count = prod(map(len, lists.values()))
    if count < 2:
        raise ExperimentError(
            "nothing to sweep: give a key several values, as in --set lr=1e-3,3e-3."
        )
    if count > MANY and not many:
        raise ExperimentError(
            f"{count} combinations are more than {MANY}: add --yes-many to train all."
        )
    grid: list[Combination] = []
    for point in product(*lists.values()):
        values = dict(zip(lists, point, strict=True))
        numbers = load_recipe(recipe, ClassifierRecipe, [f"{k}={v}" for k, v in values.items()])
        swept = {key: value for key, value in values.items() if len(lists[key]) > 1}
        grid.append(Combination(swept, numbers))
        for other in grid[:-1]:
            if other.recipe == numbers:
                raise ExperimentError(f"{grid[-1].name}: the same numbers as {other.name}.")
    return grid


def run_sweep(options: SweepOptions, log: Log) -> tuple[pd.DataFrame, str]:
    """Train what is left to train, measure all, and write `sweep.csv`, `sweep.md`, `sweep.png`.

    Without folds each combination has a run folder, found again by its resolved recipe and its
    data, and is measured on the validation split. With folds it is judged by short trainings on
    grouped folds of the training faces, and validation faces are not touched.

    Returns:
        A row per combination: swept keys, macro recall, accuracy, loss (mean cross-entropy in nats,
        without weights or smoothing), recalls, processor seconds (None where it was stopped in
        between), run folder; the best first. And what `sweep.md` says.

    Raises:
        UserError: A grid, folder or recipe that can't be used; the message says what to do.
    """
    grid = make_grid(options.recipe, options.sets, many=options.many)
    way = _train_grid if options.folds is None else _judge_grid
    figures, faces = way(options, grid, pick_device(options.device), log)
    table = sort_rows([one.values | row for one, row in zip(grid, figures, strict=True)])
    text = describe_sweep(table, faces, options.folds)
    write_atomically(options.out / TABLE, table.to_csv(index=False, float_format="%.6g"))
    write_atomically(options.out / TEXT, text + "\n")
    panels = {
        name.replace("_", " "): [[value] * 3 for value in table[name]]
        for name in ("macro_recall", "accuracy")
    }
    names = [", ".join(f"{k}={row[k]}" for k in grid[0].values) for row in table.to_dict("records")]
    title = f"{len(table)} combinations, the best first"
    plot_figures(panels, names, title, options.out / PLOT)
    return table, text


def sort_rows(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The best first, by macro recall, then accuracy, then loss."""
    return pd.DataFrame(rows).sort_values(
        list(FIGURES), ascending=[False, False, True], kind="stable", ignore_index=True
    )


def _train_grid(
    options: SweepOptions, grid: Sequence[Combination], device: torch.device, log: Log
) -> tuple[list[dict[str, Any]], int]:
    data = PreparedData.open(options.prepared, options.out)
    for one in grid:
        check_classifier(data.faces, data.folder, one.recipe, device)
    runs = [find_or_start(options.out, one.recipe, data.data) for one in grid]
    left = [(one, run) for one, run in zip(grid, runs, strict=True) if not is_finished(run.folder)]
    if done := len(grid) - len(left):
        log(f"{done} of {len(grid)} trainings were done before", "tasks", done=done)
    calls = [(options.prepared, *item, device, log) for item in left]
    call_each(_train, calls, device=device, jobs=options.jobs)
    rows = []
    for run in runs:
        table = pd.read_csv(run.folder / PREDICTIONS)
        probabilities = table[[f"p_{name}" for name in CLASSES]].to_numpy()
        rows.append(_measure(probabilities, table, read_seconds(run), run.folder.name))
    return rows, len(table)


def _train(
    prepared: Path, combination: Combination, run: Run, device: torch.device, log: Log
) -> None:
    own = prefix_log(log, combination.name, folder=run.folder, values=combination.values)
    with one_thread():
        train_run(run, combination.recipe, PreparedData.open(prepared), device=device, log=own)


def _judge_grid(
    options: SweepOptions, grid: Sequence[Combination], device: torch.device, log: Log
) -> tuple[list[dict[str, Any]], int]:
    trials = []
    for one in grid:
        faces = open_faces(options.prepared, one.recipe, options.out)
        table = faces.table[faces.table["split"] == TRAIN].reset_index(drop=True)
        numbers = json.dumps(one.recipe.model_dump(mode="json"))
        folder = options.out / "folds" / hashlib.sha256(numbers.encode()).hexdigest()[:16]
        plan = Plan(table, one.recipe, folder, faces.scale, one.name)
        fold, tasks = plan_folds(plan, options.folds or 0)
        trials.append(FoldTrial(plan, fold, [task.train for task in tasks]))
    judged = judge_folds(trials, device=device, log=log, jobs=options.jobs)
    rows = [
        _measure(one.probabilities, trial.plan.table, one.seconds)
        for trial, one in zip(trials, judged, strict=True)
    ]
    return rows, max(len(trial.fold) for trial in trials)


def _measure(
    probabilities: np.ndarray, faces: pd.DataFrame, seconds: float | None, run: str = ""
) -> dict[str, Any]:
    """A row of figures from what was predicted for N faces, (N, 3)."""
    truth = label_codes(faces)
    figures = Answers(probabilities.argmax(axis=1) == truth, truth, faces["image"]).values
    own = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)
    return {
        "macro_recall": figures["macro_recall"],
        "accuracy": figures["accuracy"],
        "loss": float(-np.log(own).mean()),
        **{f"recall_{name}": figures[name] for name in CLASSES},
        "seconds": seconds,
        "run": run,
    }


def describe_sweep(table: pd.DataFrame, faces: int, folds: int | None) -> str:
    """The table as Markdown, and what its figures are worth."""
    keys = [str(key) for key in table if key not in (*FIGURES, *RECALLS, "seconds", "run")]
    shorts = [f"recall, {SHORT[name]}" for name in CLASSES]
    rows = [
        [
            *(f"`{row[key]}`" for key in keys),
            *("–" if pd.isna(row[key]) else f"{row[key]:.3f}" for key in (*FIGURES, *RECALLS)),
            "–" if pd.isna(row["seconds"]) else f"{row['seconds']:.0f}",
            row["run"] or "–",
        ]
        for row in table.to_dict("records")
    ]
    heads = [*keys, "macro recall", "accuracy", "loss", *shorts, "seconds", "run"]
    count = len(table)
    if folds:
        where = f"{folds} grouped folds of {faces} training faces, by short trainings"
        advice = (
            "Train the chosen recipe and take its figures from the validation split, which this "
            "left alone."
        )
    else:
        where = f"one validation split of {faces} faces"
        advice = (
            "Choose by --folds instead, or measure the chosen weights on photos that had no part "
            "in the choice."
        )
    return (
        f"{markdown_table(heads, rows)}\n\nMeasured on {where}. The best of {count} is the "
        f"luckiest of {count}, too: its figures are optimistic, and small differences between "
        f"rows mean nothing. {advice}"
    )


def sweep(options: SweepOptions) -> None:
    """Train every combination of some values, as a Markdown table; goes on where it was stopped."""
    with report_as(options.log) as report:
        if options.dry_run:
            grid = make_grid(options.recipe, options.sets, many=options.many)
            names, values = [one.name for one in grid], [one.values for one in grid]
            report.finish(f"{len(grid)} combinations", "\n".join(names), combinations=values)
            return
        table, text = run_sweep(options, report.log)
        out = options.out
        facts = {"folder": out, "table": out / TABLE, "plot": out / PLOT}
        report.finish("", text, **facts, rows=table.to_dict("records"))
