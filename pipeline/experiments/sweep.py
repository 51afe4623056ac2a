"""What values of a recipe's numbers are worth, by folds.

Every face is judged by a net that saw none of its kin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data_prep.base.files import refuse_other_files, write_atomically
from data_prep.base.labels import CLASSES, SHORT
from data_prep.base.tables import markdown_table
from data_prep.grouping.split import TRAIN
from pipeline.experiments.plans import make_grid
from pipeline.experiments.tables import compare_sides, pick_difference, show_figure
from pipeline.nets.compute import pick_device
from pipeline.runs.folder import PreparedError
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import SweepOptions, TrialOptions
from pipeline.runs.recipe import ClassifierRecipe, change_recipe, load_recipe
from pipeline.training.short import Plan, label_codes, open_faces, plan_folds, run_tasks

TABLE, TEXT = "sweep.csv", "sweep.md"
FIGURES = ("macro_recall", "accuracy", "loss")


@dataclass(frozen=True)
class Judged:
    """What came of a trial."""

    probabilities: np.ndarray  # (N, 3), by the network of the fold a face was held out in
    seconds: float  # of all its trainings together, on one core each


def judge_trials(
    plans: Sequence[Plan],
    learnt: Sequence[Sequence[pd.DataFrame]],
    fold: np.ndarray,
    options: TrialOptions,
    log: Log,
) -> list[Judged]:
    """Train each plan in folds, on `learnt`; every face is judged by the net of its fold, (N,)."""
    tasks, folds = [], fold.max() + 1
    for plan, parts in zip(plans, learnt, strict=True):
        for number, part in enumerate(parts):
            if len(part) < plan.recipe.batch_size:
                raise PreparedError(
                    f"{plan.what}: {len(part)} training faces don't fill a batch of "
                    f"{plan.recipe.batch_size}: use --set batch_size=…, or leave it out."
                )
            what, name = f"fold {number + 1} of {folds}", f"fold-{number + 1}"
            tasks.append(plan.make_task(what, name, part, plan.table[fold == number]))
    views = run_tasks(tasks, device=pick_device(options.device), log=log, jobs=options.jobs)
    judged, place = [], np.argsort(np.argsort(fold, kind="stable"))  # Of each face, fold by fold.
    for own in (views[first : first + folds] for first in range(0, len(views), folds)):
        probabilities = np.concatenate([view.probabilities for view in own])[place]
        judged.append(Judged(probabilities, sum(view.seconds for view in own)))
    return judged


def run_sweep(options: SweepOptions, log: Log) -> tuple[pd.DataFrame, str]:
    """Judge every combination in grouped folds of the training faces; the validation faces rest.

    Gives a row per combination, the best first: swept keys, macro recall, accuracy, loss (mean
    cross-entropy in nats, without weights or smoothing), recalls, the difference of its macro
    recall from that of the first combination with its 95 % interval, processor seconds. And what
    `sweep.md` says.
    """
    grid, out = make_grid(options.recipe, options.sets), options.out
    recipe = load_recipe(options.recipe, ClassifierRecipe, grid[0].sets)
    faces = open_faces(options.prepared, recipe, out)
    refuse_other_files(out, TABLE, mark=None, parts="*.npz", beside=True)
    table = faces.table[faces.table["split"] == TRAIN].reset_index(drop=True)
    fold, _ = plan_folds(Plan(table, recipe, out, faces.scale), options.folds)
    parts = [table[fold != number].reset_index(drop=True) for number in range(options.folds)]
    plans = [
        Plan(table, change_recipe(recipe, one.sets), folder / one.folder, faces.scale, one.name)
        for folder in [out / "folds"]
        for one in grid
    ]
    judged = judge_trials(plans, [parts] * len(plans), fold, options, log)
    rows, truth = [], label_codes(table)
    right = [one.probabilities.argmax(axis=1)[None] == truth for one in judged]
    for one, answers in zip(judged, right, strict=True):
        own = np.maximum(one.probabilities[np.arange(len(truth)), truth], 1e-9)
        compared = compare_sides(right[0], answers, truth, table["group"])
        figures = {name: figure["after"] for name, figure in compared.items()}
        ends = pick_difference(compared["macro_recall"])
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
    write_atomically(out / TABLE, found.to_csv(index=False, float_format="%.6g"))
    text = describe_sweep(found, grid[0].name, len(table))
    write_atomically(out / TEXT, text + "\n")
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
        report.finish("", text, folder=out, table=out / TABLE, rows=rows)
