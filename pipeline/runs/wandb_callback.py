"""fastai's callback for Weights & Biases, kept to numbers."""

from __future__ import annotations

from fastai.callback.wandb import WandbCallback

from pipeline.runs.tracking import was_trained


class WandbNumbers(WandbCallback):
    """Sends no settings of the learner: the run folder's path is among them."""

    def before_fit(self) -> None:
        self.learn.gather_args = dict
        super().before_fit()

    def after_epoch(self) -> None:
        if was_trained(self.recorder):
            super().after_epoch()
