"""Every system trained and measured: what is done once stays done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from data_prep.base.files import make_folder, read_object, write_json
from data_prep.base.photo import read_photo
from data_prep.base.progress import show_progress
from data_prep.grouping.split import VALID
from data_prep.prepare.options import Decisions
from pipeline.experiments.compare_measures import (
    measure_drawn_masks,
    measure_own_split,
    measure_system,
)
from pipeline.experiments.systems import (
    System,
    SystemData,
    choose_systems,
    open_base,
    prepare_data,
    train_system,
)
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Frame
from pipeline.nets.cards import CLASSIFIER, DETECTOR
from pipeline.nets.compute import pick_device
from pipeline.nets.options import SHIPPED, Device
from pipeline.runs.folder import Run, read_seconds
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import LogAs, Prepared
from pipeline.runs.recipe import ClassifierRecipe, Incorrect


@dataclass(frozen=True)
class CompareOptions:
    """Which systems are compared, and on what."""

    prepared: Prepared
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets runs, table and plot.")]
    only: Annotated[
        list[str], typer.Option(metavar="NAME", help="Only this system; may be repeated.")
    ] = field(default_factory=list)
    decisions: Decisions = field(default_factory=list)
    device: Device = "auto"
    log: LogAs = "text"


PHOTOS = 40
ROUNDS = 5
BATCH = 8


def time_systems(systems: Mapping[str, Predictor], base: SystemData) -> dict[str, float]:
    """Time the nets alone on decoded validation photos.

    Args:
        systems: What to time, by name.
        base: Gives the photos: `PHOTOS` of them, spread evenly.

    Returns:
        Seconds per photo of each, in its fastest of `ROUNDS` rounds; the least is what the machine
        can do when nothing else disturbs it.
    """
    faces = base.faces[base.faces["split"] == VALID]
    images = sorted(set(zip(faces["source"], faces["image"], strict=True)))
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, PHOTOS).round().astype(int)]
    photos = [
        Frame(image, pixels=read_photo(base.roots[source] / image).pixels)
        for source, image in chosen
    ]
    best = dict.fromkeys(systems, float("inf"))
    turns = [name for _ in range(ROUNDS) for name in systems]
    for name in show_progress(turns, len(turns), "timing"):
        began = time.perf_counter()
        for first in range(0, len(photos), BATCH):
            systems[name](photos[first : first + BATCH])
        best[name] = min(best[name], (time.perf_counter() - began) / len(photos))
    return best


FORMAT = 1
"""Raised when figures come to mean something else, so that old ones are measured again."""

FIGURES, SEED = "figures", 0


@dataclass(frozen=True)
class Compared:
    """What came of a system.

    Attributes:
        system: The system.
        classes: How many it tells apart.
        figures: By source, see `measure_system`; for a split by crop see `measure_own_split`.
        drawn: On drawn masks, see `measure_drawn_masks`; None for a system that learns real ones.
        minutes: Of one core, for the training; None where it is not known.
        megabytes: Of its weights, the detector's included.
        seconds: Per photo; None for a split by crop, which is about the split alone.
        run: Name of the run folder.
    """

    system: System
    classes: int
    figures: dict[str, dict[str, Any]]
    drawn: dict[str, Any] | None
    minutes: float | None
    megabytes: float
    seconds: float | None
    run: str


def compare_systems(
    systems: Sequence[System],
    prepared: Path,
    out: Path,
    *,
    decisions: Sequence[Path] = (),
    device: torch.device,
    log: Log,
) -> list[Compared]:
    """Train what is left to train, measure what is left to measure, and time all anew.

    Args:
        systems: From `choose_systems`.
        prepared: Its validation split measures them all.
        out: Gets prepared folders, run folders and figures.
        decisions: Ledgers for systems that learn from cleaned labels.
        device: Where to train and to run.
        log: Gets a line per epoch.

    Raises:
        UserError: Something can't be read, built, trained on or written; the message says what.
    """
    base = open_base(prepared)
    make_folder(out / FIGURES)
    compared: list[Compared] = []
    timed: dict[str, Predictor] = {}
    for system in systems:
        data = prepare_data(system, base, out / "data", decisions, log)
        run = None
        if system.recipe is not None:
            run = train_system(system, data, out / "runs", device=device, log=log)
        nets = _load(system, run, device)
        if not system.by_crop:
            timed[system.name] = nets
        figures = _measure_once(system, nets, base, data, out / FIGURES, log)
        compared.append(
            Compared(
                system=system,
                classes=3 if _incorrect(system) == "own" else 2,
                figures=figures["sources"],
                drawn=figures["drawn"],
                minutes=None if run is None else _minutes(run),
                megabytes=_megabytes(system, run),
                seconds=None,
                run="" if run is None else run.folder.name,
            )
        )
    seconds = time_systems(timed, base)
    return [replace(one, seconds=seconds.get(one.system.name)) for one in compared]


def _load(system: System, run: Run | None, device: torch.device) -> Predictor:
    return Predictor.load(SHIPPED if run is None else run.folder, device=device, rest=SHIPPED)


def _measure_once(
    system: System, nets: Predictor, base: SystemData, data: SystemData, out: Path, log: Log
) -> dict[str, Any]:
    """The figures, measured now or kept from when the same weights were measured."""
    path = out / f"{system.name}.json"
    about = {"format": FORMAT, "base": base.data, "data": data.data, **nets.identify()}
    kept = read_object(path)
    if kept is not None and kept.get("about") == about:
        log(f"{system.name}: measured before", "measured", system=system.name)
        return kept
    log(f"{system.name}: measuring", "measuring", system=system.name)
    incorrect = _incorrect(system)
    drawn = None
    if system.by_crop and nets.classifier is not None:
        sources = measure_own_split(nets.classifier, incorrect, data, seed=SEED)
    else:
        crops = base if data.scale == base.scale else data
        sources = measure_system(nets, incorrect, base, crops, seed=SEED)
        if _learns_drawn_masks(system) and nets.classifier is not None:
            drawn = measure_drawn_masks(nets.classifier, base, seed=SEED)
    figures = {"about": about, "sources": sources, "drawn": drawn}
    write_json(path, figures)
    return figures


def _incorrect(system: System) -> Incorrect:
    return "own" if system.recipe is None else system.load_recipe().incorrect


def _learns_drawn_masks(system: System) -> bool:
    recipe = None if system.recipe is None else system.load_recipe()
    return isinstance(recipe, ClassifierRecipe) and recipe.masks == "drawn"


def _minutes(run: Run) -> float | None:
    seconds = read_seconds(run)
    return None if seconds is None else seconds / 60


def _megabytes(system: System, run: Run | None) -> float:
    """Of all weights that a system needs in use."""
    own = SHIPPED if run is None else run.folder
    files = [own / f"{DETECTOR if system.single else CLASSIFIER}.safetensors"]
    if not system.single:
        files.append(SHIPPED / f"{DETECTOR}.safetensors")
    return sum(file.stat().st_size for file in files) / 1e6


def compare(options: CompareOptions) -> None:
    """Train the systems of the field and ours, measure all on the same validation photos.

    Prints Markdown tables and draws accuracy against speed; goes on where it was stopped.
    """
    with report_as(options.log) as report:
        from pipeline.experiments.compare_report import PLOT, TABLE, tabulate, write_report

        systems = choose_systems(options.only)

        out = options.out
        compared = compare_systems(
            systems,
            options.prepared,
            out,
            decisions=options.decisions,
            device=pick_device(options.device),
            log=report.log,
        )
        text = write_report(compared, out)
        facts = {"folder": out, "table": out / TABLE, "plot": out / PLOT}
        report.finish("", text, **facts, systems=tabulate(compared))
