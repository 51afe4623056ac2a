"""Fold by fold: train, predict, and measure all predictions as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from data_prep.base.files import make_folder, write_atomically, write_json
from data_prep.base.tables import KEY, read_faces
from data_prep.grouping.split import TRAIN, VALID
from data_prep.prepare.build import build, read_manifest
from data_prep.prepare.options import BuildOptions
from pipeline.experiments.measure import (
    THRESH,
    Tables,
    describe_results,
    measure_tables,
    write_report,
)
from pipeline.inference.classifier import Classifier, classify_crops
from pipeline.inference.detector import Detector
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.sources import PhotoSet
from pipeline.nets.cards import CLASSIFIER, DETECTOR, DetectorCard, read_card
from pipeline.nets.classifiers import join_members
from pipeline.nets.compute import has_fast_bf16, pick_device
from pipeline.nets.options import Device
from pipeline.runs.folder import PreparedError, Run, identify_data, is_finished, write_seconds
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import Jobs, LogAs, Overrides, Prepared, Recipe
from pipeline.runs.recipe import (
    ClassifierRecipe,
    DetectorRecipe,
    RecipeError,
    load_recipe,
    member_of,
)
from pipeline.runs.workers import call_at_once, count_cores, one_thread
from pipeline.training.export import (
    make_card,
    shift_logits,
    shift_prior,
    write_classifier,
)
from pipeline.training.once import find_or_start, processor_seconds, train_run
from pipeline.training.short import check_short, load_crops, open_faces, train_short
from pipeline.training.tasks import CACHE_SIDE


@dataclass(frozen=True)
class CrossValidateOptions:
    """What is trained in every fold, and on what."""

    prepared: Prepared
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets folds, tables and reports.")
    ]
    start: Annotated[
        Path,
        typer.Option(help="RetinaFace weights to start from, that have not seen these photos."),
    ]
    recipe: Recipe = "default"
    overrides: Overrides = None
    detector_recipe: Annotated[str, typer.Option(help="A detector recipe's name or TOML file.")] = (
        "detector"
    )
    detector_overrides: Annotated[
        list[str],
        typer.Option(
            "--set-detector",
            metavar="KEY=VALUE",
            help="Change one number of the detector's recipe; may be repeated.",
        ),
    ] = field(default_factory=list)
    device: Device = "auto"
    jobs: Jobs = None
    log: LogAs = "text"


@dataclass(frozen=True)
class Fold:
    """One of the folds.

    Attributes:
        number: From 0.
        folder: Gets all that is made of it.
    """

    number: int
    folder: Path

    @property
    def prepared(self) -> Path:
        """The prepared folder in which its photos are the validation split."""
        return self.folder / "prepared"

    @property
    def runs(self) -> Path:
        """Holds the run folders."""
        return self.folder / "runs"


def make_folds(prepared: Path, out: Path, log: Log) -> list[Fold]:
    """Build the folds that are not there yet.

    Args:
        prepared: Gives the datasets and how they are read, split and cropped; its own fold is one
            of them.
        out: Gets a folder per fold.
        log: Gets a line per fold that is built.

    Returns:
        The folds. Every photo is held out in one of them.

    Raises:
        PreparedError: It is no prepared folder, reviewers' decisions have changed its labels, or
            its datasets have changed since it was built.
        UserError: As of `data_prep.prepare.build.build`.
    """
    _, roots = identify_data(prepared)
    manifest = read_manifest(prepared) or {}
    if manifest.get("decisions"):
        raise PreparedError(
            f"{prepared}: built with decisions, which would measure by other labels than the "
            "annotated ones; build it without."
        )
    options = BuildOptions.from_record(manifest["options"], roots=list(roots.values()))
    known = _identify_faces(prepared)
    folds = [Fold(number, out / f"fold-{number}") for number in range(options.folds)]
    for fold in folds:
        log(f"fold {fold.number} of {options.folds}: {fold.prepared}", "fold", fold=fold.number)
        build(replace(options, out=fold.prepared, fold=fold.number))
        if _identify_faces(fold.prepared) != known:
            raise PreparedError(
                f"{prepared}: the datasets have changed since it was built; build it again."
            )
    return folds


def _identify_faces(prepared: Path) -> set[tuple[object, ...]]:
    """Which faces there are, with labels and boxes."""
    columns = [*KEY, "label", "xmin", "ymin", "xmax", "ymax"]
    return set(read_faces(prepared)[columns].itertuples(index=False, name=None))


@dataclass(frozen=True)
class Recipes:
    """What is trained in every fold.

    Attributes:
        start: RetinaFace weights that the detectors start from; they must not have seen the photos.
        detector: Its recipe.
        classifier: Its recipe; with `init` as `detector` it starts from the body of the fold's own.
            Masks are drawn on landmarks of the shipped detector, which tell no class.
    """

    start: Path
    detector: DetectorRecipe
    classifier: ClassifierRecipe


def train_nets(fold: Fold, recipes: Recipes, *, device: torch.device, log: Log) -> Predictor:
    """Train what is not trained yet, and load both.

    Nothing is chosen by the fold's photos: neither the step or epoch that is kept nor the
    temperature, which is 1.

    Raises:
        UserError: As of `train_once.train_run`.
    """
    detector = _train_detector(fold, recipes, device, log)
    classifier = _train_classifier(fold, recipes.classifier, detector, device, log)
    half = has_fast_bf16(device)
    return Predictor(
        Detector.load(detector, device=device, bf16=half),
        Classifier.load(classifier, device=device, bf16=half),
        thresh=THRESH,
    )


def _train_detector(fold: Fold, recipes: Recipes, device: torch.device, log: Log) -> Path:
    data, roots = identify_data(fold.prepared)
    faces = read_faces(fold.prepared)
    run = find_or_start(fold.runs, recipes.detector, data, start=recipes.start)
    train_run(
        run,
        recipes.detector,
        faces,
        fold.prepared,
        roots,
        start=recipes.start,
        device=device,
        log=log,
    )
    return run.folder / f"{DETECTOR}.safetensors"


def _train_classifier(
    fold: Fold, recipe: ClassifierRecipe, detector: Path, device: torch.device, log: Log
) -> Path:
    if recipe.init == "detector":
        recipe = recipe.model_copy(update={"init": str(detector)})
    data, _ = identify_data(fold.prepared)
    run = find_or_start(fold.runs, recipe, data)
    path = run.folder / f"{CLASSIFIER}.safetensors"
    if is_finished(run.folder):
        log(f"trained before: {run.folder}", "run", folder=run.folder)
        return path
    log(f"run folder: {run.folder}", "run", folder=run.folder)
    began = processor_seconds()
    _fit(fold, recipe, run, device, log)
    write_seconds(run, processor_seconds() - began)
    return path


def _fit(fold: Fold, recipe: ClassifierRecipe, run: Run, device: torch.device, log: Log) -> None:
    table = open_faces(fold.prepared, recipe).table
    training = table[table["split"] == TRAIN].reset_index(drop=True)
    crops = load_crops(sorted(training["crop"]), max(CACHE_SIDE, *recipe.sizes))
    states = []
    for place in range(recipe.members):
        own = member_of(recipe, place)
        what = f"classifier {place + 1} of {recipe.members}"
        states.append(train_short(training, crops, own, device=device, what=what, log=log))
    state = join_members(states) if len(states) > 1 else states[0]
    state = shift_logits(state, shift_prior(recipe.rare_odds, 1.0), recipe.architecture)
    write_classifier(run, state, make_card(recipe, run))


RESULTS = "cross-validation.json"


def cross_validate(
    prepared: Path,
    out: Path,
    recipes: Recipes,
    *,
    device: torch.device,
    log: Log,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Train and measure; what is done once stays done.

    Args:
        prepared: Gives the datasets and how they are split.
        out: Gets a folder per fold, for each source the tables of all folds with a report, and
            `cross-validation.json`.
        recipes: What is trained.
        device: Where to train.
        log: Gets a line per epoch; with several jobs it is pickled.
        jobs: Folds at a time; one per core when None, one on a GPU.

    Returns:
        Figures by source, see `measure_tables`, and `folds`, their number.

    Raises:
        RecipeError: The classifier's rate is to be found, or something has learnt from photos that
            are judged, or the classes or masks are not those that are judged.
        UserError: Something can't be read, built, trained on or written; the message says what.
    """
    _check(recipes)
    folds = make_folds(prepared, out, log)
    jobs = min(jobs or count_cores(device), len(folds))
    calls = [(fold, recipes, device, log) for fold in folds]
    if jobs > 1:
        call_at_once(_judge_fold, calls, jobs)
    else:
        for call in calls:
            _judge_fold(*call)
    results: dict[str, Any] = {"folds": len(folds)}
    for source in sorted(set(read_faces(prepared)["source"])):
        tables = _join(folds, source, out / source)
        results[source] = measure_tables(prepared, source, tables)
        write_report(prepared, source, tables, out / source / "report")
    write_json(out / RESULTS, results)
    return results


