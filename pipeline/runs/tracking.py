"""Trackers: TensorBoard, Weights & Biases, Trackio and MLflow, each imported when it is asked for.

A tracker gets numbers, the recipe and hashes; never photos, weights or paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Recorder

from data_prep.base.errors import UserError
from pipeline.runs.folder import Recipe, Run, flatten

PROJECT = "trimask"
WANDB_SETTINGS = {
    **{"console": "off", "host": "-", "save_code": False, "x_save_requirements": False},
    **dict.fromkeys(("disable_code", "disable_git"), True),
    **dict.fromkeys(("x_disable_machine_info", "x_disable_meta", "x_disable_stats"), True),
}
"""Without these it would also send the machine's name, the command line, and what is printed."""

Tracker = Callable[[int, dict[str, float]], object]
"""Takes the figures after so many optimiser steps."""


class TrackerError(UserError, RuntimeError):
    """A tracker that can't be used; the message says what to do."""


class TrackLearner(Callback):
    """Gives a tracker a fastai learner's losses, rates and figures, at the steps of all stages."""

    order = Recorder.order + 1

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def after_batch(self) -> None:
        if self.training:
            losses = {"train_loss": float(self.smooth_loss), "raw_loss": float(self.loss.detach())}
            epoch, lr = self.train_iter / self.n_iter, float(self.opt.hypers[-1]["lr"])
            self.tracker(self.train_iter, {"epoch": epoch, **losses, "lr": lr})

    def after_epoch(self) -> None:
        # fastai also ends the epochs that a resumed stage skips; they have no figures.
        if len(self.recorder.log) == len(self.recorder.metric_names):
            figures = dict(zip(self.recorder.metric_names, self.recorder.log, strict=True))
            metrics = {k: float(v) for k, v in figures.items() if k not in {"epoch", "time"}}
            self.tracker(self.train_iter, metrics)


def load_tracker(name: str) -> Any:
    """Import a tracker's package; raises `TrackerError` if it isn't installed."""
    try:
        return import_module(name)
    except ImportError as error:
        message = f"--track {name}: {name} is not installed; get it with: pip install {name}"
        raise TrackerError(message) from error


@contextmanager
def open_trackers(names: Sequence[str], run: Run, recipe: Recipe) -> Iterator[list[Tracker]]:
    """Trackers of a run, told its parameters, closed whatever happens; raises `TrackerError`."""
    params = describe_run(run, recipe)
    with ExitStack() as stack:
        wanted = {name: load_tracker(name) for name in names}
        yield [BACKENDS[name](wanted[name], run.folder, params, stack) for name in wanted]


def log_metrics(trackers: Sequence[Tracker], step: int, metrics: dict[str, float]) -> None:
    """Give all trackers the same figures."""
    for tracker in trackers:
        tracker(step, metrics)


def describe_run(run: Run, recipe: Recipe) -> dict[str, Any]:
    """What decides a training, flat: `recipe.lr`, `faces_sha256`, `code_sha256`, versions."""
    about = run.describe_training(recipe)
    hashes = {"faces_sha256": run.data["faces_sha256"], "code_sha256": about["code_sha256"]}
    return flatten({"recipe": about["recipe"], **hashes, "version": about["versions"]})


def _tensorboard(_: Any, folder: Path, params: dict[str, Any], stack: ExitStack) -> Tracker:
    """Event files in `RUN/tensorboard`; look at them with `tensorboard --logdir runs`."""
    from torch.utils.tensorboard import SummaryWriter

    writer = stack.enter_context(SummaryWriter(log_dir=str(folder / "tensorboard")))
    writer.add_text("recipe", "\n".join(f"    {k} = {v}" for k, v in params.items()))
    return lambda step, metrics: [writer.add_scalar(k, v, step) for k, v in metrics.items()]


def _wandb(wandb: Any, folder: Path, params: dict[str, Any], stack: ExitStack) -> Tracker:
    """Weights & Biases; with `WANDB_MODE=offline` files in `RUN/wandb` and nothing is sent."""
    own: dict[str, Any] = {"dir": str(folder), "settings": WANDB_SETTINGS}
    try:
        board = wandb.init(project=PROJECT, name=folder.name, config=params, **own)
    except wandb.Error as error:
        raise TrackerError(
            f"--track wandb: {str(error).splitlines()[0]} "
            "(log in with: wandb login, or set WANDB_MODE=offline)"
        ) from error
    stack.callback(board.finish)
    # A step that lies behind would be lost; it is taken for the present one.
    return lambda step, metrics: board.log(metrics, step=max(step, board.step))


def _trackio(trackio: Any, folder: Path, params: dict[str, Any], stack: ExitStack) -> Tracker:
    """Trackio, on this machine unless its own settings say otherwise."""
    trackio.init(project=PROJECT, name=folder.name, config=params)
    stack.callback(trackio.finish)
    return lambda step, metrics: trackio.log(metrics, step=step)


def _mlflow(mlflow: Any, folder: Path, params: dict[str, Any], stack: ExitStack) -> Tracker:
    """MLflow, where `MLFLOW_TRACKING_URI` says, or in this folder."""
    mlflow.set_experiment(PROJECT)
    # Else it would keep the user's name and the program's path.
    tags = {"mlflow.user": "-", "mlflow.source.name": PROJECT}
    stack.enter_context(mlflow.start_run(run_name=folder.name, tags=tags))
    mlflow.log_params(params)
    return lambda step, metrics: mlflow.log_metrics(metrics, step=step)


BACKENDS: dict[str, Callable[[Any, Path, dict[str, Any], ExitStack], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
    "mlflow": _mlflow,
}
