"""Short trainings on part of the faces: each leaves a file, several run at a time.

Short on purpose: a network learns what faces have in common before it learns single wrong labels by
heart (Arpit et al. 2017, "A closer look at memorization in deep networks").
"""

import hashlib
import json
import os
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import CancelValidException
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from torch import Tensor

from data_prep.base.files import make_folder, open_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.progress import tell
from data_prep.base.tables import KEY, read_faces, select_sources
from data_prep.grouping.split import TRAIN, VALID, split_by_group
from pipeline.inference.classifier import Classifier
from pipeline.nets.classifiers import fill_net
from pipeline.nets.compute import seed_everything
from pipeline.runs.folder import identify_data, name_weights
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe, RecipeError
from pipeline.runs.workers import call_at_once, count_jobs, one_thread
from pipeline.training.callbacks import SeededEpochs
from pipeline.training.data import ReadCrop, check_classes, gather_faces, make_loaders, read_crops
from pipeline.training.export import make_card, store_weights
from pipeline.training.learner import build_learner, fit_stage, free_body, load_start


@dataclass(frozen=True)
class Views:
    """What a network makes of N faces."""

    probabilities: np.ndarray  # (N, 3) float32, of the classes in the order of `CLASSES`
    features: np.ndarray  # (N, D) what the last layer sees: the body's pooled features
    seconds: float = 0.0  # processor time of the training


@dataclass(frozen=True)
class PreparedFaces:
    """Faces of the splits that may be looked at: train and valid, never another such as test.

    In the order of their keys, from 0; `crop` can be opened; `data`, `roots`: see `identify_data`.
    """

    folder: Path
    table: pd.DataFrame
    scale: float  # side of the crops as a multiple of the box's longer side
    data: dict[str, Any]
    roots: dict[str, Path]


def open_faces(folder: Path, recipe: ClassifierRecipe, *outs: Path) -> PreparedFaces:
    """Faces of train and valid, of the recipe's datasets; these get no `outs`."""
    data, roots = identify_data(folder, *outs)
    table = read_faces(folder)
    table = select_sources(table[table["split"].isin([TRAIN, VALID])], recipe.sources)
    if recipe.faces == "kept":
        table = table[table["kept"] | (table["split"] == VALID)]
    check_classes(table)
    table = table.sort_values(list(KEY), kind="stable").reset_index(drop=True)
    table["crop"] = [str(folder / crop) for crop in table["crop"]]
    return PreparedFaces(folder, table, float(data["options"]["scale"]), data, roots)


def label_codes(table: pd.DataFrame) -> np.ndarray:
    """(N,) class index of each face."""
    return table["label"].map(CLASSES.index).to_numpy(np.int64)


def label_names(codes: np.ndarray) -> list[str]:
    """Class names of N class indices."""
    return [CLASSES[code] for code in codes]


def check_short(recipe: ClassifierRecipe, judged: str, *, alone: bool = False) -> None:
    """Refuse, by `RecipeError`, what a short training would leave out or learn too much from.

    The networks judge `judged`, in the plural, and each of them `alone`.
    """
    problem = ""
    if recipe.lr == "find":
        problem = "lr is 'find', for which there is no time: give a number with --set lr=…"
    elif recipe.teachers:
        problem = f"teachers have learnt from {judged} that are judged: use --set teachers=[]"
    elif recipe.incorrect != "own":
        problem = "needs three classes: use --set incorrect=own"
    elif alone and recipe.rare_odds != 1:
        problem = "a short training is without a prior shift: use --set rare_odds=1"
    if problem:
        raise RecipeError(f"recipe {recipe.name}: {problem}")


