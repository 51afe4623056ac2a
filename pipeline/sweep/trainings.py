"""Training every combination: a run folder each, or short trainings on folds of training faces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from data_prep.faces import read_faces
from data_prep.files import make_folder
from data_prep.labels import CLASSES
from data_prep.split import TRAIN
from pipeline.finish_classifier import PREDICTIONS
from pipeline.reporting import Say
from pipeline.run_finder import read_seconds
from pipeline.runs import Run, identify_data, is_finished
from pipeline.short_trainings.out_of_fold import join_folds, plan_folds
from pipeline.short_trainings.prepared_faces import label_codes, open_faces
from pipeline.short_trainings.tasks import Plan, run_tasks
from pipeline.sweep.grid import Combination
from pipeline.sweep.outcome import Outcome, measure
from pipeline.train_once import find_or_start, train_run
from pipeline.workers import call_at_once, count_cores, one_thread


def train_grid(
    prepared: Path,
    grid: Sequence[Combination],
    out: Path,
    *,
    device: torch.device,
    say: Say,
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
        say: Gets a line per epoch; it is pickled when several train at a time.
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
        say(f"{done} of {len(grid)} trainings were done before", "tasks", done=done)
    jobs = min(jobs or count_cores(device), len(left))
    if jobs > 1:
        call_at_once(_train, [(prepared, *item, device, say) for item in left], jobs)
    else:
        for item in left:
            _train(prepared, *item, device, say)
    return [_measure_run(one, run) for one, run in zip(grid, runs, strict=True)]


def judge_on_folds(
    prepared: Path,
    grid: Sequence[Combination],
    out: Path,
    *,
    folds: int,
    device: torch.device,
    say: Say,
    jobs: int | None = None,
) -> list[Outcome]:
    """Short trainings on grouped folds of the training faces; validation faces are not touched.

    Args:
        prepared: The prepared folder.
        grid: From `make_grid`.
        out: Gets a folder per combination; what is done there stays done.
        folds: Trainings per combination, at least 2.
        device: Where to train.
        say: Gets a line per epoch.
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
    views = iter(run_tasks(tasks, device=device, say=say, jobs=jobs))
    outcomes = []
    for one, table, (fold, some) in zip(grid, tables, plans, strict=True):
        own = [next(views) for _ in some]
        judged = join_folds(fold, own).probabilities
        seconds = sum(view.seconds for view in own)
        outcomes.append(measure(one, judged, label_codes(table), seconds=seconds))
    return outcomes


def _train(
    prepared: Path, combination: Combination, run: Run, device: torch.device, say: Say
) -> None:
    name = combination.name

    def tell(line: str, event: str = "note", /, **facts: Any) -> None:
        facts = {"folder": run.folder, "values": combination.values} | facts
        say(f"{name}: {line}", event, **facts)

    _, roots = identify_data(prepared)
    with one_thread():
        train_run(
            run, combination.recipe, read_faces(prepared), prepared, roots, device=device, say=tell
        )


def _measure_run(combination: Combination, run: Run) -> Outcome:
    table = pd.read_csv(run.folder / PREDICTIONS)
    probabilities = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    truth = np.array([CLASSES.index(label) for label in table["label"]])
    return measure(
        combination, probabilities, truth, seconds=read_seconds(run), run=run.folder.name
    )
