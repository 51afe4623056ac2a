"""What it is worth that nets from two starts teach one, in folds.

python -m tests.benchmarks.two_starts PREPARED OUT IMAGENET_WEIGHTS

In each of five folds `default` learns, and `lite0` from ImageNet, then a further net, as large as
the first and begun with it, from the labels and the mean answer of both, as the classifier that
ships did. So does a ResNet-34 from random weights. Every face is judged by nets that saw none of
its kin, and each net compared with the first. What is done stays done, in OUT: a net at a time on
each core.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data_prep.base.files import make_folder
from data_prep.base.labels import CLASSES, RARE_CLASS
from pipeline.nets.cards import save_weights
from pipeline.nets.options import CLASSIFIER
from pipeline.runs.log import Log, Reporter
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.runs.workers import call_at_once, count_jobs
from pipeline.training.export import make_card
from pipeline.training.short import (
    Plan,
    PreparedFaces,
    Task,
    label_codes,
    open_faces,
    plan_folds,
    read_views,
    train_task,
)
from tests.benchmarks.repeated import ALL, compare_by_source, log_gains, show_gains

FOLDS = 5
ODDS = (1.0, 1.5)  # Of the rare class; a net is compared at the same as the first.
DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Net:
    """A net of each fold."""

    name: str
    recipe: str
    sets: tuple[str, ...]
    begins: str = ""  # With the weights of another one.
    teachers: tuple[str, ...] = ()


FIRST = Net("default", "default", ("shift=0.05",))
LITE = Net("lite0", "lite0", ("sizes=[96,128]", "epochs=[4,5]"))
UNDRAWN = Net("undrawn", "default", ("shift=0.05", "drawn=0"))
TEACHERS = (FIRST, LITE)
TAUGHT = Net(
    "distilled",
    "default",
    ("sizes=[128]", "epochs=[16]", "lr=2e-3", "shift=0.08", "zoom=1.35", "lighting=0.35", "seed=1"),
    begins=FIRST.name,
    teachers=tuple(one.name for one in TEACHERS),
)
RESNET = Net(
    "resnet34",
    "default",
    (
        *("architecture=resnet34", "init=random", "sizes=[64]", "epochs=[10]", "batch_size=64"),
        *TAUGHT.sets[2:],
    ),
    teachers=TAUGHT.teachers,
)
NETS = (*TEACHERS, UNDRAWN, TAUGHT, RESNET)


def plan_nets(faces: PreparedFaces, out: Path, imagenet: Path) -> tuple[np.ndarray, list[Task]]:
    """The fold, (N,), that leaves each face out, and what is trained: fold by fold, net by net."""
    recipe = load_recipe(FIRST.recipe, ClassifierRecipe, [])
    fold, _ = plan_folds(Plan(faces.table, recipe, out, faces.scale), FOLDS)
    tasks = []
    for number in range(FOLDS):
        folder = out / f"fold-{number + 1}"
        own = [faces.table[fold != number], faces.table[fold == number]]
        for net in NETS:
            sets = [*net.sets, *([f"init={imagenet}"] if net is LITE else [])]
            if net.begins:
                sets.append(f"init={find_weights(folder, net.begins)}")
            if net.teachers:
                paths = [str(find_weights(folder, name)) for name in net.teachers]
                sets += [f"teachers={paths}", "teacher_share=0.8"]
            made = load_recipe(net.recipe, ClassifierRecipe, sets)
            plan = Plan(faces.table, made, folder, faces.scale, net.name)
            learnt, judged = (part.reset_index(drop=True) for part in own)
            tasks.append(plan.make_task(f"fold {number + 1} of {FOLDS}", net.name, learnt, judged))
    return fold, tasks


def find_weights(folder: Path, name: str) -> Path:
    """Where a net of a fold is kept for those that begin with it, or learn from it."""
    return folder / name / f"{CLASSIFIER}.safetensors"


def train_net(task: Task, log: Log) -> None:
    """Train a net of a fold and keep it, unless that is done."""
    weights = find_weights(task.file.parent, task.file.stem)
    if read_views(task) is None or not weights.is_file():
        make_folder(weights.parent)
        state = train_task(task, device=DEVICE, log=log)
        card = make_card(task.recipe, labels=task.train["label"])
        save_weights(weights, state, card.model_copy(update={"crop_scale": task.scale}))


def lean(probabilities: np.ndarray, odds: float) -> np.ndarray:
    """Probabilities (N, 3) with the odds of the rare class multiplied."""
    leant = probabilities * np.where(np.array(CLASSES) == RARE_CLASS, odds, 1.0)
    return leant / leant.sum(axis=1, keepdims=True)


def compare_nets(table: pd.DataFrame, told: dict[str, np.ndarray]) -> Iterator[list[str]]:
    """Rows of the table: each net's (N, 3) answers against those of the first."""
    truth, (first, *others) = label_codes(table), told
    for odds in ODDS:
        answers = {name: lean(shares, odds) for name, shares in told.items()}
        right = {name: shares.argmax(axis=1) == truth for name, shares in answers.items()}
        own = {name: one[np.arange(len(truth)), truth] for name, one in answers.items()}
        loss = {name: -np.log(np.maximum(one, 1e-9)).mean() for name, one in own.items()}
        for name in others:
            pair, sources = (right[first], right[name]), (ALL, *sorted({*table["source"]}))
            for faces, compared in compare_by_source(*pair, table, sources):
                rare = [f"{compared[RARE_CLASS][side]:.3f}" for side in ("before", "after")]
                losses = [f"{loss[one]:.3f}" for one in (first, name)]
                told_of = (name, f"{odds:g}", faces, " → ".join(losses), " → ".join(rare))
                yield [*told_of, *show_gains(compared)]


def main(prepared: Path, out: Path, imagenet: Path) -> None:
    """Train what is left to do; print a row for each net, odds and source."""
    faces = open_faces(prepared, load_recipe(FIRST.recipe, ClassifierRecipe, []), out)
    fold, tasks = plan_nets(faces, out, imagenet)
    log = Reporter().log
    students = {net.name for net in NETS if net.teachers}
    for taught in (False, True):
        calls = [(task,) for task in tasks if (task.file.stem in students) is taught]
        jobs = count_jobs(None, DEVICE, len(calls))
        call_at_once(train_net, calls, jobs, "nets", device=DEVICE, log=log)
    told: dict[str, np.ndarray] = {}
    for task in tasks:
        shares = told.setdefault(task.file.stem, np.empty((len(fold), len(CLASSES)), np.float32))
        views = read_views(task)
        assert views is not None
        shares[fold == int(task.file.parent.name.rpartition("-")[2]) - 1] = views.probabilities
    told["mean of both"] = np.mean([told[one.name] for one in TEACHERS], axis=0)
    heads = ["net", "odds", "judged on", "log loss, all", f"recall, {RARE_CLASS}"]
    log_gains(heads, list(compare_nets(faces.table, told)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
