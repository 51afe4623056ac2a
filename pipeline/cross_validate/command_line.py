"""The command `cross-validate` of `python -m pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.options import Device, Jobs, Log, Overrides, Prepared, Recipe
from pipeline.reporting import report_as


def cross_validate_command(
    prepared: Prepared,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets folds, tables and reports.")
    ],
    start: Annotated[
        Path,
        typer.Option(help="RetinaFace weights to start from, that have not seen these photos."),
    ],
    recipe: Recipe = "default",
    overrides: Overrides = None,
    detector_recipe: Annotated[
        str, typer.Option(help="A detector recipe's name or TOML file.")
    ] = "detector",
    detector_overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set-detector",
            metavar="KEY=VALUE",
            help="Change one number of the detector's recipe; may be repeated.",
        ),
    ] = None,
    device: Device = "auto",
    jobs: Jobs = None,
    log: Log = "text",
) -> None:
    """Train both nets fold by fold and measure them on all photos, each judged unseen.

    Prints a Markdown table; goes on where it was stopped.
    """
    with report_as(log) as report:
        from pipeline.compute import pick_device
        from pipeline.cross_validate.nets import Recipes
        from pipeline.cross_validate.validation import cross_validate
        from pipeline.measure import describe_results
        from pipeline.recipe import ClassifierRecipe, DetectorRecipe, load_recipe

        recipes = Recipes(
            start=start,
            detector=load_recipe(detector_recipe, DetectorRecipe, detector_overrides),
            classifier=load_recipe(recipe, ClassifierRecipe, overrides),
        )
        results = cross_validate(
            prepared, out, recipes, device=pick_device(device), say=report.say, jobs=jobs
        )
        report.finish("", describe_results(results), folder=out, results=results)
