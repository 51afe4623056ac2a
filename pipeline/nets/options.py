"""Options and arguments that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from data_prep.base.command import spell

_INSTALLED = Path(__file__).parents[1] / "weights"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "weights"
"""The weights that come with the project: inside the installed package, else in the checkout."""

RETINAFACE, YUNET = "retinaface", "yunet"

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Weights = Annotated[
    Path,
    typer.Option(help="A run folder, a folder with nets, or one net; the rest is the shipped."),
]
DetectorName = Annotated[
    str, typer.Option("--detector", help="What finds faces: retinaface or yunet.")
]
DetectorModel = Annotated[Path | None, typer.Option(help="Model file (ONNX) of yunet.")]

Prepared = Annotated[Path, typer.Argument(help=f"Folder written by: {spell('build')}.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the results.")]
Recipe = Annotated[str, typer.Option(help="A recipe's name or TOML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one number, such as lr=1e-3 or sizes=[128,224]; may be repeated.",
    ),
]
Folds = Annotated[int, typer.Option(min=2, help="Trainings, each on the other folds' photos.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Trainings at a time.", show_default="one per core")
]
LogFormat = Literal["text", "json"]
LogAs = Annotated[
    LogFormat,
    typer.Option("--log", help="Lines for people, or one JSON object per line on standard output."),
]


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """How several trainings are done."""

    device: Device = "auto"
    jobs: Jobs = None
    log: LogAs = "text"


@dataclass(frozen=True, kw_only=True)
class ShortOptions(TrialOptions):
    """How several short trainings are done."""

    recipe: Recipe = "suspects"
    overrides: Overrides = None


TrackerName = StrEnum("TrackerName", "tensorboard wandb trackio mlflow")
Track = Annotated[
    list[TrackerName] | None,
    typer.Option("--track", help="Tracker that gets numbers, recipe and hashes; may be repeated."),
]
