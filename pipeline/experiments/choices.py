"""Trying choices: grouped k-fold, every face judged by a network that saw none of its kin."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from data_prep.base.crop import crop_face
from data_prep.base.errors import UserError
from data_prep.base.files import make_folder, write_atomically, write_json
from data_prep.base.photo import read_photo
from data_prep.base.progress import show_progress
from data_prep.base.records import Box
from data_prep.base.tables import KEY
from data_prep.prepare.blur import BlurRule, keep_balanced
from pipeline.experiments.clean_effect import compare_sides, measure_side
from pipeline.runs.folder import PreparedError
from pipeline.runs.log import Log
from pipeline.runs.plots import save_figure
from pipeline.runs.recipe import ClassifierRecipe, change_recipe
from pipeline.training.short import PreparedFaces, label_codes
from pipeline.training.tasks import Plan, Task, assign_folds, run_tasks


class ChoiceNameError(UserError, ValueError):
    """A choice that can't be tried; the message says what to do."""


@dataclass(frozen=True)
class Line:
    """One thing that is done otherwise.

    Attributes:
        name: For `--only`, and of the line's folder.
        what: For people.
        sets: Changes to the recipe, `key=value`.
        scale: Side of the crops as a multiple of the box; that of the prepared folder when None.
        blur: Rule that thins out the majority class in training; all faces when None.
        source: The only dataset that is learnt from; all when None.
        cleaned: Learns from the labels of the folder built with decisions.
    """

    name: str
    what: str
    sets: tuple[str, ...] = ()
    scale: float | None = None
    blur: BlurRule | None = None
    source: str | None = None
    cleaned: bool = False


BASE = Line("base", "the recipe as it is")

LINES: tuple[Line, ...] = (
    Line("grey", "grey levels instead of colours", ("colour=grey",)),
    Line("tight", "crops as tight as the box", scale=1.0),
    Line("wide", "crops of 2.0 × the box", scale=2.0),
    Line("blur-global", "blur rule over all faces", blur="global"),
    Line("blur-binned", "blur rule inside size bins", blur="binned"),
    Line("repeat-rare", "rare class shown four times", ("repeat_rare=4",)),
    Line("weights-sqrt", "class weights, square root", ("class_weights=sqrt",)),
    Line("weights-inverse", "class weights, inverse", ("class_weights=inverse",)),
    Line("drawn", "as many drawn faces of the rare class as real ones", ("drawn=1.0",)),
    Line("cleaned", "labels after cleaning", cleaned=True),
    Line("progressive", "64 px, then 96, same work", ("sizes=[64,96]", "epochs=[4,4]")),
    Line("flat", "flat rate of 1e-3 instead of one-cycle", ("schedule=flat", "lr=1e-3")),
    Line("longer", "twice the epochs", ("epochs=[12]",)),
    Line("larger", "128 px instead of 96", ("sizes=[128]",)),
    Line("no-smoothing", "no label smoothing", ("label_smoothing=0.0",)),
    Line("mixup", "mixup 0.2", ("mixup=0.2",)),
    Line("shift", "crops shifted by up to 8 %", ("shift=0.08",)),
    Line("no-downscale", "no crops shrunk to the sizes of crowds", ("downscale=0.0",)),
    Line("no-warp", "no rotation, zoom or warp", ("rotate=0.0", "zoom=1.0", "warp=0.0")),
    Line("no-lighting", "no change of light", ("lighting=0.0",)),
    Line("random", "random weights instead of the detector's body", ("init=random",)),
    Line(
        "resnet34",
        "ResNet-34 from random weights, 64 px",
        ("architecture=resnet34", "init=random", "sizes=[64]", "bf16=auto"),
    ),
)
"""One line per dataset, that learns from it alone, is added to these."""


def choose_lines(only: str, sources: list[str], *, has_cleaned: bool) -> list[Line]:
    """The lines that can be run, or those that are named.

    Args:
        only: Names separated by commas; all when empty, none but the recipe itself for `base`.
        sources: Datasets there are.
        has_cleaned: Whether there is a folder built with decisions.

    Raises:
        ChoiceNameError: An unknown name, or one that needs what is not there.

    >>> [line.name for line in choose_lines("flat", ["a"], has_cleaned=False)]
    ['flat']
    """
    alone = [Line(f"only-{name}", f"learning from {name} alone", source=name) for name in sources]
    known = {line.name: line for line in [*LINES, *(alone if len(sources) > 1 else [])]}
    if not only:
        return [line for line in known.values() if has_cleaned or not line.cleaned]
    chosen = []
    for name in (part.strip() for part in only.split(",")):
        if name == BASE.name:
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
            raise ChoiceNameError(f"no choice '{name}': {hint}")
        if known[name].cleaned and not has_cleaned:
            raise ChoiceNameError(f"choice '{name}' needs --cleaned FOLDER.")
        chosen.append(known[name])
    return chosen


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
    log: Log,
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
        log: Gets a line per epoch.
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
    views = iter(run_tasks(tasks, device=device, log=log, jobs=jobs))
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


