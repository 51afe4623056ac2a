"""The command line of training: `python -m pipeline …`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from data_prep.faces import FacesError, read_faces
from data_prep.files import OutputError
from pipeline.checkpoint import CheckpointError
from pipeline.compute import DeviceError, pick_device
from pipeline.recipe import ClassifierRecipe, DetectorRecipe, RecipeError, load_recipe
from pipeline.runs import PreparedError, identify_data, resume_run, start_run
from pipeline.train_detector import train_detector
from pipeline.weights import WeightsError, load_state

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Train the detector and the classifier, and repeat any run."""


Prepared = Annotated[Path, typer.Argument(help="Folder written by: python -m data_prep build.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one number.")
]
Runs = Annotated[Path, typer.Option("--runs", "-o", help="Folder that gets the run folder.")]
Resume = Annotated[Path | None, typer.Option(help="A run folder that was stopped, to go on with.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]

USER_ERRORS = (
    CheckpointError,
    DeviceError,
    FacesError,
    OutputError,
    PreparedError,
    RecipeError,
    WeightsError,
)


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit code 2."""
    try:
        yield
    except USER_ERRORS as error:
        say(f"error: {error}")
        raise typer.Exit(2) from error


def say(line: str) -> None:
    """One line on standard error, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@app.command("train")
def train_command(
    prepared: Prepared,
    recipe: Annotated[str, typer.Option(help="A recipe's name or TOML file.")] = "default",
    set_: Overrides = None,
    runs: Runs = Path("runs"),
    resume: Resume = None,
    device: Device = "auto",
) -> None:
    """Train the classifier on the crops of the training split."""
    with explain_errors():
        from pipeline.train_classifier import train_classifier  # fastai takes seconds to import

        name = str(resume / "recipe.toml") if resume else recipe
        resolved = load_recipe(name, ClassifierRecipe, set_)
        data, _ = identify_data(prepared)
        faces = read_faces(prepared)
        target = pick_device(device)
        run = resume_run(resume, data) if resume else start_run(runs, resolved.name, resolved, data)
        say(f"run folder: {run.folder}")
        train_classifier(faces, prepared, resolved, run, device=target, say=say)
        say(f"weights: {run.folder / 'classifier.safetensors'}")


@app.command("train-detector")
def train_detector_command(
    prepared: Prepared,
    start: Annotated[Path, typer.Option(help="RetinaFace weights to start from.")],
    recipe: Annotated[str, typer.Option(help="A recipe's name or TOML file.")] = "detector",
    set_: Overrides = None,
    runs: Runs = Path("runs"),
    resume: Resume = None,
    device: Device = "auto",
) -> None:
    """Fine-tune the detector on the annotated boxes of the training split."""
    with explain_errors():
        name = str(resume / "recipe.toml") if resume else recipe
        resolved = load_recipe(name, DetectorRecipe, set_)
        data, roots = identify_data(prepared)
        faces = read_faces(prepared)
        state = load_state(start)
        target = pick_device(device)
        run = resume_run(resume, data) if resume else start_run(runs, resolved.name, resolved, data)
        say(f"run folder: {run.folder}")
        train_detector(faces, roots, resolved, state, run, device=target, say=say)
        say(f"weights: {run.folder / 'detector.safetensors'}")
