"""What a training tells before and while it runs: what is trained, for how long, how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pandas as pd
import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner
from fastai.learner import Recorder
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from data_prep.base.labels import RARE_CLASS
from data_prep.base.tables import KEY
from data_prep.grouping.split import TRAIN
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe

FIRST, LATER = 8.0, 60.0  # Seconds after which a log gets its first line of a pass, and another.

TIMED = 8  # Faces that a step is timed with.

START = {
    "random": "random weights",
    "imagenet": "ImageNet weights",
    "detector": "the shipped detector's body",
}


def describe_classifier(learn: Learner, faces: pd.DataFrame, recipe: ClassifierRecipe) -> str:
    """The first line of a training: its net, start and faces, and the minutes it takes at most.

    Those are reckoned from one timed batch of a fresh learner, which is not to be trained then.
    """
    is_train = faces["split"] == TRAIN
    photos = len(faces[list(KEY[:2])].drop_duplicates())
    start = START.get(recipe.init, Path(recipe.init).name)
    sizes = ", then ".join(f"{size} px" for size in dict.fromkeys(recipe.sizes))
    members = f"{recipe.members} networks, one after the other; " if recipe.members > 1 else ""
    return (
        f"{recipe.architecture} ({count_millions(learn.model)}) from {start}: {is_train.sum()} "
        f"training and {(~is_train).sum()} validation faces of {photos} photos; {members}"
        f"at most {recipe.all_epochs} epoch{'s' * (recipe.all_epochs > 1)} at {sizes}, "
        f"{describe_minutes(_reckon_seconds(learn, recipe))}"
    )


def count_millions(net: nn.Module) -> str:
    """Its parameters in words."""
    return f"{sum(one.numel() for one in net.parameters()) / 1e6:.2f} M parameters"


def describe_minutes(seconds: float) -> str:
    """A rough time in words.

    >>> describe_minutes(20), describe_minutes(80), describe_minutes(9000)
    ('under a minute', 'about 2 minutes', 'about 2.5 hours')
    """
    if seconds < 60:
        return "under a minute"
    minutes = -(-seconds // 60)
    return f"about {minutes:.0f} minutes" if minutes < 100 else f"about {minutes / 60:.1f} hours"


def time_call(call: Callable[[], object]) -> float:
    """Seconds of a call, the GPU's work with it."""
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _reckon_seconds(learn: Learner, recipe: ClassifierRecipe) -> float:
    loaders, size = learn.dls, recipe.sizes[0]
    reading = time_call(loaders.train.one_batch) / recipe.batch_size
    images = torch.rand(TIMED, 3, size, size, device=loaders.device)

    def step() -> None:
        learn.model(images).float().sum().backward()

    learn.model.to(loaders.device).train()
    step()  # the first one is slower
    stepping = time_call(step) / TIMED / size**2
    rare = sum(label == RARE_CLASS for _, label in loaders.train_ds.items)
    added = recipe.drawn * 4 / 3 * rare  # a mask in four is drawn as worn properly
    shown = (len(loaders.train_ds) + added) * (1 + len(recipe.rotated))
    # Validation goes forward only, a third of the way.
    seconds = 0.0
    for side, epochs, _ in recipe.stages:
        learning = shown * (reading + stepping * side**2)
        judging = len(loaders.valid_ds) * (reading + stepping * side**2 / 3)
        seconds += epochs * (learning + judging)
    return recipe.members * seconds


@contextmanager
def show_steps(total: int, log: Log) -> Iterator[Callable[[str], None]]:
    """How far a pass is: a bar on a terminal; in a log a line after seconds, then every minute.

    To be called after each step with what is under way, such as "epoch 3 of 16, loss 0.31".
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    bar.disable = not console.is_terminal
    task, steps, line_due = bar.add_task("", total=total), count(1), time.monotonic() + FIRST

    def advance(what: str) -> None:
        nonlocal line_due
        done = next(steps)
        bar.update(task, completed=done, description=what)
        if bar.disable and time.monotonic() >= line_due:
            line_due = time.monotonic() + LATER
            log(f"{what}: {done} of {total} steps", "progress", done=done, total=total)

    with bar:
        yield advance


class ShowBatches(Callback):
    """Tells `show_steps` of every training batch of a fastai learner."""

    order = Recorder.order + 1  # after the loss is smoothed

    def __init__(self, advance: Callable[[str], None], before: int, epochs: int) -> None:
        self.advance, self.before, self.epochs = advance, before, epochs

    def after_batch(self) -> None:
        """Tell the epoch, from 1, and the smoothed loss."""
        if self.training:
            epoch = self.before + self.epoch + 1
            loss = float(self.recorder.smooth_loss.value)
            self.advance(f"epoch {epoch} of {self.epochs}, loss {loss:.3f}")
