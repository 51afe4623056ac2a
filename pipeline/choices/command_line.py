"""The command `choices` of `python -m pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.options import Device, Folds, Jobs, Log, Overrides, Prepared, Recipe
from pipeline.reporting import report_as


def choices_command(
    prepared: Prepared,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the results.")],
    only: Annotated[
        str, typer.Option(help="Choices by name, separated by commas; base: none.")
    ] = "",
    cleaned: Annotated[
        Path | None, typer.Option(help="The same, built with --decisions, to learn from.")
    ] = None,
    folds: Folds = 3,
    recipe: Recipe = "suspects",
    overrides: Overrides = None,
    device: Device = "auto",
    jobs: Jobs = None,
    log: Log = "text",
) -> None:
    """What each choice of a recipe is worth, as a Markdown table; goes on where it was stopped."""
    with report_as(log) as report:
        from pipeline.choices.lines import choose_lines
        from pipeline.choices.report import describe_trials, measure_trials, write_report
        from pipeline.choices.trial import try_choices
        from pipeline.compute import pick_device
        from pipeline.recipe import ClassifierRecipe, load_recipe
        from pipeline.short_trainings.prepared_faces import open_faces

        numbers = load_recipe(recipe, ClassifierRecipe, overrides)
        faces = open_faces(prepared, numbers)
        sources = sorted(set(faces.table["source"]))
        lines = choose_lines(only, sources, has_cleaned=cleaned is not None)
        trials = try_choices(
            faces,
            None if cleaned is None else open_faces(cleaned, numbers),
            lines,
            out,
            numbers,
            folds=folds,
            device=pick_device(device),
            say=report.say,
            jobs=jobs,
        )
        rows = measure_trials(trials, faces.table)
        write_report(rows, trials, faces.table, out)
        report.finish("", describe_trials(rows), folder=out, lines=rows)
