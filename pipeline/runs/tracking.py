"""Trackers: TensorBoard, Weights & Biases, Trackio and MLflow, each imported when it is asked for.

A tracker gets numbers, the recipe and hashes; never photos, weights or paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Recorder

from data_prep.base.errors import UserError
from pipeline.runs.folder import Recipe, Run, flatten

PROJECT = "trimask"
WANDB_SETTINGS = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "host": "-",
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Without these it would also send the machine's name, the command line, and what is printed."""


class TrackerError(UserError, RuntimeError):
    """A tracker that can't be used; the message says what to do."""


@dataclass(frozen=True)
class Tracker:
    """Where the numbers of a training go."""

    log_metrics: Callable[[int, dict[str, float]], None]  # after so many optimiser steps
    each_batch: bool = False  # whether it keeps losses and rates of every batch, too


class TrackLearner(Callback):
    """Gives a tracker a fastai learner's losses and figures, at the steps of all stages."""

    order = Recorder.order + 1

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def after_batch(self) -> None:
        if self.training and self.tracker.each_batch:
            rates = {
                f"{k}_{i}": v for i, group in enumerate(self.opt.hypers) for k, v in group.items()
            }
            losses = {"train_loss": float(self.smooth_loss), "raw_loss": float(self.loss.detach())}
            epoch = self.train_iter / self.n_iter
            self.tracker.log_metrics(self.train_iter, {"epoch": epoch, **losses, **rates})

    def after_epoch(self) -> None:
        # fastai also ends the epochs that a resumed stage skips; they have no figures.
        if len(self.recorder.log) != len(self.recorder.metric_names):
            return
        figures = dict(zip(self.recorder.metric_names, self.recorder.log, strict=True))
        known = {"epoch", "time"} | ({"train_loss"} if self.tracker.each_batch else set())
        metrics = {name: float(figures[name]) for name in figures if name not in known}
        metrics["lr"] = float(self.opt.hypers[-1]["lr"])
        self.tracker.log_metrics(self.train_iter, metrics)


def load_tracker(name: str) -> ModuleType:
    """Import a tracker's package; raises `TrackerError` where it isn't installed."""
    try:
        return import_module(name)
    except ImportError as error:
        message = f"--track {name}: {name} is not installed; get it with: pip install {name}"
        raise TrackerError(message) from error


@contextmanager
def open_trackers(names: Sequence[str], run: Run, recipe: Recipe) -> Iterator[list[Tracker]]:
    """Open trackers for a run, give them its parameters, and close them whatever happens.

    Raises:
        TrackerError: One isn't installed or can't be opened.
    """
    with ExitStack() as stack:
        opened = (BACKENDS[name](run, describe_run(run, recipe)) for name in dict.fromkeys(names))
        yield [stack.enter_context(one) for one in opened]


def log_metrics(trackers: Sequence[Tracker], step: int, metrics: dict[str, float]) -> None:
    """Give all trackers the same figures."""
    for tracker in trackers:
        tracker.log_metrics(step, metrics)


def describe_run(run: Run, recipe: Recipe) -> dict[str, Any]:
    """What decides a training, flat: `recipe.lr`, `faces_sha256`, `code_sha256`, versions."""
    about = run.describe_training(recipe)
    hashes = {"faces_sha256": run.data["faces_sha256"], "code_sha256": about["code_sha256"]}
    return flatten({"recipe": about["recipe"], **hashes, "version": about["versions"]})


@contextmanager
def _tensorboard(run: Run, params: dict[str, Any]) -> Iterator[Tracker]:
    """Event files in `RUN/tensorboard`; look at them with `tensorboard --logdir runs`."""
    load_tracker("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    def log(step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    with SummaryWriter(log_dir=str(run.folder / "tensorboard")) as writer:
        writer.add_text("recipe", "\n".join(f"    {k} = {v}" for k, v in params.items()))
        yield Tracker(log, each_batch=True)


@contextmanager
def _wandb(run: Run, params: dict[str, Any]) -> Iterator[Tracker]:
    """Weights & Biases; with `WANDB_MODE=offline` files in `RUN/wandb` and nothing is sent."""
    wandb = load_tracker("wandb")
    try:
        board = wandb.init(
            project=PROJECT,
            name=run.folder.name,
            dir=str(run.folder),
            config=params,
            settings=WANDB_SETTINGS,
        )
    except wandb.Error as error:
        raise TrackerError(
            f"--track wandb: {str(error).splitlines()[0]} "
            "(log in with: wandb login, or set WANDB_MODE=offline)"
        ) from error
    try:
        # A step that lies behind would be lost; it is taken for the present one.
        yield Tracker(lambda step, m: board.log(m, step=max(step, board.step)), each_batch=True)
    finally:
        board.finish()


@contextmanager
def _trackio(run: Run, params: dict[str, Any]) -> Iterator[Tracker]:
    """Trackio, on this machine unless its own settings say otherwise."""
    trackio = load_tracker("trackio")
    trackio.init(project=PROJECT, name=run.folder.name, config=params)
    try:
        yield Tracker(lambda step, metrics: trackio.log(metrics, step=step))
    finally:
        trackio.finish()


@contextmanager
def _mlflow(run: Run, params: dict[str, Any]) -> Iterator[Tracker]:
    """MLflow, where `MLFLOW_TRACKING_URI` says, or in this folder."""
    mlflow = load_tracker("mlflow")
    mlflow.set_experiment(PROJECT)
    # Else it would keep the user's name and the program's path.
    tags = {"mlflow.user": "-", "mlflow.source.name": PROJECT}
    with mlflow.start_run(run_name=run.folder.name, tags=tags):
        mlflow.log_params(params)
        yield Tracker(lambda step, metrics: mlflow.log_metrics(metrics, step=step))


BACKENDS: dict[str, Callable[[Run, dict[str, Any]], AbstractContextManager[Tracker]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
    "mlflow": _mlflow,
}
