"""Both nets trained fold by fold, and all predictions measured as one.

python -m tests.benchmarks.cross_validate PREPARED -o OUT --start RETINAFACE_WEIGHTS
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from data_prep.base.command import as_command
from data_prep.base.files import make_folder, write_atomically, write_json
from data_prep.base.progress import tell
from data_prep.base.records import Box
from data_prep.formats.predictions import write_predictions
from data_prep.grouping.split import TRAIN
from evaluate.inputs.predictions import read_predictions
from pipeline.experiments.measure import (
    THRESH,
    PreparedData,
    classify_faces,
    describe_results,
    measure_source,
)
from pipeline.inference.classifier import Classifier
from pipeline.inference.detector import Detector
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.nets.cards import DetectorCard, load_state, read_card
from pipeline.nets.compute import has_fast_bf16, pick_device
from pipeline.nets.options import CLASSIFIER, DETECTOR, Overrides, Prepared, Recipe
from pipeline.runs.folder import Run
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import TrialOptions
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, RecipeError, load_recipe
from pipeline.runs.workers import call_at_once, count_jobs, one_thread
from pipeline.training.data import read_crops
from pipeline.training.detector import train_detector
from pipeline.training.export import make_card, shift_logits, shift_prior, write_classifier
from pipeline.training.short import CACHE_SIDE, check_short, open_faces, train_short
from tests.benchmarks.repeated import (
    open_annotated,
    prefix_log,
    read_built,
    rebuild,
    train_once,
)

RESULTS, PREDICTIONS, CROPS = "cross-validation.json", "predictions.csv", "crops.csv"


@dataclass(frozen=True)
class CrossValidateOptions(TrialOptions):
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


@dataclass(frozen=True)
class Recipes:
    """What is trained in every fold.

    A classifier with `init` as `detector` starts from the body of the fold's own. Masks are drawn
    on landmarks of the shipped detector, which tell no class.
    """

    start: Path  # RetinaFace weights that have not seen the photos
    detector: DetectorRecipe
    classifier: ClassifierRecipe

    def check(self) -> None:
        """Refuse, by `RecipeError`, what would be ignored, or has learnt from judged photos."""
        recipe, card = self.classifier, self.start.with_suffix(".json")
        check_short(recipe, "photos")
        if recipe.init not in ("detector", "random", "imagenet"):
            raise RecipeError(
                f"recipe {recipe.name}: {recipe.init} may have learnt from photos that are judged; "
                "use --set init=detector, which is each fold's own, or init=random"
            )
        if card.is_file() and read_card(card, DetectorCard).training.get("data"):
            raise RecipeError(
                f"{self.start}: fine-tuned on photos that may be judged here; give weights that "
                "have not seen them to --start"
            )
        load_state(self.start)  # Better to fail now than after the folds are built.


def train_nets(
    data: PreparedData, runs: Path, recipes: Recipes, *, device: torch.device, log: Log
) -> Predictor:
    """Train what is not trained yet, and load both.

    Nothing is chosen by the fold's photos: neither the step or epoch that is kept nor the
    temperature, which is 1.
    """
    start, half = recipes.start, has_fast_bf16(device)

    def train_finder(run: Run) -> None:
        state, own = load_state(start), recipes.detector
        train_detector(data.table, dict(data.roots), own, state, run, device=device, log=log)

    run = train_once(runs, recipes.detector, data.data, train_finder, start=start, log=log)
    detector = run.folder / f"{DETECTOR}.safetensors"
    recipe = recipes.classifier
    if recipe.init == "detector":
        recipe = recipe.model_copy(update={"init": str(detector)})

    def train_classifier(run: Run) -> None:
        table = open_faces(data.folder, recipe).table
        training = table[table["split"] == TRAIN].reset_index(drop=True)
        read = read_crops(side=max(CACHE_SIDE, *recipe.sizes))
        state = train_short(training, read, recipe, device=device, what="classifier", log=log)
        state = shift_logits(state, shift_prior(recipe.rare_odds, 1.0), recipe.architecture)
        write_classifier(run, state, make_card(recipe, run, table["label"]))

    run = train_once(runs, recipe, data.data, train_classifier, log=log)
    classifier = run.folder / f"{CLASSIFIER}.safetensors"
    return Predictor(
        Detector.load(detector, device=device, bf16=half),
        Classifier.load(classifier, device=device, bf16=half),
        thresh=THRESH,
    )


def cross_validate(options: CrossValidateOptions, log: Log) -> dict[str, Any]:
    """Train and measure; what is done once stays done.

    Leaves a folder per fold, for each source the tables of all folds with a report, and
    `cross-validation.json`. Gives figures by source, see `measure_source`, and `folds`, their
    number. Raises `PreparedError`: not a prepared folder, or decisions or changed datasets changed
    its labels; `RecipeError`: as of `Recipes.check`.
    """
    detector = load_recipe(options.detector_recipe, DetectorRecipe, options.detector_overrides)
    classifier = load_recipe(options.recipe, ClassifierRecipe, options.overrides)
    recipes, out = Recipes(options.start, detector, classifier), options.out
    recipes.check()
    data = open_annotated(options.prepared, options.out)
    device = pick_device(options.device)
    folds = [out / f"fold-{number}" for number in range(read_built(data).folds)]
    for number, fold in enumerate(folds):
        folder = fold / "prepared"
        log(f"fold {number} of {len(folds)}: {folder}", "fold", fold=number)
        rebuild(data, folder, ["label", *Box._fields], fold=number)
    calls = [(number, fold, recipes, device) for number, fold in enumerate(folds)]
    jobs = count_jobs(options.jobs, device, len(calls))
    call_at_once(_judge_fold, calls, jobs, "folds", device=device, log=log)
    results: dict[str, Any] = {"folds": len(folds)}
    for source in sorted(set(data.table["source"])):
        found, crops = (
            read_predictions(_join(folds, source, name, out)) for name in (PREDICTIONS, CROPS)
        )
        report = out / source / "report"
        results[source] = measure_source(data.folder, source, found, crops, report=report)
    write_json(out / RESULTS, results)
    return results


def _judge_fold(number: int, fold: Path, recipes: Recipes, device: torch.device, log: Log) -> None:
    """Leave the tables of the photos held out."""
    log = prefix_log(log, f"fold {number}", fold=number)
    data = PreparedData.open(fold / "prepared")
    with one_thread():
        nets = train_nets(data, fold / "runs", recipes, device=device, log=log)
        assert nets.classifier is not None
        for source, faces in data.valid.items():
            folder = fold / source
            make_folder(folder)
            photos = data.list_valid(source)
            predict_folder(photos, folder, nets, draw=False)
            write_predictions(folder / CROPS, classify_faces(nets.classifier, faces, data.folder))
            log(f"{source}: {tell(len(photos.images))} judged", "judged", source=source)


def _join(folds: Sequence[Path], source: str, name: str, out: Path) -> Path:
    """The tables of all folds as one, photos sorted; a fold may have none of a source."""
    paths = [fold / source / name for fold in folds]
    parts = [pd.read_csv(p, dtype=str, keep_default_na=False) for p in paths if p.is_file()]
    table = pd.concat(parts).sort_values("image", kind="stable")
    write_atomically(out / source / name, table.to_csv(index=False))
    return out / source / name


def validate_folds(options: CrossValidateOptions) -> None:
    """Train both nets fold by fold and measure them on all photos, each judged unseen.

    Prints a Markdown table; goes on where it was stopped.
    """
    with report_as(options.log) as report:
        results = cross_validate(options, report.log)
        report.finish("", describe_results(results), folder=options.out, results=results)


app = typer.Typer(add_completion=False)
app.command()(as_command(validate_folds))

if __name__ == "__main__":
    app()