def _check(recipes: Recipes) -> None:
    recipe = recipes.classifier
    check_short(recipe, "photos")
    if recipe.init not in ("detector", "random", "imagenet"):
        raise RecipeError(
            f"recipe {recipe.name}: {recipe.init} may have learnt from photos that are judged; "
            "use --set init=detector, which is each fold's own, or init=random"
        )
    card = recipes.start.with_suffix(".json")
    if card.is_file() and read_card(card, DetectorCard).training.get("data"):
        raise RecipeError(
            f"{recipes.start}: fine-tuned on photos that may be judged here; give weights that "
            "have not seen them to --start"
        )


def _judge_fold(fold: Fold, recipes: Recipes, device: torch.device, log: Log) -> None:
    """Leave the tables of the photos held out."""

    def tell(line: str, event: str = "note", /, **facts: Any) -> None:
        log(f"fold {fold.number}: {line}", event, **{"fold": fold.number, **facts})

    _, roots = identify_data(fold.prepared)
    faces = read_faces(fold.prepared)
    held_out = faces[faces["split"] == VALID]
    with one_thread():
        nets = train_nets(fold, recipes, device=device, log=tell)
        assert nets.classifier is not None
        for source, rows in held_out.groupby("source"):
            own = _tables(fold.folder / str(source))
            make_folder(own.predictions.parent)
            photos = PhotoSet(roots[str(source)], tuple(sorted(set(rows["image"]))))
            predict_folder(photos, own.predictions.parent, nets, draw=False)
            classify_crops(rows, fold.prepared, nets.classifier, own.crops)
            tell(f"{source}: {len(photos.images)} photos judged", "judged", source=source)


