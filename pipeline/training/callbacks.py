"""What happens at every step of a training: seeds, checkpoints, distillation, progress."""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.schedule import Learner
from fastai.learner import Recorder
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from data_prep.base.labels import CLASSES, RARE_CLASS
from data_prep.base.progress import tell
from data_prep.base.tables import KEY
from data_prep.grouping.split import TRAIN
from pipeline.nets.cards import ClassifierCard, WeightsError, load_weights, save_checkpoint
from pipeline.nets.classifiers import fill_net
from pipeline.nets.compute import autocast, has_fast_bf16, prepare_net, seed_everything
from pipeline.runs.folder import CHECKPOINT, Row, Run
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe

WORDS = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "recall_score": "macro recall",
}
"""What lines for people call the figures of an epoch."""


def wants_bf16(recipe: ClassifierRecipe, device: torch.device) -> bool:
    """Whether a recipe's training runs in bfloat16 on this device."""
    return recipe.bf16 == "on" or (recipe.bf16 == "auto" and has_fast_bf16(device))


class Bf16(Callback):
    """bfloat16 autocast on any device; fastai's own knows CUDA only."""

    order = 10

    def before_batch(self) -> None:
        self.context = autocast(self.dls.device, bf16=True)
        self.context.__enter__()

    def after_pred(self) -> None:
        self.learn.pred = self.pred.float()

    def after_loss(self) -> None:
        self.context.__exit__(None, None, None)


class SeededEpochs(Callback):
    """Seeds every epoch of a stage by its own number, so that each can be repeated alone."""

    order = 60

    def __init__(self, seed: int, stage: int) -> None:
        self.seed, self.stage = seed, stage

    def before_epoch(self) -> None:
        seed = self.seed + 1000 * self.stage + self.epoch
        seed_everything(seed)
        for loader in self.dls.loaders:
            loader.rng = random.Random(seed)  # fastai shuffles by a generator of its own


class StageKeeper(SeededEpochs):
    """Keeps the best weights of a stage, ends it when the loss turns, and checkpoints each epoch.

    `lr` is the stage's peak rate; `history`, rows of all stages so far, grows by one per epoch;
    `resumed` is what a checkpoint of this stage holds. A resumed run equals an uninterrupted one.
    """

    def __init__(
        self,
        recipe: ClassifierRecipe,
        stage: int,
        lr: float,
        run: Run,
        history: list[Row],
        log: Log,
        resumed: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(recipe.seed, stage)
        self.recipe, self.lr, self.began = recipe, lr, time.monotonic()
        self.run, self.history, self.log = run, history, log
        done = resumed or {"best_loss": math.inf, "best": {}, "worse": 0, "epoch": 0}
        self.best_loss, self.best = done["best_loss"], done["best"]
        self.worse, self.done = done["worse"], done["epoch"]

    def before_fit(self) -> None:
        # fastai counts steps from 0 in every stage; trackers want those of the whole training.
        self.learn.train_iter = len(self.dls.train) * len(self.history)

    def before_epoch(self) -> None:
        super().before_epoch()
        self.recorder.smooth_loss.reset()
        self.began = time.monotonic()

    def after_epoch(self) -> None:
        if self.epoch < self.done:
            return  # fastai calls this for the epochs that a resumed stage skips, too
        names = ["train_loss", "valid_loss", *(metric.name for metric in self.recorder.metrics)]
        values = map(float, self.recorder.log[1 : len(names) + 1])
        figures = dict(zip(names, values, strict=True))
        row: Row = {"stage": self.stage, "epoch": self.epoch, "lr": self.lr, **figures}
        falls = self.epoch > 0 and row["train_loss"] < self.history[-1]["train_loss"]
        self.history.append(row)
        line = ", ".join(f"{WORDS.get(name, name)} {value:.4f}" for name, value in figures.items())
        seconds = f"{time.monotonic() - self.began:.0f} s"
        line = f"epoch {len(self.history)} of {self.recipe.all_epochs}: {line}, {seconds}"
        self.log(line, "epoch", **row)
        if row["valid_loss"] < self.best_loss:
            self.best_loss, self.worse = row["valid_loss"], 0
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        elif falls or self.recipe.switch == "stalled":
            self.worse += 1
        self.run.write_history(self.history)
        self._save()
        if self.worse >= self.recipe.patience:
            why = "no lower validation loss" if self.recipe.switch == "stalled" else "overfits"
            line = f"stage {self.stage + 1} ends: {why} for {tell(self.worse, 'epoch')}"
            self.log(line, "stage ended", stage=self.stage, worse=self.worse)
            raise CancelFitException

    def after_fit(self) -> None:
        if self.best:
            self.model.load_state_dict(self.best)

    def _save(self) -> None:
        optimiser = self.opt.state_dict()
        # As plain dicts and numbers: the restricted reader knows no others.
        hypers = [{k: float(v) for k, v in group.items()} for group in optimiser["hypers"]]
        state = {
            "stage": self.stage,
            "epoch": self.epoch + 1,
            "best_loss": self.best_loss,
            "best": self.best,
            "worse": self.worse,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimiser": {"state": [dict(one) for one in optimiser["state"]], "hypers": hypers},
        }
        save_checkpoint(self.run.folder / CHECKPOINT, state)


class Teacher:
    """A trained classifier that gives class probabilities of training batches."""

    def __init__(
        self, net: nn.Module, card: ClassifierCard, device: torch.device, *, bf16: bool = False
    ) -> None:
        self.net, self.card, self.device = prepare_net(net, device), card, device
        self.bf16, self.order = bf16, [card.classes.index(name) for name in CLASSES]

    def answer(self, images: Tensor) -> Tensor:
        """Probabilities, in the order of `CLASSES`, of images standardised for the learner."""
        size = self.card.input_size
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), autocast(self.device, bf16=self.bf16):
            logits = self.net(images).float()
        return (logits / self.card.temperature).softmax(dim=1)[:, self.order]