TABLE, PLOT, PROBABILITIES = "choices.json", "choices.png", "probabilities.csv"
ALL = "all"


def measure_trials(trials: Sequence[Trial], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Figures of every line and their differences from the first.

    Args:
        trials: The recipe as it is first.
        table: The N faces.

    Returns:
        Per line `name`, `what`, `seconds`, and for `all` and each source the figures of
        `compare_sides`: `after` is the line's, `before` the first one's, `difference` and its
        paired 95 % `interval` by photo group; the first one's figures also have `alone`, value,
        low and high.
    """
    truth = label_codes(table)
    right = [trial.probabilities.argmax(axis=1) == truth for trial in trials]
    parts = {ALL: np.ones(len(table), bool)}
    parts |= {name: (table["source"] == name).to_numpy() for name in sorted(set(table["source"]))}
    rows: list[dict[str, Any]] = []
    for trial, own in zip(trials, right, strict=True):
        row: dict[str, Any] = {"name": trial.line.name, "what": trial.line.what}
        row["seconds"] = round(trial.seconds, 1)
        for name, chosen in parts.items():
            sides = (right[0][chosen][None], own[chosen][None])
            row[name] = compare_sides(*sides, truth[chosen], table.loc[chosen, "group"])
            if not rows:
                figures = measure_side(own[chosen], truth[chosen], table.loc[chosen, "group"])
                row[name] = {key: {**row[name][key], "alone": figures[key]} for key in row[name]}
        rows.append(row)
    return rows


def write_report(
    rows: list[dict[str, Any]], trials: Sequence[Trial], table: pd.DataFrame, out: Path
) -> None:
    """Write the figures, the probabilities they come from, and the plot.

    Raises:
        OutputError: A file can't be written.
    """
    write_json(out / TABLE, {"faces": len(table), "lines": rows})
    columns: dict[str, Any] = {key: table[key] for key in ("source", "image", "object", "label")}
    for trial in trials:
        for index, share in enumerate(trial.probabilities.T):
            columns[f"{trial.line.name}/{index}"] = share.round(4)
    write_atomically(out / PROBABILITIES, pd.DataFrame(columns).to_csv(index=False))
    _plot(rows, out / PLOT)


def describe_trials(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table; differences are from the first line."""
    sources = [key for key, value in rows[0].items() if isinstance(value, dict) and key != ALL]
    heads = [f"{name}: accuracy | macro recall" for name in sources]
    lines = [
        f"| choice | {' | '.join(heads)} | all: accuracy, difference | macro recall, difference "
        "| minutes |",
        "|---" * (2 * len(sources) + 4) + "|",
    ]
    for row in rows:
        cells = [f"`{row['name']}` {row['what']}"]
        for name in sources:
            cells += [_value(row[name][key]) for key in ("accuracy", "macro_recall")]
        for key in ("accuracy", "macro_recall"):
            figure = row[ALL][key]
            cells.append(_value(figure) if row is rows[0] else _difference(figure))
        cells.append(f"{row['seconds'] / 60:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _value(figure: dict[str, Any]) -> str:
    if "alone" not in figure:
        return f"{figure['after']:.3f}"
    value, low, high = figure["alone"]
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _difference(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Differences with their intervals, one row per line."""
    others = rows[1:]
    figure = Figure(figsize=(9, 1.2 + 0.28 * max(len(others), 1)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(others))
    for axes, key in zip(panels, ("accuracy", "macro_recall"), strict=True):
        values = np.array([row[ALL][key]["difference"] for row in others])
        ends = np.array([row[ALL][key]["interval"] for row in others]).reshape(-1, 2)
        reach = np.abs(ends - values[:, None]).T
        sure = (ends[:, 0] > 0) | (ends[:, 1] < 0)
        colours = np.where(sure, np.where(values > 0, "tab:green", "tab:red"), "tab:grey")
        axes.errorbar(values, places, xerr=reach, fmt="none", ecolor="lightgrey", elinewidth=3)
        axes.scatter(values, places, c=colours, zorder=3)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel=key.replace("_", " "))
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("Difference from the recipe as it is, with its 95 % interval")
    panels[0].set_yticks(places, [row["what"] for row in others])
    panels[0].invert_yaxis()
    save_figure(figure, path)
