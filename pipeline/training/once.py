"""Trainings that are done once: found again by their recipe and data, gone on with if stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from data_prep.base.files import make_folder
from pipeline.nets.cards import DETECTOR, load_state
from pipeline.nets.options import SHIPPED
from pipeline.runs.folder import (
    CHECKPOINT,
    MEMBERS,
    Recipe,
    Run,
    find_run,
    is_finished,
    resume_run,
    start_run,
    write_seconds,
)
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe
from pipeline.training.classifier import train_classifier
from pipeline.training.detector import train_detector


def find_or_start(
    runs: Path, recipe: Recipe, data: dict[str, object], *, start: Path | None = None
) -> Run:
    """The run folder of a recipe on some data, a new one if there is none.

    Args:
        runs: Holds the run folders; made if it is not there.
        recipe: Every number.
        data: From `identify_data`.
        start: Weights that a detector starts from; the shipped ones when None.

    Raises:
        OutputError: A folder can't be made.
    """
    make_folder(runs)
    own = _start_of(recipe, start)
    return find_run(runs, recipe, data, start=own) or start_run(runs, recipe, data, start=own)


def train_run(
    run: Run,
    recipe: Recipe,
    faces: pd.DataFrame,
    prepared: Path,
    roots: Mapping[str, Path],
    *,
    start: Path | None = None,
    device: torch.device,
    log: Log,
) -> None:
    """Train what is left of a run: nothing if it is finished, the rest if it was stopped.

    Args:
        run: From `find_or_start`.
        recipe: Its recipe.
        faces: The whole `faces.csv`.
        prepared: The folder it lies in.
        roots: Folder of each source.
        start: Weights that a detector starts from; the shipped ones when None.
        device: Where to train.
        log: Gets a line per epoch, the folder in the first.

    Raises:
        PreparedError: Nothing to train or validate on.
        WeightsError: Weights to start from can't be had.
        OutputError: Something can't be written.
    """
    if is_finished(run.folder):
        log(f"trained before: {run.folder}", "run", folder=run.folder)
        return
    log(f"run folder: {run.folder}", "run", folder=run.folder)
    resume_run(run.folder, run.data)
    is_fresh = not any((run.folder / name).exists() for name in (CHECKPOINT, MEMBERS))
    began = processor_seconds()
    own = _start_of(recipe, start)
    if isinstance(recipe, DetectorRecipe) and own is not None:
        state = load_state(own)
        train_detector(faces, dict(roots), recipe, state, run, device=device, log=log)
    elif isinstance(recipe, ClassifierRecipe):
        train_classifier(faces, prepared, recipe, run, device=device, log=log)
    write_seconds(run, processor_seconds() - began if is_fresh else None)


def _start_of(recipe: Recipe, start: Path | None) -> Path | None:
    if isinstance(recipe, ClassifierRecipe):
        return None
    return start or SHIPPED / f"{DETECTOR}.safetensors"


def processor_seconds() -> float:
    """Of this process and of those that it has waited for, such as loaders of photos."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
