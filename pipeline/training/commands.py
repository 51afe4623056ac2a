"""The commands `train` and `train-detector` of `python -m pipeline`."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote

import torch
import typer

from data_prep.base.command import NOT_DONE
from data_prep.base.files import hold_folder
from data_prep.base.tables import read_faces, select_sources
from data_prep.grouping.split import TRAIN, VALID
from pipeline.nets.cards import Card, load_state
from pipeline.nets.compute import pick_device
from pipeline.nets.learnt import know_photos, list_photos
from pipeline.nets.options import CLASSIFIER, DETECTOR
from pipeline.runs import folder as folders
from pipeline.runs.log import Log, Reporter, report_as
from pipeline.runs.options import TrainClassifierOptions, TrainDetectorOptions, TrainOptions
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, load_recipe
from pipeline.training.classifier import plan_classifier, train_classifier
from pipeline.training.data import learn_all
from pipeline.training.detector import plan_detector, train_detector
from pipeline.training.export import describe_result
from pipeline.training.learner import settle_start
from pipeline.training.ranks import check_ranks, count_ranks, join_ranks, share


def train(options: TrainClassifierOptions) -> None:
    """Train the classifier on the crops of the training split."""
    with report_as(options.log) as report:
        _train(options, None, report)


def train_boxes(options: TrainDetectorOptions) -> None:
    """Fine-tune the detector on the annotated boxes of the training split."""
    with report_as(options.log) as report:
        _train(options, options.start, report)


def _train(options: TrainOptions, start: Path | None, report: Reporter) -> None:
    """A detector with weights to start from, else a classifier; rank 0 begins and tells it."""
    device, prepared = pick_device(options.device), options.prepared
    with join_ranks(device) as rank:
        log: Log = (lambda *_, **__: None) if rank else report.log
        begun = None
        try:
            begun = None if rank else _begin(options, start, device, log)
        finally:
            begun = share(begun)
        if begun is None:
            raise typer.Exit(NOT_DONE)
        recipe, run = begun
        data, roots = folders.identify_data(prepared)
        if data != run.data:
            raise folders.RunError(f"{prepared}: not what the other processes train on.")
        faces = read_faces(prepared)
        faces = learn_all(faces) if run.refit else faces
        fit: Callable[..., Card]
        if isinstance(recipe, ClassifierRecipe):
            fit = partial(train_classifier, faces, prepared, recipe)
        elif start is not None:
            state = load_state(start)
            fit = partial(train_detector, faces, roots, recipe, state, prepared=prepared)
        try:
            with nullcontext() if rank else hold_folder(run.folder):
                card = fit(run, device=device, log=log)
        except KeyboardInterrupt:
            log(f"to go on, in place of --recipe and --set: --resume {quote(str(run.folder))}")
            raise
        if rank:
            return
    for line in describe_result(run, prepared):
        log(line)
    net = CLASSIFIER if start is None else DETECTOR
    weights = run.folder / f"{net}.safetensors"
    facts = {"folder": run.folder, "weights": weights, **card.results}
    report.finish(f"weights: {weights}", **facts)


def _begin(
    options: TrainOptions, start: Path | None, device: torch.device, log: Log
) -> tuple[ClassifierRecipe | DetectorRecipe, folders.Run]:
    """Check all there is, before anything is made, and make the run folder or take one up."""
    prepared = options.prepared
    data, roots = folders.identify_data(prepared, options.resume or options.runs)
    run = None if options.resume is None else folders.resume_run(options.resume, data)
    if run and options.overrides:
        raise folders.RunError("--resume goes on by the run's own recipe: leave --set out.")
    name, faces = run.folder / folders.RECIPE if run else options.recipe, read_faces(prepared)
    refit = run.refit if run else None
    if isinstance(options, TrainClassifierOptions) and options.refit:
        if run or options.overrides:
            why = "--refit repeats a run by its own recipe: leave --set and --resume out."
            raise folders.RunError(why)
        refit = folders.check_twin(options.refit, data)
        name = refit / folders.RECIPE
    faces = learn_all(faces) if refit else faces
    recipe: ClassifierRecipe | DetectorRecipe
    if start is None:
        recipe = load_recipe(name, ClassifierRecipe, options.overrides)
        recipe = recipe if run else settle_start(recipe, log)
        check_ranks(recipe)
        begun_with, kept = [recipe.init, *recipe.teachers], recipe.faces == "kept"
        plan = "" if run else plan_classifier(faces, prepared, recipe, device)
    else:
        if count_ranks() > 1:
            raise folders.RunError("train-detector takes one process: call it without a launcher.")
        recipe = load_recipe(name, DetectorRecipe, options.overrides)
        begun_with, kept, state = [str(start)], False, load_state(start)
        plan = "" if run else plan_detector(faces, roots, recipe, state, start.name, device)
    if run is None:
        log(plan, "plan")
        run = folders.start_run(options.runs, recipe, data, start=start, refit=refit)
    log(f"run folder: {run.folder}", "run", folder=run.folder)
    if (processes := count_ranks()) > 1:
        line = f"{processes} processes share every batch of {recipe.batch_size}"
        log(line, "processes", processes=processes)
    chosen = select_sources(faces, recipe.sources)
    learnt = (chosen["split"] == TRAIN) & (chosen["kept"] | (not kept))
    run = replace(run, photos=list_photos(chosen[learnt], roots, log, begun_with))
    if refit:
        warning = (
            "the validation photos are learnt from, too: the epochs' figures flatter; those on the "
            f"card, its temperature and looks are those of {refit}."
        )
        log(f"note: {warning}", "learnt", refit=refit)
        return recipe, run.warn(warning)
    judged = list_photos(chosen[chosen["split"] == VALID], roots, log)
    if seen := sum(bool(know_photos(run.photos).tell(one)) for one in judged):
        warning = (
            f"{seen} of {len(judged)} validation photos were learnt from by what this training "
            "begins with, or look like training photos: the figures flatter."
        )
        log(f"note: {warning}", "learnt", seen=seen, photos=len(judged))
        run = run.warn(warning)
    return recipe, run
