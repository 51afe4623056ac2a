"""Short trainings as tasks: each leaves a file, several run at a time, finished ones stay done."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data_prep.base.files import make_folder, write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.tables import KEY
from data_prep.grouping.split import VALID, split_by_group
from pipeline.runs.folder import name_weights
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe, RecipeError
from pipeline.runs.workers import call_at_once, count_cores, one_thread
from pipeline.training.learner import load_start
from pipeline.training.progress import describe_minutes
from pipeline.training.short import (
    Views,
    check_short,
    label_codes,
    load_crops,
    train_short,
    view_faces,
)

FORMAT = 4  # Raised when the same input would give other numbers, so that old files are made again.

CACHE_SIDE = 224
"""Larger crops are kept at this side, whatever the sizes of the trainings that are left to do: what
a network is fed must not depend on them."""

_WHAT_COUNTS = [*KEY, "label", "group", "xmin", "ymin", "xmax", "ymax"]


@dataclass(frozen=True)
class Task:
    """One short training and the faces that its network is asked about."""

    what: str  # what the lines begin with, such as "fold 1 of 5"
    file: Path  # gets the answers, an npz
    recipe: ClassifierRecipe
    train: pd.DataFrame  # rows as in `faces.csv`; `crop` is a path that can be opened
    judge: pd.DataFrame
    scale: float  # side of the crops as a multiple of the box's longer side

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the answers: recipe, weights, faces, boxes, scale, labels."""
        weights = [name_weights(self.recipe.init)]
        if self.recipe.drawn:
            weights.append(name_weights("detector"))
        settings = [FORMAT, self.recipe.model_dump(mode="json"), self.scale, weights]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for faces in (self.train, self.judge):
            digest.update(faces[_WHAT_COUNTS].to_csv(index=False).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Plan:
    """What the tasks of one setting share; see `Task`."""

    table: pd.DataFrame
    recipe: ClassifierRecipe
    folder: Path
    scale: float
    what: str = ""

    def make_task(self, what: str, name: str, train: pd.DataFrame, judge: pd.DataFrame) -> Task:
        """A task of this setting; `name` is that of its file, without its ending."""
        named = f"{self.what}, {what}" if self.what else what
        return Task(named, self.folder / f"{name}.npz", self.recipe, train, judge, self.scale)


def run_tasks(
    tasks: Sequence[Task], *, device: torch.device, log: Log, jobs: int | None = None
) -> list[Views]:
    """Do what is left to do, several trainings at a time, and give all answers.

    Nothing is made before all that can be checked is.

    On a processor each training has one core, so that its numbers do not depend on `jobs`: one per
    core when None, one on a GPU.

    Raises:
        RecipeError: As of `check_short`, or a recipe has members or a prior shift.
        WeightsError: The initial weights can't be had.
        OutputError: A file can't be written.
        PhotoError: A crop can't be read.
    """
    for task in tasks:
        check_short(task.recipe, "faces")
        if task.recipe.members > 1 or task.recipe.rare_odds != 1:
            raise RecipeError(
                f"recipe {task.recipe.name}: a short training is of one network, without a prior "
                "shift: use --set members=1 --set rare_odds=1"
            )
    known = {
        name for task in tasks for faces in (task.train, task.judge) for name in faces["label"]
    }
    for name in CLASSES:
        if name not in known:
            log(f"note: no face is {name} here, so none is taken for it", class_absent=name)
    left = [task for task in tasks if read_views(task) is None]
    for recipe in {(one.recipe.architecture, one.recipe.init): one.recipe for one in left}.values():
        load_start(recipe)
    for folder in dict.fromkeys(task.file.parent for task in left):
        make_folder(folder)
    if before := len(tasks) - len(left):
        line = f"{before} of {len(tasks)} trainings were done before"
        log(line, "tasks", done=before, tasks=len(tasks))
    jobs = min(jobs or count_cores(device), len(left))
    if left:
        paths = {path for t in left for faces in (t.train, t.judge) for path in faces["crop"]}
        side = max(CACHE_SIDE, *(max(task.recipe.sizes) for task in left))
        calls = [(task, device, log) for task in left]
        log(f"{len(left)} short trainings, {jobs} at a time, on {len(paths)} crops", "tasks")
        began = time.monotonic()

        def tell(done: int) -> None:
            if done < len(left):
                rest = describe_minutes((time.monotonic() - began) / done * (len(left) - done))
                line = f"{done} of {len(left)} trainings done, {rest} left"
                log(line, "tasks", done=before + done, tasks=len(tasks))

        if jobs > 1:
            call_at_once(_run, calls, jobs, start=_load, shared=(paths, side), done=tell)
        else:
            _load(paths, side)
            try:
                for number, call in enumerate(calls, start=1):
                    _run(*call)
                    tell(number)
            finally:
                _crops.clear()
    return [views for task in tasks if (views := read_views(task))]


_crops: dict[str, np.ndarray] = {}  # The crops of all tasks, in every process that trains.


def _load(paths: set[str], side: int) -> None:
    _crops.update(load_crops(paths, side))


def _run(task: Task, device: torch.device, log: Log) -> None:
    began = time.process_time()
    with one_thread():
        state = train_short(task.train, _crops, task.recipe, device=device, what=task.what, log=log)
        seconds = time.process_time() - began
        pixels = [_crops[path] for path in task.judge["crop"]]
        known = {*task.train["label"], *task.judge["label"]}
        views = view_faces(state, task.recipe, pixels, device, known)
    write_views(task, replace(views, seconds=seconds))
    learnt = pd.MultiIndex.from_frame(task.train[list(KEY)])
    unseen = ~pd.MultiIndex.from_frame(task.judge[list(KEY)]).isin(learnt)
    asked = unseen if unseen.any() else ~unseen
    agreed = (views.probabilities.argmax(axis=1) == label_codes(task.judge))[asked].mean()
    seen = "unseen" if unseen.any() else "learnt"
    log(
        f"{task.what}: agrees with {agreed:.1%} of {asked.sum()} {seen} labels",
        "task ended",
        training=task.what,
        agreed=float(agreed),
        labels=int(asked.sum()),
        unseen=bool(unseen.any()),
        seconds=round(seconds, 1),
    )


def read_views(task: Task) -> Views | None:
    """What a task left; None when there is nothing, it is damaged, or of another training."""
    try:
        with np.load(task.file, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != task.fingerprint:
                return None
            return Views(stored["probabilities"], stored["features"], float(stored["seconds"]))
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        return None


def write_views(task: Task, views: Views) -> None:
    """Write the answers, features in half precision."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        fingerprint=np.array(task.fingerprint),
        probabilities=views.probabilities,
        features=views.features.astype(np.float16),
        seconds=np.array(views.seconds),
    )
    write_atomically(task.file, buffer.getvalue())


def plan_folds(plan: Plan, folds: int) -> tuple[np.ndarray, list[Task]]:
    """The fold, (N,) from 0, in which each face is held out, and a task per fold.

    A near-duplicate group lies whole in one; sources and labels are spread evenly. The recipe's
    seed is that of the folds, too.

    Raises:
        SplitError: Fewer groups than folds, or no label of a source with as many faces as folds.
    """
    table, seed = plan.table, plan.recipe.seed
    groups, strata = table["group"].tolist(), (table["source"] + "/" + table["label"]).tolist()
    fold = np.full(len(table), -1)
    for n in range(folds):
        fold[split_by_group(groups, strata, folds=folds, fold=n, seed=seed) == VALID] = n
    tasks = [
        plan.make_task(f"fold {n + 1} of {folds}", f"fold-{n + 1}", table[fold != n], table)
        for n in range(folds)
    ]
    return fold, tasks


def plan_in_sample(plan: Plan) -> tuple[np.ndarray, list[Task]]:
    """One task whose network judges the very faces it was trained on; see `plan_folds`."""
    task = plan.make_task("in sample", "in-sample", plan.table, plan.table)
    return np.zeros(len(plan.table), int), [task]


def join_folds(fold: np.ndarray, views: Sequence[Views]) -> np.ndarray:
    """Each face's probabilities, (N, 3), by the network of its fold, (N,) from 0."""
    return np.stack([view.probabilities for view in views])[fold, np.arange(len(fold))]
