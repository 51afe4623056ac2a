"""TensorBoard, imported when it is asked for: it gets numbers, the recipe and hashes, no photos.

Other trackers have callbacks of fastai, for `trimask.learner(…)`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Recorder

from data_prep.base.errors import UserError
from pipeline.runs.folder import Recipe, Run, flatten

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


def track_nothing(_step: int, _figures: dict[str, float]) -> None:
    """What is told where no tracker is asked for."""


def load_writer() -> Any:
    """TensorBoard's `SummaryWriter`; raises `TrackerError` if it isn't installed."""
    try:
        import tensorboard  # noqa: F401
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        name = "tensorboard"
        message = f"--track {name}: {name} is not installed; get it with: pip install {name}"
        raise TrackerError(message) from error
    return SummaryWriter


@contextmanager
def open_tracker(names: Sequence[str] | None, run: Run, recipe: Recipe) -> Iterator[Tracker]:
    """TensorBoard's event files in `RUN/tensorboard` with the parameters, if it is asked for.

    Look at them with `tensorboard --logdir runs`. Raises `TrackerError`.
    """
    if not names:
        yield track_nothing
        return
    with load_writer()(log_dir=str(run.folder / "tensorboard")) as writer:
        params = describe_run(run, recipe).items()
        writer.add_text("recipe", "\n".join(f"    {k} = {v}" for k, v in params))
        yield lambda step, told: [writer.add_scalar(k, v, step) for k, v in told.items()]


def describe_run(run: Run, recipe: Recipe) -> dict[str, Any]:
    """What decides a training, flat: `recipe.lr`, `faces_sha256`, `code_sha256`, versions."""
    about = run.describe_training(recipe)
    hashes = {"faces_sha256": run.data["faces_sha256"], "code_sha256": about["code_sha256"]}
    return flatten({"recipe": about["recipe"], **hashes, "version": about["versions"]})
