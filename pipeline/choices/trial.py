"""Trying choices: grouped k-fold, every face judged by a network that saw none of its kin."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from data_prep.blur import keep_balanced
from data_prep.crop import crop_face
from data_prep.faces import KEY
from data_prep.files import make_folder, write_atomically
from data_prep.photo import read_photo
from data_prep.progress import show_progress
from data_prep.records import Box
from pipeline.choices.lines import BASE, Line
from pipeline.recipe import ClassifierRecipe, change_recipe
from pipeline.reporting import Say
from pipeline.runs import PreparedError
from pipeline.short_trainings.folds import assign_folds
from pipeline.short_trainings.prepared_faces import PreparedFaces
from pipeline.short_trainings.tasks import Plan, Task, run_tasks


@dataclass(frozen=True)
class Trial:
    """What came of a line.

    Attributes:
        line: What was done otherwise.
        probabilities: (N, 3) of each face, by the network of the fold it was held out in.
        seconds: Of all its trainings together, on one core each.
    """

    line: Line
    probabilities: np.ndarray
    seconds: float


def try_choices(
    faces: PreparedFaces,
    cleaned: PreparedFaces | None,
    lines: Sequence[Line],
    out: Path,
    recipe: ClassifierRecipe,
    *,
    folds: int,
    device: torch.device,
    say: Say,
    jobs: int | None = None,
) -> list[Trial]:
    """Train and judge every line, the recipe as it is first.

    Args:
        faces: The faces; all are judged by their labels as annotated.
        cleaned: The same datasets built with decisions, for the line that learns from them.
        lines: From `choose_lines`.
        out: Gets a folder per line; what is done there stays done.
        recipe: That is changed.
        folds: Trainings per line, at least 2.
        device: Where to train.
        say: Gets a line per epoch.
        jobs: Trainings at a time; one per core when None.

    Raises:
        PreparedError: A line has too few faces to learn from, or cleaned crops of another scale.
        SplitError: The photos can't be put into so many folds.
        RecipeError: A line's change does not fit the recipe.
        PhotoError: A photo can't be read.
        OutputError: A file can't be written.
    """
    table = faces.table
    strata = (table["source"] + "/" + table["label"]).tolist()
    fold = assign_folds(table["group"].tolist(), strata, folds=folds, seed=recipe.seed)
    plans = [_plan(line, faces, cleaned, fold, out / line.name, recipe) for line in (BASE, *lines)]
    tasks = [task for plan in plans for task in plan]
    views = iter(run_tasks(tasks, device=device, say=say, jobs=jobs))
    trials = []
    for line, plan in zip((BASE, *lines), plans, strict=True):
        probabilities = np.zeros((len(table), 3), np.float32)
        seconds = 0.0
        for number in range(len(plan)):
            view = next(views)
            probabilities[fold == number] = view.probabilities
            seconds += view.seconds
        trials.append(Trial(line, probabilities, seconds))
    return trials


def _plan(
    line: Line,
    faces: PreparedFaces,
    cleaned: PreparedFaces | None,
    fold: np.ndarray,
    folder: Path,
    recipe: ClassifierRecipe,
) -> list[Task]:
    """A task per fold."""
    make_folder(folder)
    scale = line.scale or faces.scale
    if cleaned is not None and line.cleaned and cleaned.scale != scale:
        raise PreparedError(
            f"{cleaned.folder}: crops at {cleaned.scale} times the box, those of {faces.folder} at "
            f"{scale} times: build both with the same --scale."
        )
    table = faces.table if scale == faces.scale else cut_crops(faces, scale, folder / "crops")
    source = cleaned.table if cleaned is not None and line.cleaned else table
    numbers = change_recipe(recipe, list(line.sets))
    photos = table["source"] + "/" + table["image"]
    fold_of = dict(zip(photos, fold, strict=True))
    own = (source["source"] + "/" + source["image"]).map(fold_of).fillna(-1).to_numpy()
    plan = Plan(table, numbers, folder, scale, line.name)
    tasks = []
    for number in range(fold.max() + 1):
        train = source[(own != number) & (own >= 0)]
        if line.source:
            train = train[train["source"] == line.source]
        train = _thin_out(train.reset_index(drop=True), line)
        if len(train) < numbers.batch_size:
            raise PreparedError(
                f"choice '{line.name}': {len(train)} training faces don't fill a batch of "
                f"{numbers.batch_size}: use --set batch_size=… or leave it out of --only."
            )
        what = f"fold {number + 1} of {fold.max() + 1}"
        tasks.append(plan.make_task(what, f"fold-{number + 1}", train, table[fold == number]))
    return tasks


def _thin_out(train: pd.DataFrame, line: Line) -> pd.DataFrame:
    if line.blur is None:
        return train
    sides = train[["xmax", "ymax"]].to_numpy() - train[["xmin", "ymin"]].to_numpy()
    keep = keep_balanced(train.assign(short_side=sides.min(axis=1)), rule=line.blur)
    return train[keep].reset_index(drop=True)


def cut_crops(faces: PreparedFaces, scale: float, folder: Path) -> pd.DataFrame:
    """Cut all crops at another scale from the photos; those cut before are taken as they are.

    Args:
        faces: Whose datasets must still be there.
        scale: Multiple of the box's longer side.
        folder: Gets the crops, PNG.

    Returns:
        The table with `crop` changed.

    Raises:
        PhotoError: A photo can't be read.
        OutputError: A crop can't be written.
    """
    make_folder(folder)
    table = faces.table.copy()
    table["crop"] = [str(folder / _name_crop(row, scale)) for row in table.to_dict("records")]
    photos: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in table.to_dict("records"):
        photos.setdefault((row["source"], row["image"]), []).append(row)
    for (source, image), rows in show_progress(photos.items(), len(photos), "cutting crops"):
        left = [row for row in rows if not Path(row["crop"]).is_file()]
        if not left:
            continue
        size = (int(left[0]["width"]), int(left[0]["height"]))
        pixels = read_photo(faces.roots[source] / image, fit_size=size).pixels
        for row in left:
            box = Box(*(float(row[name]) for name in ("xmin", "ymin", "xmax", "ymax")))
            crop = cv2.cvtColor(crop_face(pixels, box, scale), cv2.COLOR_RGB2BGR)
            write_atomically(Path(row["crop"]), cv2.imencode(".png", crop)[1].tobytes())
    return table


def _name_crop(row: dict[Any, Any], scale: float) -> str:
    """Named by what it shows: a row number would mean another face when others are left out."""
    face = [row[name] for name in (*KEY, "width", "height", "xmin", "ymin", "xmax", "ymax")]
    return hashlib.sha256(repr([*face, scale]).encode()).hexdigest()[:24] + ".png"
