"""The two nets of a fold, neither of which has seen its photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from data_prep.faces import read_faces
from data_prep.split import TRAIN
from pipeline.calibrate import lean_to_rare, shift_logits
from pipeline.classifier import Classifier
from pipeline.classifier_nets import join_members
from pipeline.compute import has_fast_bf16
from pipeline.cross_validate.folds import Fold
from pipeline.detector import Detector
from pipeline.finish_classifier import make_card, store_weights, write_classifier
from pipeline.predict import TwoStage
from pipeline.recipe import ClassifierRecipe, DetectorRecipe, member_of
from pipeline.reporting import Say
from pipeline.run_finder import write_seconds
from pipeline.runs import Run, identify_data, is_finished
from pipeline.short_trainings.crop_cache import load_crops
from pipeline.short_trainings.prepared_faces import open_faces
from pipeline.short_trainings.short_training import train_short
from pipeline.short_trainings.tasks import CACHE_SIDE
from pipeline.train_once import find_or_start, processor_seconds, train_run
from pipeline.weights import CLASSIFIER, DETECTOR


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


def train_nets(fold: Fold, recipes: Recipes, *, device: torch.device, say: Say) -> TwoStage:
    """Train what is not trained yet, and load both.

    Nothing is chosen by the fold's photos: neither the step or epoch that is kept nor the
    temperature, which is 1.

    Raises:
        UserError: As of `train_once.train_run`.
    """
    detector = _train_detector(fold, recipes, device, say)
    classifier = _train_classifier(fold, recipes.classifier, detector, device, say)
    half = has_fast_bf16(device)
    return TwoStage(
        Detector.load(detector, device=device, bf16=half),
        Classifier.load(classifier, device=device, bf16=half),
    )


def _train_detector(fold: Fold, recipes: Recipes, device: torch.device, say: Say) -> Path:
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
        say=say,
    )
    return run.folder / f"{DETECTOR}.safetensors"


def _train_classifier(
    fold: Fold, recipe: ClassifierRecipe, detector: Path, device: torch.device, say: Say
) -> Path:
    if recipe.init == "detector":
        recipe = recipe.model_copy(update={"init": str(detector)})
    data, _ = identify_data(fold.prepared)
    run = find_or_start(fold.runs, recipe, data)
    path = run.folder / f"{CLASSIFIER}.safetensors"
    if is_finished(run.folder):
        say(f"trained before: {run.folder}", "run", folder=run.folder)
        return path
    say(f"run folder: {run.folder}", "run", folder=run.folder)
    began = processor_seconds()
    _fit(fold, recipe, run, device, say)
    write_seconds(run, processor_seconds() - began)
    return path


def _fit(fold: Fold, recipe: ClassifierRecipe, run: Run, device: torch.device, say: Say) -> None:
    table = open_faces(fold.prepared, recipe).table
    training = table[table["split"] == TRAIN].reset_index(drop=True)
    crops = load_crops(sorted(training["crop"]), max(CACHE_SIDE, *recipe.sizes))
    states = []
    for place in range(recipe.members):
        own = member_of(recipe, place)
        what = f"classifier {place + 1} of {recipe.members}"
        net = train_short(training, crops, own, device=device, what=what, say=say)
        state = {name: tensor.cpu() for name, tensor in net.state_dict().items()}
        states.append(store_weights(state, training["label"], own))
    state = join_members(states) if len(states) > 1 else states[0]
    state = shift_logits(state, lean_to_rare(recipe.rare_odds, 1.0), recipe.architecture)
    write_classifier(run, state, make_card(recipe, run))