def _tables(folder: Path) -> Tables:
    return Tables(folder / "predictions.csv", folder / "crops.csv")


def _join(folds: Sequence[Fold], source: str, out: Path) -> Tables:
    """The tables of all folds as one, photos sorted; a fold may have none of a source."""
    make_folder(out)
    joined = _tables(out)
    for name in ("predictions", "crops"):
        paths = [getattr(_tables(fold.folder / source), name) for fold in folds]
        parts = [pd.read_csv(p, dtype=str, keep_default_na=False) for p in paths if p.is_file()]
        table = pd.concat(parts).sort_values("image", kind="stable")
        write_atomically(getattr(joined, name), table.to_csv(index=False))
    return joined


def validate_folds(options: CrossValidateOptions) -> None:
    """Train both nets fold by fold and measure them on all photos, each judged unseen.

    Prints a Markdown table; goes on where it was stopped.
    """
    with report_as(options.log) as report:
        detector = load_recipe(options.detector_recipe, DetectorRecipe, options.detector_overrides)
        classifier = load_recipe(options.recipe, ClassifierRecipe, options.overrides)
        results = cross_validate(
            options.prepared,
            options.out,
            Recipes(start=options.start, detector=detector, classifier=classifier),
            device=pick_device(options.device),
            log=report.log,
            jobs=options.jobs,
        )
        report.finish("", describe_results(results), folder=options.out, results=results)
