"""What choices of a recipe, or values of its numbers, are worth, by folds.

Every face is judged by a net that saw none of its kin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.files import write_atomically, write_json
from data_prep.base.labels import CLASSES
from data_prep.base.tables import KEY, markdown_table
from data_prep.grouping.split import TRAIN
from data_prep.prepare.analysis import keep_balanced
from pipeline.experiments.engine import PreparedData, check_scales, name_photos, run_groups
from pipeline.experiments.plans import BASE, Choice, find_choices, make_grid
from pipeline.experiments.tables import compare_sides, measure_side, pick_difference, show_figure
from pipeline.nets.compute import pick_device
from pipeline.runs.folder import PreparedError
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import ChoicesOptions, SweepOptions, TrialOptions
from pipeline.runs.plots import SHORT
from pipeline.runs.recipe import ClassifierRecipe, change_recipe, load_recipe
from pipeline.training.short import Plan, PreparedFaces, Task, label_codes, open_faces, plan_folds

TABLE, PROBABILITIES = "choices.json", "probabilities.csv"
SWEPT, SWEEP_TEXT = "sweep.csv", "sweep.md"
FIGURES = ("macro_recall", "accuracy", "loss")
ALL = "all"


@dataclass(frozen=True)
class Judged:
    """What came of a choice."""

    probabilities: np.ndarray  # (N, 3), by the network of the fold a face was held out in
    seconds: float  # of all its trainings together, on one core each


def judge_choices(
    chosen: Sequence[Choice],
    faces: PreparedFaces,
    recipe: ClassifierRecipe,
    out: Path,
    options: TrialOptions,
    log: Log,
    *,
    folds: int,
    cleaned: PreparedFaces | None = None,
) -> list[Judged]:
    """Train each choice in folds, and let every face be judged by a net that saw none of its kin.

    What is done stays done, in `out`.
    """
    fold, _ = plan_folds(Plan(faces.table, recipe, out, faces.scale), folds)
    groups = [plan_tasks(choice, faces, cleaned, fold, out, recipe) for choice in chosen]
    judged, device = [], pick_device(options.device)
    for views in run_groups(groups, device=device, log=log, jobs=options.jobs):
        probabilities = np.zeros((len(fold), len(CLASSES)), np.float32)
        for number, view in enumerate(views):
            probabilities[fold == number] = view.probabilities
        judged.append(Judged(probabilities, sum(view.seconds for view in views)))
    return judged


def plan_tasks(
    choice: Choice,
    faces: PreparedFaces,
    cleaned: PreparedFaces | None,
    fold: np.ndarray,
    out: Path,
    recipe: ClassifierRecipe,
) -> list[Task]:
    """What a choice learns from and is judged by in each of the folds, (N,) from 0."""
    folder = out / choice.folder
    numbers, table = change_recipe(recipe, list(choice.sets)), faces.table
    scale = choice.scale or faces.scale
    judged = table
    if scale != faces.scale:
        cut = PreparedData.open(faces.folder).rebuild(folder / "crops", ["label"], scale=scale)
        crops = table[[*KEY]].merge(cut.table, on=[*KEY])["crop"]
        judged = table.assign(crop=[str(cut.folder / crop) for crop in crops])
    source = judged
    if cleaned is not None and choice.cleaned:
        check_scales(faces, cleaned)
        source = cleaned.table
    fold_of = dict(zip(name_photos(table), fold, strict=True))
    own = name_photos(source).map(fold_of).fillna(-1).to_numpy()
    plan = Plan(judged, numbers, folder, scale, choice.name)
    tasks = []
    for number in range(count := fold.max() + 1):
        part = source[(own != number) & (own >= 0)]
        if choice.source:
            part = part[part["source"] == choice.source]
        if choice.blur:
            corners = part[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
            sides = (corners[:, 2:] - corners[:, :2]).min(axis=1)
            part = part[keep_balanced(part.assign(short_side=sides), rule=choice.blur)]
        if len(part) < numbers.batch_size:
            raise PreparedError(
                f"choice '{choice.name}': {len(part)} training faces don't fill a batch of "
                f"{numbers.batch_size}: use --set batch_size=…, or leave it out."
            )
        what, train = f"fold {number + 1} of {count}", part.reset_index(drop=True)
        tasks.append(plan.make_task(what, f"fold-{number + 1}", train, judged[fold == number]))
    return tasks


def measure_choices(
    chosen: Sequence[Choice], judged: Sequence[Judged], table: pd.DataFrame
) -> list[dict[str, Any]]:
    """Figures of every choice on N faces, and their differences from the first: the plain recipe.

    Per choice `name`, `what`, `seconds`, and for `all` and each source the figures of
    `compare_sides` by photo group, `before` those of the first; the first one's also have `alone`,
    value, low and high.
    """
    truth = label_codes(table)
    right = [one.probabilities.argmax(axis=1) == truth for one in judged]
    parts = {ALL: table["label"].notna()}
    parts |= {name: table["source"] == name for name in sorted(set(table["source"]))}
    rows: list[dict[str, Any]] = []
    for choice, one, own in zip(chosen, judged, right, strict=True):
        row: dict[str, Any] = {"name": choice.name, "what": choice.what}
        row["seconds"] = round(one.seconds, 1)
        for name, part in parts.items():
            about = truth[part], table.loc[part, "group"]
            row[name] = compare_sides(right[0][part][None], own[part][None], *about)
            if not rows:
                for key, figure in measure_side(own[part], *about).items():
                    row[name][key]["alone"] = figure
        rows.append(row)
    return rows


def describe_choices(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table; differences are from the first line."""
    sources = [key for key, value in rows[0].items() if isinstance(value, dict) and key != ALL]
    heads = [head for name in sources for head in (f"{name}: accuracy", "macro recall")]
    heads = ["choice", *heads, "all: accuracy, difference", "macro recall, difference", "minutes"]
    lines = []
    for row in rows:
        cells = [f"`{row['name']}` {row['what']}"]
        for name, key in product([*sources, ALL], ("accuracy", "macro_recall")):
            one = row[name][key]
            if "alone" in one:
                cells.append(show_figure(one["alone"]))
            elif name == ALL:
                cells.append(show_figure(pick_difference(one), "+"))
            else:
                cells.append(f"{one['after']:.3f}")
        lines.append([*cells, f"{row['seconds'] / 60:.1f}"])
    return markdown_table(heads, lines)


