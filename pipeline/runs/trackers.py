"""The trackers: TensorBoard, Weights & Biases, Trackio and MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastai.callback.core import Callback

from pipeline.runs.options import TrackerName
from pipeline.runs.tracking import PROJECT, TrackEpochs, Tracker, TrackerError, load_module

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


class TensorBoardTracker:
    """Event files in `RUN/tensorboard`; look at them with `tensorboard --logdir runs`."""

    def __init__(self, folder: Path) -> None:
        load_module("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder / "tensorboard"
        self.writer = SummaryWriter(log_dir=str(self.folder))

    def log_params(self, params: dict[str, Any]) -> None:
        """Keep them as a text."""
        lines = [f"    {key} = {value}" for key, value in params.items()]
        self.writer.add_text("recipe", "\n".join(lines))
        self.writer.flush()

    def log_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Keep figures as scalars."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def make_callback(self) -> Callback:
        """Fastai's own: losses and rates of every batch, figures of every epoch."""
        from fastai.callback.tensorboard import TensorBoardCallback

        # TensorBoard reads one file after the other: this one must end before fastai's begins.
        self.writer.close()
        return TensorBoardCallback(log_dir=str(self.folder), trace_model=False, log_preds=False)

    def close(self) -> None:
        """Write what is left to write."""
        self.writer.close()


class WandbTracker:
    """Weights & Biases; with `WANDB_MODE=offline` files in `RUN/wandb` and nothing is sent."""

    def __init__(self, folder: Path) -> None:
        self.wandb = load_module("wandb")
        try:
            self.run = self.wandb.init(
                project=PROJECT, name=folder.name, dir=str(folder), settings=WANDB_SETTINGS
            )
        except self.wandb.Error as error:
            raise TrackerError(
                f"--track wandb: {str(error).splitlines()[0]} "
                "(log in with: wandb login, or set WANDB_MODE=offline)"
            ) from error

    def log_params(self, params: dict[str, Any]) -> None:
        """Keep them as the run's config."""
        self.run.config.update(params, allow_val_change=True)

    def log_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Keep figures; a step that lies behind is taken for the present one."""
        self.run.log(metrics, step=max(step, self.run.step))

    def make_callback(self) -> Callback:
        """Fastai's own: losses and rates of every batch, figures of every epoch."""
        from pipeline.runs.wandb_callback import WandbNumbers

        return WandbNumbers(log=None, log_preds=False, log_model=False, log_dataset=False)

    def close(self) -> None:
        """Write what is left to write."""
        self.run.finish()


class TrackioTracker:
    """Trackio, on this machine unless its own settings say otherwise."""

    def __init__(self, folder: Path) -> None:
        self.trackio = load_module("trackio")
        self.name = folder.name
        self.is_open = False

    def log_params(self, params: dict[str, Any]) -> None:
        """Begin the run, for its config is given then."""
        self.trackio.init(project=PROJECT, name=self.name, config=params)
        self.is_open = True

    def log_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Keep figures."""
        self.trackio.log(metrics, step=step)

    def make_callback(self) -> Callback:
        """Figures of every epoch."""
        return TrackEpochs(self)

    def close(self) -> None:
        """End the run."""
        if self.is_open:
            self.trackio.finish()


class MlflowTracker:
    """MLflow, where `MLFLOW_TRACKING_URI` says, or in this folder."""

    def __init__(self, folder: Path) -> None:
        self.mlflow = load_module("mlflow")
        self.mlflow.set_experiment(PROJECT)
        # Else it would keep the user's name and the program's path.
        tags = {"mlflow.user": "-", "mlflow.source.name": PROJECT}
        self.mlflow.start_run(run_name=folder.name, tags=tags)

    def log_params(self, params: dict[str, Any]) -> None:
        """Keep them as the run's parameters."""
        self.mlflow.log_params(params)

    def log_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Keep figures."""
        self.mlflow.log_metrics(metrics, step=step)

    def make_callback(self) -> Callback:
        """Figures of every epoch."""
        return TrackEpochs(self)

    def close(self) -> None:
        """End the run."""
        self.mlflow.end_run()


BACKENDS: dict[str, Callable[[Path], Tracker]] = {
    TrackerName.TENSORBOARD: TensorBoardTracker,
    TrackerName.WANDB: WandbTracker,
    TrackerName.TRACKIO: TrackioTracker,
    TrackerName.MLFLOW: MlflowTracker,
}
