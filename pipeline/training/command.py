"""The commands `train` and `train-detector` of `python -m pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.nets.options import Device
from pipeline.runs.log import report_as
from pipeline.runs.options import LogAs, Overrides, Prepared, Recipe, Track

Runs = Annotated[Path, typer.Option("--runs", "-o", help="Folder that gets the run folder.")]
Resume = Annotated[Path | None, typer.Option(help="A run folder that was stopped, to go on with.")]


def train_command(
    prepared: Prepared,
    recipe: Recipe = "default",
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    resume: Resume = None,
    device: Device = "auto",
    log: LogAs = "text",
    track: Track = None,
) -> None:
    """Train the classifier on the crops of the training split."""
    with report_as(log) as report:
        from data_prep.base.tables import read_faces
        from pipeline.nets.compute import pick_device
        from pipeline.runs.folder import identify_data, open_run
        from pipeline.runs.recipe import ClassifierRecipe, load_recipe
        from pipeline.runs.tracking import check_trackers, open_trackers
        from pipeline.training.classifier import train_classifier

        check_trackers(track or ())
        resolved = load_recipe(_recipe_of(resume, recipe), ClassifierRecipe, overrides)
        data, _ = identify_data(prepared)
        faces = read_faces(prepared)
        target = pick_device(device)
        run = open_run(resume, runs, resolved, data)
        report.log(f"run folder: {run.folder}", "run", folder=run.folder)
        with open_trackers(track or (), run, resolved) as trackers:
            card = train_classifier(
                faces,
                prepared,
                resolved,
                run,
                device=target,
                log=report.log,
                trackers=trackers,
            )
        weights = run.folder / "classifier.safetensors"
        report.finish(f"weights: {weights}", folder=run.folder, weights=weights, **card.results)


def train_detector_command(
    prepared: Prepared,
    start: Annotated[Path, typer.Option(help="RetinaFace weights to start from.")],
    recipe: Recipe = "detector",
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    resume: Resume = None,
    device: Device = "auto",
    log: LogAs = "text",
    track: Track = None,
) -> None:
    """Fine-tune the detector on the annotated boxes of the training split."""
    with report_as(log) as report:
        from data_prep.base.tables import read_faces
        from pipeline.nets.cards import load_state
        from pipeline.nets.compute import pick_device
        from pipeline.runs.folder import identify_data, open_run
        from pipeline.runs.recipe import DetectorRecipe, load_recipe
        from pipeline.runs.tracking import check_trackers, open_trackers
        from pipeline.training.detector import train_detector

        check_trackers(track or ())
        resolved = load_recipe(_recipe_of(resume, recipe), DetectorRecipe, overrides)
        data, roots = identify_data(prepared)
        faces = read_faces(prepared)
        state = load_state(start)
        target = pick_device(device)
        run = open_run(resume, runs, resolved, data, start=start)
        report.log(f"run folder: {run.folder}", "run", folder=run.folder)
        with open_trackers(track or (), run, resolved) as trackers:
            card = train_detector(
                faces,
                roots,
                resolved,
                state,
                run,
                device=target,
                log=report.log,
                trackers=trackers,
            )
        weights = run.folder / "detector.safetensors"
        report.finish(f"weights: {weights}", folder=run.folder, weights=weights, **card.results)


def _recipe_of(resume: Path | None, recipe: str) -> str:
    """A resumed run goes on by its own recipe."""
    return str(resume / "recipe.toml") if resume else recipe
