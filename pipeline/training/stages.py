"""fastai callbacks of the staged training: precision, the stage's end, checkpoints."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback, CancelFitException

from pipeline.nets.checkpoint import save_checkpoint
from pipeline.nets.compute import autocast, seed_everything
from pipeline.runs.log import Log

Row = dict[str, float]


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


class StageKeeper(Callback):
    """Keeps the best weights of a stage, ends it when the loss turns, and checkpoints each epoch.

    Every epoch is seeded by its own number, so that a resumed run equals an uninterrupted one.

    Args:
        stage: Number of the stage, from 0.
        lr: Its peak learning rate.
        patience: Epochs without a better validation loss that end the stage.
        seed: Of the run.
        path: The checkpoint.
        history: Rows of all stages so far; grows by one per epoch.
        log: Gets one line per epoch.
        resumed: What a checkpoint of this stage said, or None.
    """

    order = 60

    def __init__(
        self,
        stage: int,
        *,
        lr: float,
        patience: int,
        seed: int,
        path: Path,
        history: list[Row],
        log: Log,
        resumed: dict[str, Any] | None = None,
    ) -> None:
        self.stage, self.lr, self.patience, self.seed = stage, lr, patience, seed
        self.path, self.history, self.log = path, history, log
        self.best_loss: float = resumed["best_loss"] if resumed else math.inf
        self.best: dict[str, torch.Tensor] = resumed["best"] if resumed else {}
        self.worse: int = resumed["worse"] if resumed else 0
        self.done: int = resumed["epoch"] if resumed else 0

    def before_fit(self) -> None:
        # fastai counts steps from 0 in every stage; trackers want those of the whole training.
        self.learn.train_iter = len(self.dls.train) * len(self.history)

    def before_epoch(self) -> None:
        seed = self.seed + 1000 * self.stage + self.epoch
        seed_everything(seed)
        for loader in self.dls.loaders:
            loader.rng = random.Random(seed)  # fastai shuffles by a generator of its own
        self.recorder.smooth_loss.reset()

    def after_epoch(self) -> None:
        if self.epoch < self.done:
            return  # fastai calls this for the epochs that a resumed stage skips, too
        names = ["train_loss", "valid_loss", *(metric.name for metric in self.recorder.metrics)]
        values = [float(value) for value in self.recorder.log[1 : len(names) + 1]]
        row: Row = {
            "stage": self.stage,
            "epoch": self.epoch,
            "lr": self.lr,
            **dict(zip(names, values, strict=True)),
        }
        self.history.append(row)
        told = ", ".join(f"{name} {row[name]:.4f}" for name in names)
        self.log(f"stage {self.stage}, epoch {self.epoch}: {told}", "epoch", **row)
        if row["valid_loss"] < self.best_loss:
            self.best_loss, self.worse = row["valid_loss"], 0
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        else:
            self.worse += 1
        self._save()
        if self.worse >= self.patience:
            self.log(
                f"stage {self.stage}: no better validation loss for {self.worse} epochs",
                "stage ended",
                stage=self.stage,
                worse=self.worse,
            )
            raise CancelFitException

    def after_fit(self) -> None:
        if self.best:
            self.model.load_state_dict(self.best)

    def _save(self) -> None:
        state = {
            "stage": self.stage,
            "epoch": self.epoch + 1,
            "best_loss": self.best_loss,
            "best": self.best,
            "worse": self.worse,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimiser": {
                "state": [dict(state) for state in self.opt.state_dict()["state"]],
                "hypers": [dict(hyper) for hyper in self.opt.state_dict()["hypers"]],
            },
        }
        save_checkpoint(self.path, _plain(state))


def _plain(value: Any) -> Any:
    """NumPy numbers and fastcore lists as plain ones: the restricted reader knows no others."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return value
    if hasattr(value, "item") and not isinstance(value, torch.Tensor):
        return value.item()
    if isinstance(value, (list, tuple)) or type(value).__name__ == "L":
        return [_plain(item) for item in value]
    return value
