"""Training every combination: a run folder each, or short trainings on folds of training faces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_prep.base.errors import UserError
from data_prep.base.files import make_folder, write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from data_prep.grouping.split import TRAIN
from pipeline.runs.folder import Run, identify_data, is_finished
from pipeline.runs.listing import read_seconds
from pipeline.runs.log import Log
from pipeline.runs.plots import SHORT, save_figure
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.runs.workers import call_at_once, count_cores, one_thread
from pipeline.training.export import PREDICTIONS
from pipeline.training.once import find_or_start, train_run
from pipeline.training.short import label_codes, open_faces
from pipeline.training.tasks import Plan, join_folds, plan_folds, run_tasks

MANY = 100
"""More combinations than that are a mistake more often than a wish."""


class SweepError(UserError, ValueError):
    """A sweep that can't be done; the message says what to do."""


@dataclass(frozen=True)
class Combination:
    """One point of the grid.

    Attributes:
        values: What is swept, as it was written, by key.
        recipe: Every number.
    """

    values: dict[str, str]
    recipe: ClassifierRecipe

    @property
    def name(self) -> str:
        """For people: `lr=1e-3, repeat_rare=2`."""
        return ", ".join(f"{key}={value}" for key, value in self.values.items())


def split_values(text: str) -> list[str]:
    """Split at commas that are neither inside brackets nor quotes.

    >>> split_values("[96], [96,128]")
    ['[96]', '[96,128]']
    >>> split_values("'a,b',c")
    ["'a,b'", 'c']

    Raises:
        SweepError: A value is empty, or a bracket or quote is not closed.
    """
    values, depth, quote = [""], 0, ""
    for mark in text:
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        elif mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        elif mark == "," and depth == 0:
            values.append("")
            continue
        values[-1] += mark
    values = [value.strip() for value in values]
    if quote or depth or "" in values:
        raise SweepError(
            f"--set …={text}: an empty value, or a bracket or quote without its other."
        )
    return values


def make_grid(recipe: str, sets: Sequence[str], *, many: bool = False) -> list[Combination]:
    """Every combination of the values, the last key changing fastest.

    Args:
        recipe: A recipe's name or TOML file.
        sets: `key=v1,v2`; a key with one value is set in all combinations.
        many: Whether more than `MANY` combinations are wanted.

    Raises:
        SweepError: Nothing is swept, a key comes twice, a value comes twice, or there are too many
            combinations.
        RecipeError: A combination is not a valid recipe.
    """
    lists: dict[str, list[str]] = {}
    for text in sets:
        key, equals, values = text.partition("=")
        key = key.strip()
        if not equals:
            raise SweepError(f"--set {text}: write key=value,value.")
        if key in lists:
            raise SweepError(f"--set {key}: given twice; write all its values after one --set.")
        lists[key] = split_values(values)
    count = 1
    for values_of_key in lists.values():
        count *= len(values_of_key)
    if count < 2:
        raise SweepError("nothing to sweep: give a key several values, as in --set lr=1e-3,3e-3.")
    if count > MANY and not many:
        raise SweepError(f"{count} combinations are more than {MANY}: add --yes-many to train all.")
    swept = [key for key, values_of_key in lists.items() if len(values_of_key) > 1]
    grid: list[Combination] = []
    for point in product(*lists.values()):
        told = dict(zip(lists, point, strict=True))
        numbers = load_recipe(recipe, ClassifierRecipe, [f"{k}={v}" for k, v in told.items()])
        combination = Combination({key: told[key] for key in swept}, numbers)
        for other in grid:
            if other.recipe == numbers:
                raise SweepError(f"{combination.name}: the same numbers as {other.name}.")
        grid.append(combination)
    return grid


@dataclass(frozen=True)
class Outcome:
    """Figures of a combination.

    Attributes:
        combination: The numbers.
        accuracy: Share of faces told right.
        macro_recall: Mean of the recalls of the classes.
        loss: Mean cross-entropy in nats, without weights or smoothing.
        recalls: By class.
        faces: How many were judged.
        seconds: Processor time of the training; None where it was stopped in between.
        run: Name of the run folder; empty with folds.
    """

    combination: Combination
    accuracy: float
    macro_recall: float
    loss: float
    recalls: dict[str, float]
    faces: int
    seconds: float | None
    run: str = ""