class Distillation(Callback):
    """Mixes the cross-entropy to the teachers' mean answer into the loss of training batches.

    Hinton et al. 2015, "Distilling the knowledge in a neural network".
    """

    def __init__(self, teachers: list[Teacher], share: float) -> None:
        self.teachers, self.share = teachers, share

    def after_loss(self) -> None:
        if not self.training:
            return
        images = self.xb[0].as_subclass(Tensor)
        answers = torch.stack([teacher.answer(images) for teacher in self.teachers]).mean(dim=0)
        distilled = F.cross_entropy(self.pred.as_subclass(Tensor).float(), answers)
        self.learn.loss_grad = (1 - self.share) * self.loss_grad + self.share * distilled
        self.learn.loss = self.loss_grad.clone()


def load_teachers(recipe: ClassifierRecipe, device: torch.device) -> list[Teacher]:
    """The classifiers a recipe names; `WeightsError` if one sees another crop or classes."""
    feed, teachers = ClassifierCard(colour=recipe.colour), []
    for path in map(Path, recipe.teachers):
        if not path.is_file():
            raise WeightsError(f"teachers: {path}: no such file; give classifiers' .safetensors.")
        state, card = load_weights(path, ClassifierCard)
        if (card.colour, card.mean, card.std) != (feed.colour, feed.mean, feed.std):
            raise WeightsError(f"{path}: is fed otherwise than the net that would learn from it.")
        if set(card.classes) != set(CLASSES):
            raise WeightsError(f"{path}: its classes are {card.classes}, not {CLASSES}.")
        net = fill_net(state, card.architecture, path)
        teachers.append(Teacher(net, card, device, bf16=wants_bf16(recipe, device)))
    return teachers


FIRST, LATER = 8.0, 60.0  # Seconds after which a log gets its first line of a pass, and another.

TIMED = 8  # Faces that a step is timed with.

START = {
    "random": "random weights (others, where they can be had, do better: see init)",
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
        f"at most {tell(recipe.all_epochs, 'epoch')} at {sizes}, "
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
    faces = shown + len(loaders.valid_ds) / 2  # which go forward only
    per_epoch = [faces * (reading + stepping * stage.size**2) for stage in recipe.stages]
    epochs = [stage.epochs for stage in recipe.stages]
    return recipe.members * float(np.dot(per_epoch, epochs))


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