class _Epochs(SeededEpochs):
    """Logs every epoch, and leaves validation out: nothing is chosen by it."""

    def __init__(self, seed: int, stage: int, what: str, log: Log) -> None:
        super().__init__(seed, stage)
        self.what, self.log = what, log

    def before_validate(self) -> None:
        raise CancelValidException

    def after_train(self) -> None:
        loss = float(self.recorder.smooth_loss.value)
        line = f"{self.what}, epoch {self.epoch + 1} of {self.n_epoch}: loss {loss:.3f}"
        facts = {"epoch": self.epoch, "epochs": self.n_epoch, "train_loss": loss}
        self.log(line, "epoch", training=self.what, **facts)


def train_short(
    faces: pd.DataFrame,
    read: ReadCrop,
    recipe: ClassifierRecipe,
    *,
    device: torch.device,
    what: str,
    log: Log,
    loss: Callable[..., Any] = CrossEntropyLossFlat,
) -> dict[str, Tensor]:
    """Train on some faces by a recipe's stages; no epoch is chosen by a validation loss.

    Lines begin with `what`; `loss` as of `build_learner`. Gives the weights by names on disk, on
    the CPU; raises `WeightsError`.
    """
    seed_everything(recipe.seed)
    # fastai wants a validation set; its one face is never looked at.
    table = pd.concat([faces.assign(split=TRAIN), faces.head(1).assign(split=VALID)])
    shown = gather_faces(table.reset_index(drop=True), read, recipe)
    with tempfile.TemporaryDirectory() as folder:
        learn = build_learner(shown, recipe, device, Path(folder), optimiser=make_adamw, loss=loss)
        for stage, (size, *_) in enumerate(recipe.stages):
            learn.dls = make_loaders(shown, recipe, size, device)
            free_body(learn, recipe, stage)
            rate = float(recipe.lr) * recipe.stage_lr**stage
            fit_stage(learn, recipe, stage, rate, [_Epochs(recipe.seed, stage, what, log)])
    return store_weights(learn, shown.labels, recipe)


def make_adamw(parameters: Any, lr: float) -> OptimWrapper:
    """AdamW in one kernel: on a processor eight times as fast as fastai's, by the same rule.

    Unlike fastai's it decays biases and batch norms, too, which so few steps do not feel.
    """
    rule = partial(torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5, fused=True)
    return OptimWrapper(parameters, rule, lr=lr)


def view_faces(
    state: dict[str, torch.Tensor],
    recipe: ClassifierRecipe,
    crops: Sequence[np.ndarray],
    device: torch.device,
    labels: Iterable[str] = CLASSES,
) -> Views:
    """What a network of `train_short` makes of faces, by the mean of a crop and its mirror image.

    In full precision, for equal numbers everywhere. Of classes only the `labels` are answered.
    """
    card = make_card(recipe, labels=labels).model_copy(update={"mirror": True})
    net = fill_net(state, recipe.architecture, Path(recipe.name))
    return Views(*Classifier(net, card, device=device).embed(crops))


FORMAT = 4  # Raised when the same input would give other numbers, so that old files are made again.

CACHE_SIDE = 224
"""Larger crops are kept at this side, whatever the sizes of the trainings that are left to do: what
a network is fed must not depend on them."""

_CROPS_AT_ONCE = 10_000  # Asked about and held in memory.
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
    tasks: Sequence[Task], *, device: torch.device, log: Log, jobs: int | str | None = None
) -> list[Views]:
    """Do what is left to do, several trainings at a time, and give all answers.

    Nothing is made before all that can be checked is. On a processor each training has one core, so
    that its numbers do not depend on `jobs`: one per core when None, one on a GPU. Raises
    `RecipeError` as `check_short`, `WeightsError`, `OutputError`, and `PhotoError` for crops.
    """
    for task in tasks:
        check_short(task.recipe, "faces", alone=True)
    known = {name for t in tasks for faces in (t.train, t.judge) for name in faces["label"]}
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
    if left:
        jobs = count_jobs(jobs, device, len(left))
        paths = {path for t in left for faces in (t.train, t.judge) for path in faces["crop"]}
        calls = [(task, device) for task in left]
        what, crops = tell(len(left), "short training"), tell(len(paths), "crop")
        how = f"{jobs} at a time" if isinstance(jobs, int) else f"spread by {jobs}"
        log(f"{what}, {how}, on {crops}", "tasks")
        try:
            call_at_once(_run, calls, jobs, "short trainings", device=device, log=log)
        finally:
            _reader.cache_clear()
    return [views for task in tasks if (views := read_views(task))]


