"""What trackers have in common, and opening those that are asked for.

A tracker gets numbers, the recipe and hashes; never photos, weights or paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from data_prep.base.errors import UserError
from pipeline.runs.folder import Recipe, Run

if TYPE_CHECKING:
    from fastai.callback.core import Callback
from fastai.callback.core import Callback
from fastai.learner import Recorder

PROJECT = "trimask"


class TrackerError(UserError, RuntimeError):
    """A tracker that can't be used; the message says what to do."""


class Tracker(Protocol):
    """Where the numbers of a training go."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Keep what decides the training: flat, texts and numbers."""

    def log_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Keep figures reached after so many optimiser steps."""

    def make_callback(self) -> Callback:
        """A callback that keeps the figures of fastai's epochs; fastai's own where there is one."""

    def close(self) -> None:
        """Write what is left to write."""


def load_module(name: str) -> ModuleType:
    """Import a tracker's package.

    Raises:
        TrackerError: It isn't installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise TrackerError(
            f"--track {name}: {name} is not installed; get it with: pip install {name}"
        ) from error


def check_trackers(names: Sequence[str]) -> None:
    """See to it that all are installed, before anything is made.

    Raises:
        TrackerError: One isn't.
    """
    for name in names:
        load_module(name)


@contextmanager
def open_trackers(names: Sequence[str], run: Run, recipe: Recipe) -> Iterator[list[Tracker]]:
    """Open trackers for a run, tell them its parameters, and close them whatever happens.

    Args:
        names: May be empty.
        run: The run folder; its name is what the tracker calls the run.
        recipe: Every number.

    Raises:
        TrackerError: One isn't installed or can't be opened.
    """
    with ExitStack() as stack:
        trackers: list[Tracker] = []
        for name in dict.fromkeys(names):
            from pipeline.runs.trackers import BACKENDS

            tracker = BACKENDS[name](run.folder)
            stack.callback(tracker.close)
            tracker.log_params(describe_run(run, recipe))
            trackers.append(tracker)
        yield trackers


def log_metrics(trackers: Sequence[Tracker], step: int, metrics: dict[str, float]) -> None:
    """Tell all trackers the same."""
    for tracker in trackers:
        tracker.log_metrics(step, metrics)


def describe_run(run: Run, recipe: Recipe) -> dict[str, Any]:
    """What decides a training, flat: `recipe.lr`, `faces_sha256`, `code_sha256`, versions.

    Weights that the recipe starts from are told by their hash, for a path is nobody's business.
    """
    told = run.describe_training(recipe)
    flat = {f"recipe.{key}": _plain(value) for key, value in told["recipe"].items()}
    flat["faces_sha256"] = run.data.get("faces_sha256", "")
    flat["code_sha256"] = told["code_sha256"]
    flat |= {f"version.{name}": number for name, number in told["versions"].items()}
    return flat


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, (list, dict)) or value is None else value


class TrackEpochs(Callback):
    """Gives a tracker the losses and figures of every epoch, at the steps of all stages.

    Args:
        tracker: Gets them.
    """

    order = Recorder.order + 1

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def after_epoch(self) -> None:
        if not was_trained(self.recorder):
            return
        told = dict(zip(self.recorder.metric_names, self.recorder.log, strict=True))
        metrics = {name: float(told[name]) for name in told if name not in ("epoch", "time")}
        metrics["lr"] = float(self.opt.hypers[-1]["lr"])
        self.tracker.log_metrics(self.train_iter, metrics)


def was_trained(recorder: Recorder) -> bool:
    """Whether the epoch has figures: fastai also ends those that a resumed stage skips."""
    return len(recorder.log) == len(recorder.metric_names)
