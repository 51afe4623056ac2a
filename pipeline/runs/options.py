"""Options of commands that need torch: read, and checked, before it is loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.nets import options


@dataclass(frozen=True)
class TrainOptions:
    """What `train` and `train-detector` share."""

    prepared: options.Prepared
    recipe: options.Recipe = "default"
    overrides: options.Overrides = None
    runs: Annotated[Path, typer.Option("--runs", "-o")] = Path("runs")
    """Folder that gets the run folder."""
    resume: Path | None = None
    """A run folder that was stopped, to go on with."""
    device: options.Device = "auto"
    log: options.LogAs = "text"


@dataclass(frozen=True)
class TrainClassifierOptions(TrainOptions):
    """Options of `train`."""

    refit: Path | None = None
    """A run to repeat with the validation photos learnt from, too: to ship."""


@dataclass(frozen=True)
class TrainDetectorOptions(TrainOptions):
    """Options of `train-detector`."""

    start: Path = field(kw_only=True)
    """RetinaFace weights to start from."""
    recipe: options.Recipe = "detector"


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """How several trainings are done."""

    device: options.Device = "auto"
    jobs: options.Jobs = None
    log: options.LogAs = "text"


@dataclass(frozen=True, kw_only=True)
class ShortOptions(TrialOptions):
    """How several short trainings are done."""

    recipe: options.Recipe = "suspects"
    overrides: options.Overrides = None


@dataclass(frozen=True)
class SuspectsOptions(ShortOptions):
    """How to look for suspects, and where."""

    prepared: options.Prepared
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the suspects.")]
    order: Literal["merged", "out-of-fold", "in-sample"] = "merged"
    """merged, out-of-fold (plain loss), or in-sample (top losses)."""
    folds: options.Folds = 5
    seed: Annotated[int, typer.Option(help="Of folds and trainings.")] = 0


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of `classify`."""

    prepared: options.Prepared
    table: Annotated[Path, typer.Option("--out", "-o", help="The table to write.")]
    weights: options.Weights = options.SHIPPED
    split: Annotated[str, typer.Option(help="Which split.")] = "valid"
    device: options.Device = "auto"


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and where the figures go."""

    prepared: options.Prepared
    weights: options.Weights = options.SHIPPED
    unseen: Annotated[bool, typer.Option("--unseen")] = False
    """All photos that the nets did not learn from."""
    learnt: Annotated[bool, typer.Option("--learnt")] = False
    """Validation photos even if they were learnt from."""
    write: Annotated[bool, typer.Option("--write")] = False
    """Put the figures on the cards, too."""
    reports: Path | None = None
    """Folder for a whole evaluation of each dataset, with report.html."""
    device: options.Device = "auto"


@dataclass(frozen=True)
class FitBoxesOptions:
    """Options of `fit-boxes`."""

    dataset: Annotated[Path, typer.Argument(help="Annotated photos: a folder in any known format.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON to write, for run --boxes.")]
    weights: options.Weights = options.SHIPPED
    device: options.Device = "auto"


@dataclass(frozen=True)
class SweepOptions(TrialOptions):
    """Which combinations are trained, and on what."""

    prepared: options.Prepared
    out: options.Out
    sets: Annotated[list[str], typer.Option("--set", metavar="KEY=V1,V2")]
    """Values of one number, such as lr=1e-3,3e-3 or sizes=[96],[128]; repeat for more."""
    recipe: options.Recipe = "default"
    folds: options.Folds = 3
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the combinations.")] = False


@dataclass(frozen=True)
class CleanEffectOptions(ShortOptions):
    """What is compared, and how."""

    prepared: options.Prepared
    cleaned: Annotated[Path, typer.Argument(help="The same, built with --decisions.")]
    out: options.Out = Path("clean-effect")
    seeds: Annotated[int, typer.Option(min=1, help="Trainings on each side.")] = 3