@cache
def _reader(side: int) -> ReadCrop:
    """What reads the crops of all tasks in a process."""
    return read_crops(side=side)


def _run(task: Task, device: torch.device, log: Log) -> None:
    train_task(task, device=device, log=log)


def train_task(task: Task, *, device: torch.device, log: Log, **how: Any) -> dict[str, Tensor]:
    """Do a task, and leave its answers; gives the weights as `train_short`, which gets `how`."""
    began, recipe = time.process_time(), task.recipe
    read = _reader(max(CACHE_SIDE, *recipe.sizes))
    with one_thread():
        state = train_short(task.train, read, recipe, device=device, what=task.what, log=log, **how)
        seconds = time.process_time() - began
        known, crops, answers = {*task.train["label"], *task.judge["label"]}, task.judge["crop"], []
        for start in range(0, len(crops), _CROPS_AT_ONCE):
            pixels = list(map(read, crops.iloc[start : start + _CROPS_AT_ONCE]))
            part = view_faces(state, recipe, pixels, device, known)
            answers.append((part.probabilities, part.features.astype(np.float16)))
    shares, features = (np.concatenate(column) for column in zip(*answers, strict=True))
    views = Views(shares, features, seconds)
    write_views(task, views)
    learnt, judged = (pd.MultiIndex.from_frame(one[list(KEY)]) for one in (task.train, task.judge))
    is_unseen = bool((unseen := ~judged.isin(learnt)).any())
    right = (views.probabilities.argmax(axis=1) == label_codes(task.judge))[unseen == is_unseen]
    agreed, seen = float(right.mean()), "unseen" if is_unseen else "learnt"
    line = f"{task.what}: agrees with {agreed:.1%} of {len(right)} {seen} labels"
    facts = {"agreed": agreed, "labels": len(right), "unseen": is_unseen}
    log(line, "task ended", training=task.what, **facts, seconds=round(seconds, 1))
    return state


def read_views(task: Task) -> Views | None:
    """What a task left; None when there is nothing, it is damaged, or of another training."""
    try:
        with np.load(task.file, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != task.fingerprint:
                return None
            seconds = float(stored["seconds"])
            return Views(stored["probabilities"], map_features(task.file), seconds)
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        return None


def map_features(path: Path) -> np.ndarray:
    """Checked, but left on the disk: of a million faces 256 MB for each training."""
    with path.open("rb") as file, zipfile.ZipFile(file) as stored:
        if stored.testzip():
            raise zipfile.BadZipFile(path)
        # Past the head of the part, which tells the lengths of its name and of its extra field.
        file.seek(stored.getinfo("features.npy").header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        np.lib.format.read_magic(file)
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        return np.memmap(file, kind, "r", file.tell(), shape)


def write_views(task: Task, views: Views) -> None:
    """Write the answers, features in half precision."""
    features = views.features.astype(np.float16, copy=False)
    told: dict[str, Any] = {**vars(views), "features": features, "fingerprint": task.fingerprint}
    with open_atomically(task.file) as file:
        np.savez(file.buffer, **told)


def plan_folds(plan: Plan, folds: int) -> tuple[np.ndarray, list[Task]]:
    """The fold, (N,) from 0, in which each face is held out, and a task per fold; by the seed.

    A near-duplicate group lies whole in one; sources and labels are spread evenly. `SplitError`:
    fewer groups than folds, or no label of a source with as many faces as folds.
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
