"""Every combination of some values, judged in folds and compared with the first one."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.tables import markdown_table
from data_prep.grouping.split import TRAIN
from pipeline.experiments.choices import ALL, Choice, judge_choices, measure_choices
from pipeline.experiments.engine import ExperimentError
from pipeline.experiments.tables import pick_difference, show_figure
from pipeline.nets.options import Folds, Out, Prepared, Recipe, TrialOptions
from pipeline.runs.log import Log, report_as
from pipeline.runs.plots import SHORT
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.short import label_codes, open_faces

TABLE, TEXT = "sweep.csv", "sweep.md"
FIGURES = ("macro_recall", "accuracy", "loss")


@dataclass(frozen=True)
class SweepOptions(TrialOptions):
    """Which combinations are trained, and on what."""

    prepared: Prepared
    out: Out
    sets: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=V1,V2",
            help="Values of one number, such as lr=1e-3,3e-3 or sizes=[96],[128]; repeat for more.",
        ),
    ]
    recipe: Recipe = "default"
    folds: Folds = 3
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the combinations.")] = False


def split_values(text: str) -> list[str]:
    """Values with commas between, as in TOML, or words.

    >>> split_values("[96], [96,128]"), split_values("fast,slow")
    (['[96]', '[96, 128]'], ['fast', 'slow'])
    """
    try:
        values = [str(value) for value in tomllib.loads(f"values = [{text}]")["values"]]
    except (ValueError, RecursionError):
        values = [value.strip() for value in text.split(",")]
    if "" in values or not values:
        raise ExperimentError(f"--set …={text}: an empty value.")
    return values


def make_grid(recipe: str, sets: Sequence[str]) -> list[Choice]:
    """Every combination of the values, `key=v1,v2`, the last key changing fastest.

    Raises:
        ExperimentError: Nothing is swept, or something comes twice.
        RecipeError: A combination is not a valid recipe.
    """
    lists: dict[str, list[str]] = {}
    for text in sets:
        key, equals, told = text.partition("=")
        key = key.strip()
        if not equals:
            raise ExperimentError(f"--set {text}: write key=value,value.")
        if key in lists:
            raise ExperimentError(
                f"--set {key}: given twice; write all its values after one --set."
            )
        lists[key] = split_values(told)
        if key in ("sources", "faces") and len(lists[key]) > 1:
            raise ExperimentError(f"--set {key}: would judge other faces; sweep one by one.")
    if all(len(values) == 1 for values in lists.values()):
        raise ExperimentError(
            "nothing to sweep: give a key several values, as in --set lr=1e-3,3e-3."
        )
    grid: list[Choice] = []
    known: list[ClassifierRecipe] = []
    for point in product(*lists.values()):
        values = {key: f"{key}={value}" for key, value in zip(lists, point, strict=True)}
        numbers = load_recipe(recipe, ClassifierRecipe, [*values.values()])
        name = ", ".join(values[key] for key in lists if len(lists[key]) > 1)
        if numbers in known:
            raise ExperimentError(f"{name}: the same numbers as {grid[known.index(numbers)].name}.")
        grid.append(Choice(name, "", tuple(values.values())))
        known.append(numbers)
    return grid


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
