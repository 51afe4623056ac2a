"""The commands `train` and `train-detector` of `python -m pipeline`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.nets.options import Device, LogAs, Overrides, Prepared, Recipe, Track
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
    track: Track = None


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
        from data_prep.base.files import hold_folder
        from data_prep.base.tables import read_faces, select_sources
        from data_prep.grouping.split import TRAIN, VALID
        from pipeline.nets.cards import CLASSIFIER, DETECTOR, Card, load_state
        from pipeline.nets.compute import pick_device
        from pipeline.nets.learnt import know_photos, list_photos
        from pipeline.runs.folder import RECIPE, RunError, identify_data, resume_run, start_run
        from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, load_recipe
        from pipeline.runs.tracking import load_tracker, open_trackers
        from pipeline.training import classifier, detector
        from pipeline.training.export import describe_result
        from pipeline.training.learner import settle_start

        track, prepared, log = options.track or [], options.prepared, report.log
        for tracker in track:
            load_tracker(tracker)
        data, roots = identify_data(prepared, options.resume or options.runs)
        run = None if options.resume is None else resume_run(options.resume, data)
        if run and options.overrides:
            raise RunError("--resume goes on by the run's own recipe: leave --set out.")
        name = run.folder / RECIPE if run else options.recipe
        kind: type[ClassifierRecipe | DetectorRecipe] = (
            ClassifierRecipe if start is None else DetectorRecipe
        )
        recipe = load_recipe(name, kind, options.overrides)
        faces = read_faces(prepared)
        state = {} if start is None else load_state(start)
        device = pick_device(options.device)
        if run is None:
            if isinstance(recipe, ClassifierRecipe):
                recipe = settle_start(recipe, log)
                line = classifier.plan_classifier(faces, prepared, recipe, device)
            else:
                own = Path(start or "").name
                line = detector.plan_detector(faces, roots, recipe, state, own, device)
            log(line, "plan")
            run = start_run(options.runs, recipe, data, start=start)
        log(f"run folder: {run.folder}", "run", folder=run.folder)
        chosen = select_sources(faces, recipe.sources)
        rows = chosen[chosen["split"] == TRAIN]
        begun_with = [str(start)]
        if isinstance(recipe, ClassifierRecipe):
            rows = rows[rows["kept"] | (recipe.faces == "all")]
            begun_with = [recipe.init, *recipe.teachers]
        run = replace(run, photos=list_photos(rows, roots, log, begun_with))
        judged = list_photos(chosen[chosen["split"] == VALID], roots, log)
        if seen := sum(bool(know_photos(run.photos).tell(one)) for one in judged):
            warning = (
                f"{seen} of {len(judged)} validation photos were learnt from by what this training "
                "begins with, or look like training photos: the figures flatter."
            )
            log(f"note: {warning}", "learnt", seen=seen, photos=len(judged))
            run = run.warn(warning)
        try:
            with hold_folder(run.folder), open_trackers(track, run, recipe) as trackers:
                card: Card
                if isinstance(recipe, ClassifierRecipe):
                    card = classifier.train_classifier(
                        faces, prepared, recipe, run, device=device, log=log, trackers=trackers
                    )
                else:
                    card = detector.train_detector(
                        *(faces, roots, recipe, state, run),
                        device=device,
                        log=log,
                        trackers=trackers,
                        prepared=prepared,
                    )
        except KeyboardInterrupt:
            log(f"to go on, in place of --recipe and --set: --resume {run.folder}")
            raise
        for line in describe_result(run, prepared):
            log(line)
        net = CLASSIFIER if start is None else DETECTOR
        weights = run.folder / f"{net}.safetensors"
        facts = {"folder": run.folder, "weights": weights, **card.results}
        report.finish(f"weights: {weights}", **facts)
