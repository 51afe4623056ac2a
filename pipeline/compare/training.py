"""Training a system, or finding the run folder in which it was trained before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from data_prep.files import make_folder
from pipeline.compare.data import SystemData
from pipeline.compare.systems import System
from pipeline.console import SHIPPED
from pipeline.recipe import DetectorRecipe
from pipeline.reporting import Say
from pipeline.run_finder import find_run, is_finished, write_seconds
from pipeline.runs import CHECKPOINT, Run, resume_run, start_run
from pipeline.train_classifier import train_classifier
from pipeline.train_detector import train_detector
from pipeline.weights import DETECTOR, load_state


def train_system(
    system: System, data: SystemData, runs: Path, *, device: torch.device, say: Say
) -> Run:
    """Train what is not trained yet; a stopped training goes on, a finished one stays as it is.

    Args:
        system: One with a recipe.
        data: From `prepare_data`.
        runs: Gets the run folder.
        device: Where to train.
        say: Gets a line per epoch.

    Raises:
        PreparedError: Nothing to train or validate on.
        OutputError: A folder can't be written.
    """
    recipe = system.load_recipe()
    make_folder(runs)
    run = find_run(runs, recipe, data.data) or start_run(runs, recipe, data.data)

    def tell(line: str, event: str = "note", /, **facts: Any) -> None:
        say(f"{system.name}: {line}", event, system=system.name, **facts)

    if is_finished(run):
        tell(f"trained before: {run.folder}", "run", folder=run.folder)
        return run
    tell(f"run folder: {run.folder}", "run", folder=run.folder)
    resume_run(run.folder, run.data)
    is_fresh = not (run.folder / CHECKPOINT).is_file()
    began = _processor_seconds()
    if isinstance(recipe, DetectorRecipe):
        start = load_state(SHIPPED / f"{DETECTOR}.safetensors")
        train_detector(data.faces, data.roots, recipe, start, run, device=device, say=tell)
    else:
        train_classifier(data.faces, data.folder, recipe, run, device=device, say=tell)
    write_seconds(run, _processor_seconds() - began if is_fresh else None)
    return run


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for, such as loaders of photos."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
