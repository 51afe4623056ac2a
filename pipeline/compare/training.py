"""Training a system, or finding the run folder in which it was trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.compare.data import SystemData
from pipeline.compare.systems import System
from pipeline.reporting import Say
from pipeline.runs import Run
from pipeline.train_once import find_or_start, train_run


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
    run = find_or_start(runs, recipe, data.data)

    def tell(line: str, event: str = "note", /, **facts: Any) -> None:
        say(f"{system.name}: {line}", event, **{"system": system.name, **facts})

    train_run(run, recipe, data.faces, data.folder, data.roots, device=device, say=tell)
    return run
