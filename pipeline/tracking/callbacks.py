"""fastai callbacks for trackers that fastai has none for."""

from __future__ import annotations

from fastai.callback.core import Callback
from fastai.learner import Recorder

from pipeline.tracking.tracker import Tracker


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
