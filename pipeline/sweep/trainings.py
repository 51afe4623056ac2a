"""Training every combination: a run folder each, or short trainings on folds of training faces."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from data_prep.faces import read_faces
from data_prep.files import make_folder
from data_prep.labels import CLASSES
from data_prep.split import TRAIN
from pipeline.cleaning.out_of_fold import join_folds, plan_folds
from pipeline.cleaning.prepared_faces import label_codes, open_faces
from pipeline.cleaning.tasks import Plan, run_tasks
from pipeline.reporting import Say
from pipeline.run_finder import find_run, is_finished, read_seconds, write_seconds
from pipeline.runs import CHECKPOINT, Run, identify_data, resume_run, start_run
from pipeline.sweep.grid import Combination
from pipeline.sweep.outcome import Outcome, measure
from pipeline.train_classifier import PREDICTIONS, train_classifier
from pipeline.workers import count_cores, end_with_parent


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
    runs = [find_run(out, one.recipe, data) or start_run(out, one.recipe, data) for one in grid]
    left = [(one, run) for one, run in zip(grid, runs, strict=True) if not is_finished(run)]
    if len(left) < len(grid):
        done = len(grid) - len(left)
        say(f"{done} of {len(grid)} trainings were done before", "tasks", done=done)
    jobs = min(jobs or count_cores(device), len(left))
    if jobs > 1:
        # A forked process can't use torch's threads.
        with ProcessPoolExecutor(jobs, get_context("spawn"), end_with_parent) as pool:
            futures = [pool.submit(_train, prepared, *item, device, say) for item in left]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
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
        say(f"{name}: {line}", event, folder=run.folder, values=combination.values, **facts)

    resume_run(run.folder, run.data)
    is_fresh = not (run.folder / CHECKPOINT).is_file()
    faces = read_faces(prepared)
    threads = torch.get_num_threads()
    began = time.process_time()
    torch.set_num_threads(1)
    try:
        tell(f"run folder: {run.folder}", "run")
        train_classifier(faces, prepared, combination.recipe, run, device=device, say=tell)
    finally:
        torch.set_num_threads(threads)
    write_seconds(run, time.process_time() - began if is_fresh else None)


def _measure_run(combination: Combination, run: Run) -> Outcome:
    table = pd.read_csv(run.folder / PREDICTIONS)
    probabilities = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    truth = np.array([CLASSES.index(label) for label in table["label"]])
    return measure(
        combination, probabilities, truth, seconds=read_seconds(run), run=run.folder.name
    )