def choices(options: ChoicesOptions) -> None:
    """What each choice of a recipe is worth, as a Markdown table; goes on where it was stopped."""
    with report_as(options.log) as report:
        recipe, out = load_recipe(options.recipe, ClassifierRecipe, options.overrides), options.out
        faces = open_faces(options.prepared, recipe, out)
        cleaned = None if options.cleaned is None else open_faces(options.cleaned, recipe)
        sources = sorted(set(faces.table["source"]))
        chosen = [BASE, *find_choices(options.only, sources, has_cleaned=cleaned is not None)]
        judged = judge_choices(
            chosen, faces, recipe, out, options, report.log, folds=options.folds, cleaned=cleaned
        )
        rows = measure_choices(chosen, judged, faces.table)
        write_json(out / TABLE, {"faces": len(faces.table), "lines": rows})
        columns: dict[str, Any] = {key: faces.table[key] for key in (*KEY, "label")}
        for row, one in zip(rows, judged, strict=True):
            for index, share in enumerate(one.probabilities.T):
                columns[f"{row['name']}/{index}"] = share.round(4)
        write_atomically(out / PROBABILITIES, pd.DataFrame(columns).to_csv(index=False))
        report.finish("", describe_choices(rows), folder=out, lines=rows)


def run_sweep(options: SweepOptions, log: Log) -> tuple[pd.DataFrame, str]:
    """Judge every combination in grouped folds of the training faces; the validation faces rest.

    Returns:
        A row per combination, the best first: swept keys, macro recall, accuracy, loss (mean
        cross-entropy in nats, without weights or smoothing), recalls, the difference of its macro
        recall from that of the first combination with its 95 % interval, processor seconds. And
        what `sweep.md` says.
    """
    grid, out = make_grid(options.recipe, options.sets), options.out
    recipe = load_recipe(options.recipe, ClassifierRecipe, grid[0].sets)
    faces = open_faces(options.prepared, recipe, out)
    table = faces.table[faces.table["split"] == TRAIN].reset_index(drop=True)
    faces, folder = replace(faces, table=table), out / "folds"
    judged = judge_choices(grid, faces, recipe, folder, options, log, folds=options.folds)
    rows, truth = [], label_codes(table)
    for one, row in zip(judged, measure_choices(grid, judged, table), strict=True):
        own = np.maximum(one.probabilities[np.arange(len(truth)), truth], 1e-9)
        figures = {name: figure["after"] for name, figure in row[ALL].items()}
        ends = pick_difference(row[ALL]["macro_recall"])
        rows.append(
            {
                **{name: figures[name] for name in ("macro_recall", "accuracy")},
                "loss": float(-np.log(own).mean()),
                **{f"recall_{name}": figures[name] for name in CLASSES},
                **dict(zip(("difference", "low", "high"), ends, strict=True)),
                "seconds": one.seconds,
            }
        )
    keys = pd.DataFrame([dict(text.split("=", 1) for text in one.sets) for one in grid])
    found = pd.concat([keys.loc[:, keys.nunique() > 1], pd.DataFrame(rows)], axis=1)
    found = found.sort_values([*FIGURES], ascending=[False, False, True], ignore_index=True)
    write_atomically(out / SWEPT, found.to_csv(index=False, float_format="%.6g"))
    text = describe_sweep(found, grid[0].name, len(table))
    write_atomically(out / SWEEP_TEXT, text + "\n")
    return found, text


