"""Fold by fold: train, predict, and measure all predictions as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from data_prep.faces import read_faces
from data_prep.files import make_folder, write_atomically, write_json
from data_prep.split import VALID
from pipeline.classify_crops import classify_crops
from pipeline.cross_validate.folds import Fold, make_folds
from pipeline.cross_validate.nets import Recipes, train_nets
from pipeline.folder import FolderOptions, predict_folder
from pipeline.measure_tables import THRESH, Tables, measure_tables, write_report
from pipeline.photos import PhotoSet
from pipeline.recipe import RecipeError
from pipeline.reporting import Say
from pipeline.runs import identify_data
from pipeline.short_trainings.short_training import check_short
from pipeline.weights import DetectorCard, read_card
from pipeline.workers import call_at_once, count_cores, one_thread

RESULTS = "cross-validation.json"


def cross_validate(
    prepared: Path,
    out: Path,
    recipes: Recipes,
    *,
    device: torch.device,
    say: Say,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Train and measure; what is done once stays done.

    Args:
        prepared: Gives the datasets and how they are split.
        out: Gets a folder per fold, for each source the tables of all folds with a report, and
            `cross-validation.json`.
        recipes: What is trained.
        device: Where to train.
        say: Gets a line per epoch; with several jobs it is pickled.
        jobs: Folds at a time; one per core when None, one on a GPU.

    Returns:
        Figures by source, see `measure_tables`, and `folds`, their number.

    Raises:
        RecipeError: The classifier's rate is to be found, or something has learnt from photos that
            are judged, or the classes or masks are not those that are judged.
        UserError: Something can't be read, built, trained on or written; the message says what.
    """
    _check(recipes)
    folds = make_folds(prepared, out, say)
    jobs = min(jobs or count_cores(device), len(folds))
    calls = [(fold, recipes, device, say) for fold in folds]
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


def _judge_fold(fold: Fold, recipes: Recipes, device: torch.device, say: Say) -> None:
    """Leave the tables of the photos held out."""

    def tell(line: str, event: str = "note", /, **facts: Any) -> None:
        say(f"fold {fold.number}: {line}", event, **{"fold": fold.number, **facts})

    _, roots = identify_data(fold.prepared)
    faces = read_faces(fold.prepared)
    held_out = faces[faces["split"] == VALID]
    options = FolderOptions(thresh=THRESH, draw_from=1.0, draw=False)
    with one_thread():
        nets = train_nets(fold, recipes, device=device, say=tell)
        for source, rows in held_out.groupby("source"):
            own = _tables(fold.folder / str(source))
            make_folder(own.predictions.parent)
            photos = PhotoSet(roots[str(source)], tuple(sorted(set(rows["image"]))))
            predict_folder(photos, own.predictions.parent, nets, options)
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
