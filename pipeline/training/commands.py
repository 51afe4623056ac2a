"""The commands `train` and `train-detector` of `python -m pipeline`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from data_prep.base.progress import tell_loading
from pipeline.nets.options import Device, LogAs, Overrides, Prepared, Recipe
from pipeline.runs.log import report_as

Runs = Annotated[Path, typer.Option("--runs", "-o", help="Folder that gets the run folder.")]
Resume = Annotated[Path | None, typer.Option(help="A run folder that was stopped, to go on with.")]


@dataclass(frozen=True)
class TrainOptions:
    """Options of `train`."""

    prepared: Prepared
    recipe: Recipe = "default"
    overrides: Overrides = None
    runs: Runs = Path("runs")
    resume: Resume = None
    device: Device = "auto"
    log: LogAs = "text"


@dataclass(frozen=True)
class TrainDetectorOptions(TrainOptions):
    """Options of `train-detector`."""

    start: Annotated[Path, typer.Option(help="RetinaFace weights to start from.")] = field(
        kw_only=True
    )
    recipe: Recipe = "detector"


def train(options: TrainOptions) -> None:
    """Train the classifier on the crops of the training split."""
    _train(options)


def train_detector(options: TrainDetectorOptions) -> None:
    """Fine-tune the detector on the annotated boxes of the training split."""
    _train(options, options.start)


def _train(options: TrainOptions, start: Path | None = None) -> None:
    """A detector with weights to start from, else a classifier."""
    with report_as(options.log) as report:
        with tell_loading():
            from pipeline.runs.folder import RECIPE, RunError, identify_data, resume_run, start_run
            from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, load_recipe

        prepared, log = options.prepared, report.log
        data, roots = identify_data(prepared, options.resume or options.runs)
        run = None if options.resume is None else resume_run(options.resume, data)
        if run and options.overrides:
            raise RunError("--resume goes on by the run's own recipe: leave --set out.")
        name = run.folder / RECIPE if run else options.recipe
        recipe: ClassifierRecipe | DetectorRecipe
        if start is None:
            recipe = load_recipe(name, ClassifierRecipe, options.overrides)
        elif start.is_file():
            recipe = load_recipe(name, DetectorRecipe, options.overrides)
        else:
            raise RunError(f"--start {start}: no such file.")
        with tell_loading():  # Of torch, once all is known to be good.
            from data_prep.base.files import hold_folder
            from data_prep.base.tables import read_faces, select_sources
            from data_prep.grouping.split import TRAIN, VALID
            from pipeline.nets.cards import CLASSIFIER, DETECTOR, Card, load_state
            from pipeline.nets.compute import pick_device
            from pipeline.nets.learnt import know_photos, list_photos
            from pipeline.training.classifier import plan_classifier, train_classifier
            from pipeline.training.detector import plan_detector, train_detector
            from pipeline.training.export import describe_result
            from pipeline.training.learner import settle_start

        device, faces = pick_device(options.device), read_faces(prepared)
        fit: Callable[..., Card]
        if isinstance(recipe, ClassifierRecipe):
            recipe = recipe if run else settle_start(recipe, log)
            net, begun_with = CLASSIFIER, [recipe.init, *recipe.teachers]
            plan = partial(plan_classifier, faces, prepared, recipe, device)
            fit = partial(train_classifier, faces, prepared, recipe)
        else:
            assert start is not None
            net, begun_with, state = DETECTOR, [str(start)], load_state(start)
            plan = partial(plan_detector, faces, roots, recipe, state, start.name, device)
            fit = partial(train_detector, faces, roots, recipe, state, prepared=prepared)
        if run is None:
            log(plan(), "plan")
            run = start_run(options.runs, recipe, data, start=start)
        log(f"run folder: {run.folder}", "run", folder=run.folder)
        chosen = select_sources(faces, recipe.sources)
        learnt = chosen["split"] == TRAIN
        if isinstance(recipe, ClassifierRecipe) and recipe.faces == "kept":
            learnt &= chosen["kept"]
        run = replace(run, photos=list_photos(chosen[learnt], roots, log, begun_with))
        judged = list_photos(chosen[chosen["split"] == VALID], roots, log)
        if seen := sum(bool(know_photos(run.photos).tell(one)) for one in judged):
            warning = (
                f"{seen} of {len(judged)} validation photos were learnt from by what this training "
                "begins with, or look like training photos: the figures flatter."
            )
            log(f"note: {warning}", "learnt", seen=seen, photos=len(judged))
            run = run.warn(warning)
        try:
            with hold_folder(run.folder):
                card = fit(run, device=device, log=log)
        except KeyboardInterrupt:
            log(f"to go on, in place of --recipe and --set: --resume {run.folder}")
            raise
        for line in describe_result(run, prepared):
            log(line)
        weights = run.folder / f"{net}.safetensors"
        facts = {"folder": run.folder, "weights": weights, **card.results}
        report.finish(f"weights: {weights}", **facts)