def describe_sweep(table: pd.DataFrame, first: str, faces: int) -> str:
    """The table of `run_sweep` as Markdown, and what its figures are worth."""
    shown = [*FIGURES, *(f"recall_{name}" for name in CLASSES)]
    keys = [str(key) for key in table.columns[: table.columns.get_loc(FIGURES[0])]]
    rows = [
        [
            *(f"`{row[key]}`" for key in keys),
            *("–" if pd.isna(row[key]) else f"{row[key]:.3f}" for key in shown),
            show_figure([row["difference"], row["low"], row["high"]], "+"),
            f"{row['seconds']:.0f}",
        ]
        for row in table.to_dict("records")
    ]
    shorts = [f"recall, {SHORT[name]}" for name in CLASSES]
    heads = [*keys, "macro recall", "accuracy", "loss", *shorts, "macro recall, difference"]
    return (
        f"Measured on {faces} training faces, each by a net that saw none of its kin; differences "
        f"are from {first}, with 95 % intervals. The best of {len(table)} is the luckiest of "
        f"{len(table)}, too: its figures are optimistic. Train the chosen recipe and take its "
        "figures from the validation split, which this left alone.\n\n"
        + markdown_table([*heads, "seconds"], rows)
    )


def sweep(options: SweepOptions) -> None:
    """Train every combination of some values, as a Markdown table; goes on where it was stopped."""
    with report_as(options.log) as report:
        if options.dry_run:
            grid = make_grid(options.recipe, options.sets)
            values = [dict(text.split("=", 1) for text in one.sets) for one in grid]
            names = "\n".join(one.name for one in grid)
            report.finish(f"{len(grid)} combinations", names, combinations=values)
            return
        (table, text), out = run_sweep(options, report.log), options.out
        rows = table.to_dict("records")
        report.finish("", text, folder=out, table=out / SWEPT, rows=rows)