def measure(
    combination: Combination,
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    seconds: float | None,
    run: str = "",
) -> Outcome:
    """Figures from what was told of N faces.

    Args:
        combination: The numbers.
        probabilities: (N, 3) in the order of `CLASSES`.
        truth: (N,) class index of each face.
        seconds: Of the training.
        run: Name of the run folder.
    """
    right = probabilities.argmax(axis=1) == truth
    own = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)
    recalls = {
        name: float(right[truth == index].mean())
        for index, name in enumerate(CLASSES)
        if (truth == index).any()
    }
    return Outcome(
        combination=combination,
        accuracy=float(right.mean()),
        macro_recall=float(np.mean(list(recalls.values()))),
        loss=float(-np.log(own).mean()),
        recalls=recalls,
        faces=len(truth),
        seconds=seconds,
        run=run,
    )


def train_grid(
    prepared: Path,
    grid: Sequence[Combination],
    out: Path,
    *,
    device: torch.device,
    log: Log,
    jobs: int | None = None,
) -> list[Outcome]:
    """Train what is left to train and measure all on the validation split.

    A combination's run folder is found again by its resolved recipe and its data; a finished one
    stays as it is, a stopped one goes on. On a processor each training has one core, so that its
    numbers do not depend on `jobs`.

    Args:
        prepared: The prepared folder.
        grid: From `make_grid`.
        out: Gets the run folders.
        device: Where to train.
        log: Gets a line per epoch; it is pickled when several train at a time.
        jobs: Trainings at a time; one per core when None, one on a GPU.

    Raises:
        PreparedError: Not a prepared folder, or nothing to train or validate on.
        OutputError: A folder can't be written.
    """
    data, _ = identify_data(prepared)
    make_folder(out)
    runs = [find_or_start(out, one.recipe, data) for one in grid]
    left = [(one, run) for one, run in zip(grid, runs, strict=True) if not is_finished(run.folder)]
    if len(left) < len(grid):
        done = len(grid) - len(left)
        log(f"{done} of {len(grid)} trainings were done before", "tasks", done=done)
    jobs = min(jobs or count_cores(device), len(left))
    if jobs > 1:
        call_at_once(_train, [(prepared, *item, device, log) for item in left], jobs)
    else:
        for item in left:
            _train(prepared, *item, device, log)
    return [_measure_run(one, run) for one, run in zip(grid, runs, strict=True)]


def judge_on_folds(
    prepared: Path,
    grid: Sequence[Combination],
    out: Path,
    *,
    folds: int,
    device: torch.device,
    log: Log,
    jobs: int | None = None,
) -> list[Outcome]:
    """Short trainings on grouped folds of the training faces; validation faces are not touched.

    Args:
        prepared: The prepared folder.
        grid: From `make_grid`.
        out: Gets a folder per combination; what is done there stays done.
        folds: Trainings per combination, at least 2.
        device: Where to train.
        log: Gets a line per epoch.
        jobs: Trainings at a time; one per core when None.

    Raises:
        PreparedError: Not a prepared folder, or a class without faces.
        SplitError: The photos can't be put into so many folds.
        RecipeError: The rate is to be found, or there are teachers.
    """
    tables, plans = [], []
    for one in grid:
        faces = open_faces(prepared, one.recipe)
        table = faces.table[faces.table["split"] == TRAIN].reset_index(drop=True)
        numbers = json.dumps(one.recipe.model_dump(mode="json"))
        folder = out / "folds" / hashlib.sha256(numbers.encode()).hexdigest()[:16]
        make_folder(folder)
        tables.append(table)
        plans.append(plan_folds(Plan(table, one.recipe, folder, faces.scale, one.name), folds))
    tasks = [task for _, some in plans for task in some]
    views = iter(run_tasks(tasks, device=device, log=log, jobs=jobs))
    outcomes = []
    for one, table, (fold, some) in zip(grid, tables, plans, strict=True):
        own = [next(views) for _ in some]
        judged = join_folds(fold, own).probabilities
        seconds = sum(view.seconds for view in own)
        outcomes.append(measure(one, judged, label_codes(table), seconds=seconds))
    return outcomes


def _train(
    prepared: Path, combination: Combination, run: Run, device: torch.device, log: Log
) -> None:
    name = combination.name

    def tell(line: str, event: str = "note", /, **facts: Any) -> None:
        facts = {"folder": run.folder, "values": combination.values} | facts
        log(f"{name}: {line}", event, **facts)

    _, roots = identify_data(prepared)
    with one_thread():
        train_run(
            run, combination.recipe, read_faces(prepared), prepared, roots, device=device, log=tell
        )


def _measure_run(combination: Combination, run: Run) -> Outcome:
    table = pd.read_csv(run.folder / PREDICTIONS)
    probabilities = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    truth = np.array([CLASSES.index(label) for label in table["label"]])
    return measure(
        combination, probabilities, truth, seconds=read_seconds(run), run=run.folder.name
    )


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
